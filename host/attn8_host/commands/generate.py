"""`attn8 generate`: a board writes text, each token proven."""

import argparse
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..terminal import printable
from .parser import Command, Parser
from .shared import add_board, add_json, add_png, below, equal, facts, opened, seed, write_json

if TYPE_CHECKING:
    import numpy as np

    from ..model import Model
    from ..proof.generate import Request, Written

HEAP = 160  # kB of the virtual board, by its words: what the demo's model takes, and the package
CACHE = 70_000  # bytes of a cache for which there is room then


def options(parser: Parser) -> None:
    add_board(parser)
    parser.add_argument("model", type=Path, nargs="?",
                        help="int8 model file with a tokenizer (default: that of the demo)")
    parser.add_argument("--prompt", default="Once upon a time", metavar="TEXT",
                        help="what to go on with (default: %(default)s)")
    parser.add_argument("--tokens", type=below(1 << 15), metavar="N",
                        help="at most (default: as many as there is room for)")
    parser.add_argument("--temperature", type=_within("a temperature", 100), default=0.0,
                        metavar="T", help="0 (default): the likeliest token each time")
    parser.add_argument("--top-p", type=_within("a share", 1), default=1.0, metavar="P",
                        help="draw from the fewest tokens that have so much of all probability "
                        "(default: 1)")
    parser.add_argument("--seed", type=seed, default=1, help="of the draws (default: 1)")
    parser.ignores(["--top-p", "--seed"], lambda a: a.temperature == 0,
                   "nothing is drawn at temperature 0")
    parser.add_argument("--float", type=Path, dest="floats", metavar="FILE",
                        help="the float model file, to say what it thinks of the text")
    parser.add_argument("--data", action="store_true",
                        help="put the model into the partition that attn8 flash --data made, in "
                        "place of a file")
    parser.add_argument("--attention", action="store_true",
                        help="show what the last token attends to, layer by layer")
    add_png(parser, "draw that")
    add_json(parser)


def _within(what: str, most: int) -> Callable[[str], float]:
    """The type of an option: a number from 0."""

    def number(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = -1.0
        if not 0 <= found <= most:
            raise argparse.ArgumentTypeError(f"expected {what} from 0 to {most}, got {text!r}")
        return found

    return number


def run(arguments: argparse.Namespace, console: Console) -> int:
    from ..paths import MODELS
    from ..proof.generate import Request

    request = Request(arguments.prompt, arguments.tokens, arguments.temperature, arguments.top_p,
                      arguments.seed)
    return write(arguments, console, arguments.model or MODELS / "stories.safetensors", request,
                 arguments.floats, arguments.data, arguments.attention, arguments.png)


def write(
    arguments: argparse.Namespace, console: Console, path: Path, request: "Request",
    floats: Path | None = None, data: bool = False, attention: bool = False,
    png: Path | None = None,
) -> int:
    """Has a board write; `arguments` say which, and --json. data: see proof.generate; attention and
    png: show and draw what the last token attends to."""
    from ..errors import ModelError
    from ..layers.grouped_attention import cache_size
    from ..model import load
    from ..proof.generate import float_step, generate
    from ..text import encoded

    model = load(path, False)
    try:
        ids = encoded(model, request.prompt)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    thinks = None if floats is None else float_step(floats, model)

    def piece(text: str) -> None:
        console.print(text, end="", highlight=False, markup=False, soft_wrap=True)

    cache = sum(map(cache_size, model.config["layers"]))
    more = max(0, -(-(cache - CACHE) // 2048))  # kB, as bytes take half of what words do there
    with opened(arguments, console, f"{HEAP + more}wK") as board:
        if more and board.info.kind == "virtual":
            console.print(f"Its cache takes {cache:,} bytes, for which the virtual board has a "
                          "larger heap; attn8 plan says which chips have one", highlight=False)
        try:
            written = generate(board, model, path, ids, request, console, piece, thinks, data)
        finally:
            console.print()
    console.print(table(written))
    write_json(arguments.json, written.as_dict())
    if attention or png:
        _attention(console, model, [*ids, *written.tokens], attention, png)
    return 0 if written.bit_exact else 1


def _attention(
    console: Console, model: "Model", ids: list[int], shown: bool, png: Path | None
) -> None:
    """Shows and draws what the last token attends to."""
    from ..proof.attention import attended
    from .pictures import draw_shaded

    ids = ids[: model.input_size]
    tokenizer = model.tokenizer
    assert tokenizer is not None  # as there is text
    found = attended(model, ids)
    pieces = [printable(tokenizer.decode(before, token).decode("utf-8", "replace"))
              .replace("\n", "\u21b5") for before, token in pairwise([tokenizer.begin, *ids])]
    title = f"what {pieces[-1].strip() or pieces[-1]!r} attends to"
    if shown:
        console.print(f"\n{title}", highlight=False, markup=False)
        for name, shares in found.items():
            console.print(shaded(name, pieces, shares))
    if png:
        draw_shaded(png, pieces, found, title)
        console.print(f"{png}: {title}", highlight=False, markup=False)


MOST = 3  # tokens that are named with their shares


def shaded(name: str, pieces: list[str], shares: "np.ndarray") -> Text:
    """A text whose tokens are the brighter the larger their shares are, of those that are text."""
    seen = [share if piece else 0.0 for piece, share in zip(pieces, shares, strict=True)]
    most = max(seen) or 1.0
    best = sorted(range(len(seen)), key=lambda i: -seen[i])[:MOST]
    text = Text(f"{name}: " + ", ".join(f"{pieces[i].strip() or repr(pieces[i])} {seen[i]:.0%}"
                                        for i in best) + "\n", "bold")
    for piece, share in zip(pieces, seen, strict=True):
        level = share / most
        red, green, blue = (int(255 - level * (255 - low)) for low in (178, 24, 43))
        text.append(piece, f"{'white' if level > 0.5 else 'black'} on rgb({red},{green},{blue})")
    return text


def table(written: "Written") -> Table:
    """What a board wrote, in figures."""
    speed = written.tokens_per_second
    rows: list[tuple[str, str, str | Text]] = [
        ("tokens", f"{len(written.tokens)}", f"behind {written.prompt_tokens} of the prompt"),
        ("not as NumPy says", f"{written.mismatches}", equal(written.bit_exact)),
        ("tokens per second", f"{speed:.1f}" if speed else "-",
         "this computer's speed" if written.board["kind"] == "virtual" else "on the board"),
        ("RAM", f"{written.ram_bytes:,} bytes", "heap: package, model, buffers"),
    ]
    if written.instructions_per_token:
        rows.append(("instructions a token", f"{written.instructions_per_token:,}",
                     "at position 100, by attn8 plan"))
    if written.cross_entropy is not None:
        rows.append(("cross-entropy", f"{written.cross_entropy:.4f}", "nats a token of this text"))
    if written.cross_entropy_float is not None:
        rows.append(("of the float model", f"{written.cross_entropy_float:.4f}",
                     f"same likeliest token: {written.top1_agreement_vs_float:.2%}"))
    return facts(f"attn8 generate: {written.model}", rows)


COMMAND = Command("have a board write text, each token proven", options, run, place=2.5)
