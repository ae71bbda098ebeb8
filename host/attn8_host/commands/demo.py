"""`attn8 demo`: handwritten digits, classified on a board and proven against NumPy."""

import argparse
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from .parser import Command, Parser
from .pictures import draw_attention
from .run import run_facts
from .shared import add_board, add_json, add_png, opened, positive, write_json

if TYPE_CHECKING:
    from ..proof.compare import Verification
    from ..proof.demo import DemoResult


def options(parser: Parser) -> None:
    add_board(parser)
    add_json(parser)
    add_png(parser, "the attention heat map", "attn8-attention.png")
    parser.add_argument("--samples", type=positive, metavar="N", help="digits (default: all)")


def run(arguments: argparse.Namespace, console: Console) -> int:
    from ..proof.demo import demonstrate, digits

    images, labels = digits(arguments.samples)
    with opened(arguments, console) as board:
        outcome, result = demonstrate(board, console, images, labels)
    first = result.outputs[0]
    reads = f"the board reads: {first['head'].argmax()}"
    draw_attention(arguments.png, first, images[0].reshape(8, 8), reads)
    console.print(table(outcome, result))
    console.out(f"attention heat map: {arguments.png}", highlight=False)
    write_json(arguments.json, outcome.as_dict() | {"png": str(arguments.png)})
    return 0 if outcome.bit_exact else 1


def table(outcome: "DemoResult", result: "Verification") -> Table:
    return run_facts(f"attn8 demo: {outcome.samples} handwritten digits", outcome, result, [
        ("accuracy on the board", f"{outcome.accuracy:.2%}",
         f"float32 model: {outcome.float_accuracy:.2%}"),
        ("same answer as float32", f"{outcome.top1_agreement_vs_float:.2%}", "top-1 agreement"),
        ("cosine to float32", f"{outcome.cosine_vs_float:.5f}", "attention layer's output, mean"),
        ("max error to float", f"{outcome.max_lsb_vs_float:.3f} LSB",
         "attention; 0.5 is rounding"),
    ])  # fmt: skip


COMMAND = Command("classify handwritten digits on a board and prove it", options, run, place=1)
