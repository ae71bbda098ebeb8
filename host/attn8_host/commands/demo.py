"""`attn8 demo`: a model that comes along, run on a board and proven against NumPy."""

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

TEXT, PROMPT = "stories", "Once upon a time"


def options(parser: Parser) -> None:
    parser.add_argument(
        "name", nargs="?", default="digits", metavar="digits|speakers|stories",
        help="handwritten digits (default), a transformer that knows nine speakers by voice, or "
        "one that writes stories (see attn8 generate)",
    )
    add_board(parser)
    add_json(parser)
    add_png(parser, "the attention heat map", "attn8-attention.png")
    parser.add_argument("--samples", type=positive, metavar="N", help="inputs (default: all)")
    parser.ignores(["--samples", "--png"], lambda a: a.name == TEXT, f"{TEXT} have neither")


def run(arguments: argparse.Namespace, console: Console) -> int:
    if arguments.name == TEXT:
        from ..paths import MODELS
        from ..proof.generate import Request
        from .generate import write

        return write(arguments, console, MODELS / f"{TEXT}.safetensors", Request(PROMPT))
    from ..errors import Attn8Error
    from ..proof.demo import demonstrate, demos, weights

    demo = demos().get(arguments.name)
    if demo is None:
        raise Attn8Error(f"{arguments.name}: no such demo; there are "
                          f"{', '.join([*demos(), TEXT])}")
    data = demo.read().first(arguments.samples)
    with opened(arguments, console) as board:
        outcome, result = demonstrate(board, console, arguments.name, data)
    first = result.outputs[0]
    answer = demo.says.format(demo.answers[list(first.values())[-1].argmax()])
    image = data.inputs[0].reshape(demo.picture) if demo.picture else None
    if demo.need_weights:
        draw_attention(arguments.png, first, image, answer)
    else:
        draw_attention(arguments.png, weights(arguments.name, data), image, answer,
                       source="as NumPy computes them from q and k that are equal to the board's")
    console.print(table(f"attn8 demo: {outcome.samples} {demo.title}", outcome, result))
    console.out(f"attention heat map: {arguments.png}", highlight=False)
    write_json(arguments.json, outcome.as_dict() | {"png": str(arguments.png)})
    return 0 if outcome.bit_exact else 1


def table(title: str, outcome: "DemoResult", result: "Verification") -> Table:
    return run_facts(title, outcome, result, [
        ("accuracy on the board", f"{outcome.accuracy:.2%}",
         f"float32 model: {outcome.float_accuracy:.2%}"),
        ("same answer as float32", f"{outcome.top1_agreement_vs_float:.2%}", "top-1 agreement"),
        ("cosine to float32", f"{outcome.cosine_vs_float:.5f}", "what the heads give, mean"),
        ("max error to float", f"{outcome.max_lsb_vs_float:.3f} LSB",
         "attention; 0.5 is rounding"),
    ])  # fmt: skip


COMMAND = Command("run a model that comes along on a board and prove it", options, run, place=1)
