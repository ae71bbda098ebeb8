"""`attn8 quantize`: an int8 model file from a float one."""

import argparse
from pathlib import Path

from rich.console import Console

from .parser import Command, Parser


def options(parser: Parser) -> None:
    parser.add_argument("model", type=Path, help="float32 model file (safetensors with a config)")
    parser.add_argument(
        "--calibration", type=Path, required=True, metavar="FILE.npy",
        help="float inputs like those to come, [samples, ...]",
    )
    parser.add_argument(
        "--lengths", type=Path, metavar="LENGTHS.npy",
        help="[samples]: how many tokens of each calibration input count, where the model takes "
        "lengths",
    )
    parser.add_argument(
        "--activation-bits", type=int, choices=(8, 16), default=8,
        help="16: int16 feeds products, and weights stay int8; for models that int8 costs too "
             "much (default: 8)",
    )
    parser.add_output("--output", "the int8 model file to write", required=True)


def run(arguments: argparse.Namespace, console: Console) -> int:
    from ..quantize.file import quantize_file

    found = quantize_file(arguments.model, arguments.calibration, arguments.output, console,
                          arguments.lengths, arguments.activation_bits)
    console.print(
        f"{arguments.output}: {arguments.output.stat().st_size:,} bytes. Against the float model "
        f"over {found.samples:,} inputs: cosine {found.cosine:.5f} (lowest "
        f"{found.lowest_cosine:.5f}), same largest output {found.top1:.2%}",
        highlight=False, markup=False,
    )
    return 0


COMMAND = Command("make an int8 model file from a float one", options, run, place=6)
