"""`attn8 repl`: a terminal on a board."""

import argparse

from rich.console import Console

from .parser import Command, Parser
from .shared import add_board, opened


def options(parser: Parser) -> None:
    add_board(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    from ..boards.repl import repl

    with opened(arguments, console) as board:
        repl(board)
    console.print()
    return 0


COMMAND = Command(
    "a terminal on a board, with attn8 live from this computer",
    options, run, place=10,
)
