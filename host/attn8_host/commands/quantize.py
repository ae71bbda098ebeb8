"""`attn8 quantize`: an int8 model file from a float one."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .parser import Command, Parser
from .shared import add_json, write_json

if TYPE_CHECKING:
    from ..quantize.file import Agreement


def options(parser: Parser) -> None:
    parser.add_argument("model", type=Path, help="float32 model file (safetensors with a config)")
    parser.add_argument(
        "--calibration", type=Path, metavar="FILE.npy",
        help="float inputs like those to come, [samples, ...]; a model of text writes its own "
        "where there are none",
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
    parser.add_argument(
        "--format", choices=["Q8.8", "Q16.16", "Q24.8", "float", "double"],
        help="what conv1d, dense and self_attention_1d compute in where their entries do not say "
             "it (default: int8, which self_attention_1d has not)",
    )
    parser.add_argument(
        "--cache", choices=["int8", "int16"],
        help="of past keys and values, of grouped_attention (default: int8)",
    )
    parser.add_output("--output", "the int8 model file to write", required=True)
    parser.add_argument(
        "--calibrate", choices=["best", "absmax", "percentile", "least-error"], default="best",
        help="how ranges are found: the largest values, all but 1 in 1000, those of the least "
        "mean error, or what is best on the calibration inputs (default: %(default)s)",
    )
    parser.add_argument(
        "--require-agreement", type=_percent, metavar="PERCENT",
        help="end with status 1 if fewer inputs have the same largest output as in float",
    )
    add_json(parser)


def _percent(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 100, got {text!r}")
    return number


def run(arguments: argparse.Namespace, console: Console) -> int:
    from ..quantize.file import quantize_file

    found = quantize_file(arguments.model, arguments.calibration, arguments.output, console,
                          arguments.lengths, arguments.calibrate, arguments.activation_bits,
                          arguments.format, arguments.cache)
    console.print(table(found))
    for warning in found.warnings:
        console.print(f"warning: {warning}", highlight=False, markup=False)
    console.print(
        f"{arguments.output}: {arguments.output.stat().st_size:,} bytes. Against the float model "
        f"over {found.samples:,} inputs: cosine {found.cosine:.5f} (lowest "
        f"{found.lowest_cosine:.5f}), same largest output {found.top1_agreement:.2%}",
        highlight=False, markup=False,
    )
    write_json(arguments.json, found.as_dict())
    required = arguments.require_agreement
    if required is not None and found.top1_agreement * 100 < required:
        console.print(f"--require-agreement: {found.top1_agreement:.2%} is less than {required:g}%",
                      highlight=False, markup=False)
        return 1
    return 0


def table(found: "Agreement") -> Table:
    """A row a layer."""
    made = Table(
        title="int8 against float, over the range of each layer",
        caption=f"ranges: {found.input_calibration} of the input, {found.activation_calibration} "
        "of activations",
    )
    made.add_column("layer", overflow="fold")
    for heading in ("mean error", "max error", "cosine"):
        made.add_column(heading, justify="right")
    for row in found.layers:
        made.add_row(escape(row.name), f"{row.mean_error:.3%}", f"{row.max_error:.2%}",
                     f"{row.cosine:.5f}")
    return made


COMMAND = Command("make an int8 model file from a float one", options, run, place=6)
