"""`attn8 generate`: a board writes text, each token proven."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .parser import Command, Parser
from .shared import add_board, add_json, equal, facts, opened, positive, seed, write_json

if TYPE_CHECKING:
    from ..proof.generate import Request, Written

HEAP = "224wK"  # of the virtual board: what the demo's model and its cache take, and the package


def options(parser: Parser) -> None:
    add_board(parser)
    parser.add_argument("model", type=Path, nargs="?",
                        help="int8 model file with a tokenizer (default: that of the demo)")
    parser.add_argument("--prompt", default="Once upon a time", metavar="TEXT",
                        help="what to go on with (default: %(default)s)")
    parser.add_argument("--tokens", type=positive, metavar="N",
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
                 arguments.floats, arguments.data)


def write(
    arguments: argparse.Namespace, console: Console, path: Path, request: "Request",
    floats: Path | None = None, data: bool = False,
) -> int:
    """Has a board write; `arguments` say which, and --json. data: see proof.generate."""
    from ..errors import ModelError
    from ..model import load
    from ..proof.generate import generate
    from ..text import encoded

    model = load(path, False)
    try:
        ids = encoded(model, request.prompt)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None

    def piece(text: str) -> None:
        console.print(text, end="", highlight=False, markup=False, soft_wrap=True)

    with opened(arguments, console, HEAP) as board:
        written = generate(board, model, path, ids, request, console, piece, floats, data)
    console.print()
    console.print(table(written))
    write_json(arguments.json, written.as_dict())
    return 0 if written.bit_exact else 1


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
