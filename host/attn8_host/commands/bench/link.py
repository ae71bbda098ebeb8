"""`attn8 bench link`: the line, beside mpremote's."""

import argparse
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ..parser import Command, Parser
from ..shared import add_json, baud, below, write_json

if TYPE_CHECKING:
    from ...proof.bench.link import Result


def options(parser: Parser) -> None:
    parser.add_argument(
        "--board", metavar="BOARD", help="as for demo; by default the virtual board at each rate"
    )
    parser.add_argument(
        "--baud", type=baud, action="append", metavar="N",
        help="rate of the line; repeat for more (default: 115200, 460800 and 921600)",
    )
    parser.add_argument(
        "--bytes", type=below((1 << 24) - 1), metavar="N", default=8192,
        help="payload (default: %(default)s)",
    )
    add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    from ...boards import BAUD, open_board, resolve
    from ...boards.virtual import open_virtual
    from ...deploy import deploy
    from ...proof.bench.link import BAUDS, bench_link

    port = resolve(arguments.board or "virtual")
    virtual = port == "virtual"
    results = []
    columns = (TextColumn("{task.description:<24}"), BarColumn(), TimeElapsedColumn())
    # Drawing takes milliseconds, in which a whole window may pass: seldom is enough
    with Progress(*columns, console=console, refresh_per_second=2) as bar:

        def report(task: TaskID, what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        for baud in arguments.baud or (BAUDS if virtual else [BAUD]):
            task = bar.add_task(f"{baud} baud: deploy", total=None)
            # QEMU's port has no rate to keep, and is opened without one unless one is asked for
            rate = None if port == "qemu" and not arguments.baud else baud
            with open_virtual(baud=baud) if virtual else open_board(port, rate) as board:
                deploy(board)
                results += bench_link(board, baud, arguments.bytes, partial(report, task))
                where = str(board.info)
    if virtual:
        where = "virtual board"
    console.print(table(results, where))
    outcome = {"board": where, "results": [result.as_dict() for result in results]}
    write_json(arguments.json, outcome)
    return 0


def table(results: "Sequence[Result]", where: str) -> Table:
    table = Table(title=f"attn8 bench link: {results[0].payload_bytes:,} bytes, {where}")
    for heading in ("baud", "direction", "bytes/s", "of the line", "mpremote fs cp", "faster"):
        table.add_column(heading, justify="left" if heading == "direction" else "right")
    for result in results:
        table.add_row(
            str(result.baud),
            result.direction.replace("_", " "),
            f"{result.bytes_per_s:,.0f}",
            f"{result.line_rate_fraction:.1%}",
            f"{result.mpremote_bytes_per_s:,.0f}",
            f"{result.bytes_per_s / result.mpremote_bytes_per_s:.1f} x",
        )
    return table


COMMAND = Command("bytes a second both ways, beside mpremote's fs cp", options, run)
