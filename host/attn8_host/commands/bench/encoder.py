"""`attn8 bench encoder`: what does a whole transformer encoder layer cost?"""

import argparse
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ..parser import Command, Parser
from ..shared import add_isa, add_json, write_json


def options(parser: Parser) -> None:
    add_isa(parser, "architecture (default: both)")
    parser.add_argument(
        "--tinymind", metavar="DIR", type=Path,
        help="a checkout of github.com/danmcleran/tinymind, whose encoder is counted beside ours; "
        "needs riscv64-unknown-elf-g++",
    )  # fmt: skip
    add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    from ...isa import ARCHES
    from ...proof.bench import encoder, tinymind

    outcomes = []
    for arch in [arguments.isa] if arguments.isa else ARCHES:
        with console.status(f"counting the instructions of {arch}"):
            outcomes += [encoder.measure(arch, backend) for backend in encoder.BACKENDS]
            if arguments.tinymind and arch == tinymind.ARCH:
                outcomes.append(tinymind.measure(arguments.tinymind))
    console.print(table(outcomes))
    write_json(arguments.json, outcomes)
    return 0


def table(outcomes: list[dict[str, Any]]) -> Table:
    """What proof.bench.encoder and proof.bench.tinymind counted, a column each."""
    table = Table(title="instructions of an encoder layer", box=SIMPLE_HEAD)
    table.add_column("per multiply-accumulate of all")
    for outcome in outcomes:
        table.add_column(f"{outcome['name']}, {outcome['isa']}", justify="right")
    for part in dict.fromkeys(part for outcome in outcomes for part in outcome["parts"]):
        cells = [outcome["parts"].get(part) for outcome in outcomes]
        table.add_row(part, *("" if n is None else f"{n / outcome['macs']:.3f}"
                              for n, outcome in zip(cells, outcomes, strict=True)))
    table.add_section()
    table.add_row("all", *(f"{outcome['instructions_per_mac']:.2f}" for outcome in outcomes))
    table.add_row("cycles, by a model of the core's pipeline",
                  *(f"{outcome['cycles_per_mac']:.2f}" for outcome in outcomes))
    for row in dict.fromkeys(row for outcome in outcomes for row in outcome["per_element"]):
        table.add_row(f"{row}, an element", *(str(outcome["per_element"].get(row, ""))
                                              for outcome in outcomes))
    return table


COMMAND = Command("instructions of a whole transformer encoder layer", options, run)
