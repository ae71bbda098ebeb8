"""`attn8 soak`: requests without end."""

import argparse
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from .parser import Command, Parser
from .shared import add_board, add_json, facts, minutes, seed, write_json

if TYPE_CHECKING:
    from ..proof.soak import Soak


def options(parser: Parser) -> None:
    add_board(parser)
    parser.add_argument("--minutes", type=minutes, metavar="N", default=1.0, help="(default: 1)")
    parser.add_argument("--seed", type=seed, default=0, help="of the random inputs (default: 0)")
    add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..boards import open_board
    from ..proof.soak import soak

    columns = (TextColumn("{task.description:<40}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("connect and deploy", total=arguments.minutes * 60)

        def advance(seen: "Soak") -> None:
            said = f"{seen.inferences:,} inferences, {seen.wrong:,} wrong"
            bar.update(task, completed=seen.seconds, description=said)

        outcome = soak(
            lambda: open_board(arguments.board, arguments.baud, arguments.firmware),
            arguments.minutes * 60, arguments.seed, advance,
        )
    console.print(table(outcome))
    write_json(arguments.json, outcome.as_dict())
    return 0 if outcome.passed else 1


def table(outcome: "Soak") -> Table:
    rows = [
        ("requests", outcome.requests, f"{outcome.inferences:,} inferences; else random bytes"),
        ("compared", outcome.compared, "int values and bytes"),
        ("wrong", outcome.wrong, "must be 0"),
        ("faults seen", outcome.faults, "losses and damage on the line, all repaired"),
        ("reconnects", outcome.reconnects, "the board or its port went away and came back"),
        ("heap drift", outcome.heap_drift, "bytes on the board; must be 0"),
    ]
    title = f"attn8 soak: {outcome.seconds / 60:.1f} minutes"
    return facts(title, [(name, f"{value:,}", what) for name, value, what in rows])


COMMAND = Command("send requests without end and watch the board's heap", options, run, place=11)
