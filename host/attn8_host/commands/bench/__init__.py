"""`attn8 bench`: what kernels and the attention layer cost."""

import argparse
from typing import Any

from rich.console import Console
from rich.table import Table

from ..parser import Command, Parser
from ..shared import add_board, add_isa, add_json, opened, write_json


def options(parser: Parser) -> None:
    add_board(parser)
    add_isa(parser, "count the instructions of this architecture instead of timing a board")
    parser.add_argument(
        "--backend", choices=["viper", "turbo", "simd"],
        help="the kernels (default: viper, and turbo where the chip has them), or simd, which is "
        "experimental, on an ESP32-S3",
    )
    add_json(parser)
    parser.ignores(["--board", "--baud", "--firmware"], lambda a: a.isa is not None,
                   "--isa counts without a board")


def run(arguments: argparse.Namespace, console: Console) -> int:
    if arguments.isa:
        from ...proof.bench import count

        with console.status(f"counting the instructions of {arguments.isa}"):
            outcome = count.measure(arguments.isa, arguments.backend or "turbo")
    else:
        from ...proof.bench import on_board

        with opened(arguments, console) as board, console.status("deploying and timing"):
            outcome = on_board.measure(board, arguments.backend)
    console.print(table(outcome))
    write_json(arguments.json, outcome)
    return 0


def table(outcome: dict[str, Any]) -> Table:
    """What proof.bench.count or proof.bench.on_board measured."""
    from ...proof.bench.count import LAYERS

    counted = "isa" in outcome
    table = Table(title=f"attn8 bench: {outcome.get('isa') or outcome['board']}")
    table.add_column(outcome["method"])
    table.add_column("shape", justify="right")
    table.add_column("instructions" if counted else "us", justify="right")
    if counted:
        table.add_column("cycles", justify="right")
        table.caption = caption = "Instructions counted, cycles by a model of the core's pipeline"
    table.add_column("per" if counted else "ns per MAC", justify="right" if not counted else "left")
    layers = [outcome[key] for key in LAYERS if outcome.get(key)]
    for row in outcome["kernels"] + layers + outcome.get("experimental", []):
        shape = " x ".join(str(n) for n in row["shape"])
        if not counted:
            values = [f"{row['microseconds']:,}", f"{row['ns_per_mac']:.1f}"]
        else:
            per = "score" if "instructions_per_score" in row else "mac"
            values = [f"{row[f'{what}_per_{per}']:.2f}" for what in ("instructions", "cycles")]
            values.append("MAC" if per == "mac" else per)
        table.add_row(row["name"], shape, *values)
    for row in outcome.get("published", []):
        table.add_row(row["name"], " x ".join(str(n) for n in row["shape"]), "",
                      f"{row['cycles_per_mac']:.1f}", "MAC *")
        table.caption = f"{caption}; *: C of others, as published (docs/forms.md)"
    return table


COMMAND = Command(
    "what kernels and the attention layer cost; the link",
    options, run, place=13, subcommands=__name__,
)
