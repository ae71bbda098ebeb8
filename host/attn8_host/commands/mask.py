"""`attn8 mask`: sparse attention over images of digits."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from .parser import Command, Parser
from .pictures import pyplot, save
from .shared import add_board, add_json, add_png, equal, facts, opened, positive, write_json

if TYPE_CHECKING:
    from ..proof.mask import MaskResult, Pictures


def options(parser: Parser) -> None:
    add_board(parser)
    parser.add_argument(
        "name", metavar="NAME",
        help="full, causal, local_window W, global_indices I,J, local_global W I,J, "
        "block_diagonal B, strided W STRIDE, random LEVEL SEED, from_cut LAMBDA PARTS, "
        "hnsw [W LINKS] or mincut [PARTS LAMBDA]",
    )
    parser.add_argument(
        "arguments", nargs="*", type=_number, metavar="ARGUMENT", help="of the mask"
    )
    parser.add_argument(
        "--seq-len", type=positive, metavar="N", default=48, help="tokens (default: %(default)s)"
    )
    add_json(parser)
    add_png(parser, "the mask, the attention and its difference from dense", "attn8-mask.png")


def _number(text: str) -> int | float | list[int]:
    """3, 0.5 or 0,2,5."""
    try:
        if "," in text:
            return [int(part) for part in text.split(",")]
        return float(text) if "." in text else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a number or a list such as 0,2,5, got {text!r}"
        ) from None


def run(arguments: argparse.Namespace, console: Console) -> int:
    from rich.progress import Progress

    from ..deploy import deploy
    from ..proof import mask

    made = mask.make(arguments.name, arguments.seq_len, arguments.arguments)
    title = " ".join([arguments.name, *map(str, arguments.arguments)])
    console.print(made.visualize(), highlight=False, end="")
    with opened(arguments, console) as board, Progress(console=console) as bar:
        task = bar.add_task("device/ to /lib/attn8", total=None)
        deploy(board, progress=lambda n, total: bar.update(task, completed=n, total=total))
        task = bar.add_task("attention on the board", total=None)
        result, pictures = mask.run(board, made, title)
        bar.update(task, total=1, completed=1)
    console.print(table(result))
    draw(arguments.png, title, pictures)
    console.out(f"picture: {arguments.png}", highlight=False)
    write_json(arguments.json, result.as_dict())
    return 0 if result.bit_exact else 1


def table(result: "MaskResult") -> Table:
    pairs = result.seq_len**2
    share = f"of {pairs:,}: {result.num_positions / pairs:.1%}"
    return facts(f"attn8 mask {result.mask}", [
        ("pairs", f"{result.num_positions:,}", share),
        ("recall", f"{result.recall:.1%}", "of dense attention's 8 top keys a query"),
        ("difference", f"{result.mean_difference:.2f} LSB", "of the outputs from dense ones, mean"),
        ("compared with NumPy", f"{result.compared:,}", equal(result.bit_exact)),
    ])  # fmt: skip


def draw(path: Path, title: str, pictures: "Pictures") -> None:
    """Draws a mask, the attention that it yields, and what that differs in from dense attention."""
    plt = pyplot()
    figure, axes = plt.subplots(1, 3, figsize=(12.6, 4.2), layout="constrained")
    axes[0].imshow(pictures.mask, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    drawn = axes[1].imshow(pictures.sparse, cmap="viridis", vmin=0, interpolation="nearest")
    figure.colorbar(drawn, ax=axes[1], label="attention weight", shrink=0.85)
    difference = pictures.sparse - pictures.dense
    most = max(float(abs(difference).max()), 1e-9)
    drawn = axes[2].imshow(difference, cmap="RdBu_r", vmin=-most, vmax=most,
                           interpolation="nearest")  # fmt: skip
    figure.colorbar(drawn, ax=axes[2], label="difference of the weights", shrink=0.85)
    names = ("pairs that attend", "attention on the board", "less dense attention")
    for axis, name in zip(axes, names, strict=True):
        axis.set(title=name, xlabel="key (token)")
    axes[0].set_ylabel("query (token)")
    figure.suptitle(f"{title}: tokens are images of digits, sorted by digit", fontsize="medium")
    save(figure, path)


COMMAND = Command(
    "sparse attention over images of digits on a board, beside dense attention",
    options, run, place=8,
)
