"""`attn8 undeploy`: a board without the package again."""

import argparse

from rich.console import Console

from .parser import Command, Parser
from .shared import add_board, opened


def options(parser: Parser) -> None:
    add_board(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    from ..deploy import LIB, undeploy

    with opened(arguments, console) as board:
        undeploy(board)
    console.print(f"{LIB} is removed; models and your own files are as they were")
    return 0


COMMAND = Command("remove the attn8 package from a board", options, run, place=9)
