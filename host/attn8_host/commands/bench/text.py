"""`attn8 bench text`: what does a token cost, beside llama2.c?"""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..parser import Command, Parser
from ..shared import add_json, write_json


def options(parser: Parser) -> None:
    parser.add_argument("model", type=Path, nargs="?",
                        help="int8 model file of llama2.c with a tied head (default: that of the "
                        "demo)")
    parser.add_argument(
        "--llama2c", metavar="DIR", type=Path, required=True,
        help="a checkout of github.com/karpathy/llama2.c; needs Debian's gcc-riscv64-unknown-elf "
        "and picolibc-riscv64-unknown-elf",
    )
    add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    from ...model import load
    from ...paths import MODELS
    from ...proof.bench import llama2c

    model = load(arguments.model or MODELS / "stories.safetensors", False)
    with console.status(f"counting the instructions of {llama2c.ARCH}; this takes a minute"):
        outcomes = llama2c.measure(model, arguments.llama2c)
    console.print(table(outcomes))
    write_json(arguments.json, outcomes)
    return 0


def table(outcomes: list[dict[str, Any]]) -> Table:
    """What proof.bench.llama2c counted."""
    *_, ours, _ = outcomes
    table = Table(title="a token at position 100, rv32imc",
                  caption="Instructions counted, cycles by a model of the core's pipeline")
    for heading in ("", "instructions", "cycles", "of attn8's"):
        table.add_column(heading, justify="right" if heading else "left")
    for row in outcomes:
        cycles = f"{row['cycles']:,}" if row["cycles"] else "-"
        table.add_row(row["name"], f"{row['instructions']:,}", cycles,
                      f"{row['instructions'] / ours['instructions']:.1f}")
    return table


COMMAND = Command("instructions of a token of text, beside llama2.c", options, run)
