"""What several commands have: options that mean the same in each, and what they show alike."""

import argparse
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .parser import Parser

if TYPE_CHECKING:
    from ..boards import Board, BoardInfo


def add_board(parser: Parser) -> None:
    """--board, --baud and --firmware: which board (see `opened`)."""
    parser.add_argument(
        "--board",
        metavar="BOARD",
        help="auto (default: a connected chip, else the virtual board), virtual, a serial port, "
        "a0, u0, c1, id:SERIAL, socket://HOST:PORT, rfc2217://HOST:PORT or qemu (or set "
        "ATTN8_BOARD)",
    )
    parser.add_argument(
        "--baud", type=baud,
        help="keep a serial line at this rate (default: ATTN8_BAUD, else 115200, and the link "
        "goes faster where both ends can)",
    )
    parser.add_argument(
        "--firmware", type=Path, metavar="FILE",
        help="a .bin of micropython.org/download: what qemu runs (or set ATTN8_FIRMWARE), what "
        "flash writes",
    )


def add_json(parser: Parser, what: str = "results") -> None:
    """--json: see `write_json`."""
    parser.add_output("--json", f"write the {what} here as well", device=True)


def add_png(parser: Parser, what: str, default: str | None = None) -> None:
    """--png, of a picture."""
    if default:
        parser.add_output("--png", f"{what} (default: %(default)s)", device=True,
                          default=Path(default))
    else:
        parser.add_output("--png", what, device=True)


def add_isa(parser: Parser, help: str, default: str | None = None) -> None:
    """--isa: an instruction set that there is an emulator for."""
    parser.add_argument("--isa", choices=["xtensawin", "rv32imc", "esp32s2"], default=default,
                        help=help)


def below(most: int, least: int = 1) -> Callable[[str], int]:
    """The type of an option: a whole number in bounds, both included."""

    def number(text: str) -> int:
        if not text.isdecimal() or len(text) > 20 or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {least} to {most}, got {text!r}"
            )
        return int(text)

    return number


baud = below(20_000_000)
seed = below((1 << 32) - 1, 0)


def positive(text: str) -> int:
    """The type of an option: a whole number from 1."""
    if not text.isdecimal() or len(text) > 20 or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def minutes(text: str) -> float:
    """The type of an option: a number above 0."""
    with suppress(ValueError):
        if 0 < (number := float(text)) < math.inf:
            return number
    raise argparse.ArgumentTypeError(f"expected a number of minutes above 0, got {text!r}")


def amount(text: str) -> int:
    """The type of an option: bytes, or K or M of them."""
    unit = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:].upper(), 1)
    digits = text[:-1] if unit > 1 else text
    if not digits.isdecimal() or len(digits) > 20 or not 0 < int(digits) * unit <= 1 << 30:
        raise argparse.ArgumentTypeError(f"expected bytes, such as 512K or 1M, got {text!r}")
    return int(digits) * unit


@contextmanager
def opened(
    arguments: argparse.Namespace, console: Console, heap: str | None = None
) -> "Iterator[Board]":
    """The board that the options name, and a line that says which it is; heap: see open_board."""
    from ..boards import open_board

    with open_board(arguments.board, arguments.baud, arguments.firmware, heap) as board:
        board_line(console, board.info, arguments.board)
        yield board


def board_line(console: Console, info: "BoardInfo", spec: str | None) -> None:
    """Says which board is used.

    Args:
        console: where.
        info: of the board.
        spec: what --board said.
    """
    kind = "the virtual board" if info.kind == "virtual" else "the board"
    if info.kind == "virtual" and (spec or os.environ.get("ATTN8_BOARD") or "auto") == "auto":
        kind += " (no chip is connected)"
    console.print(f"Using {kind}: {info}", highlight=False)


def write_json(path: Path | None, result: object) -> None:
    """Writes the results of a command, where --json says so."""
    if path is not None:
        path.write_text(json.dumps(result, indent=2) + "\n")


def facts(title: str, rows: Iterable[tuple[str, str | Text, str | Text]]) -> Table:
    """A table of (name, value, what that is)."""
    table = Table(show_header=False, title=title)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for row in rows:
        table.add_row(*row)
    return table


def equal(bit_exact: bool | None) -> str | Text:
    """What a comparison found; None where there was none."""
    if bit_exact is None:
        return "not compared"
    return Text("every bit equal", "green") if bit_exact else Text("NOT EQUAL", "red")
