"""`attn8 boards`: what is connected."""

import argparse
import json
import os
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...errors import BoardError
from ..parser import Command, Parser
from ..shared import add_board


def options(parser: Parser) -> None:
    add_board(parser)
    parser.add_argument("--json", action="store_true", help="print a list for programs")


def run(arguments: argparse.Namespace, console: Console) -> int:
    from ...boards import find_boards, open_board

    chosen = arguments.board or os.environ.get("ATTN8_BOARD")
    found: list[dict[str, Any]] = []
    for spec in [chosen] if chosen else [port.device for port in find_boards()]:
        try:
            with open_board(spec, arguments.baud, arguments.firmware) as board:
                found.append({**board.info.as_dict(), "free_heap": board.free_heap()})
        except BoardError as error:
            found.append({"port": spec, "error": str(error)})
    if arguments.json:
        console.out(json.dumps(found, indent=2), highlight=False)
    elif found:
        console.print(table(found))
    else:
        console.print("No board is connected. `attn8 boards start virtual` starts a virtual one.")
    return 2 if any("error" in board for board in found) else 0


def table(found: list[dict[str, Any]]) -> Table:
    """What each board says that it is, or why it says nothing."""
    table = Table("port", "chip", "firmware", "free heap")
    for board in found:
        if "error" in board:
            table.add_row(board["port"], Text(board["error"], "red"))
            continue
        firmware = f"{board['implementation']} {board['version']}"
        table.add_row(
            board["port"], f"{board['machine']} ({board['arch']})", firmware,
            f"{board['free_heap']:,} bytes",
        )
    return table


COMMAND = Command(
    "list the boards that are connected; interrupts what they run",
    options, run, place=14, subcommands=__name__,
)
