"""`attn8 flash`: stock MicroPython onto a chip."""

import argparse

from rich.console import Console

from ..errors import Attn8Error
from .parser import Command, Parser
from .shared import add_board, amount


def options(parser: Parser) -> None:
    add_board(parser)
    parser.add_argument(
        "--no-stub", action="store_true", help="only the ROM's own loader: slower, always there"
    )
    parser.add_argument(
        "--data", type=amount, default=0, metavar="BYTES",
        help="add a data partition attn8 of so many bytes, such as 1M, for a model that is read "
        "as it is needed (attn8 generate --data)",
    )


def run(arguments: argparse.Namespace, console: Console) -> int:
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    from ..boards import resolve
    from ..boards.flash import FLASH_BAUD, flash

    if arguments.firmware is None:
        raise Attn8Error("which MicroPython? Give its .bin with --firmware FILE")
    columns = (TextColumn("{task.description:<20}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        tasks: dict[str, TaskID] = {}

        def report(phase: str, done: int, total: int | None) -> None:
            if phase not in tasks:
                finish()
                tasks[phase] = bar.add_task(phase, total=total)
            bar.update(tasks[phase], completed=done, total=total)

        def finish() -> None:
            for task in tasks.values():
                bar.update(task, completed=1, total=1)

        port = resolve(arguments.board)
        baud = arguments.baud or FLASH_BAUD
        info = flash(port, arguments.firmware, baud, not arguments.no_stub, report,
                     arguments.data)
        finish()
    console.print(f"Flashed: {info}", highlight=False)
    return 0


COMMAND = Command("erase a chip and put MicroPython onto it", options, run, place=3)
