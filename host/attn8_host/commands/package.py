"""`attn8 package`: the package as a folder for mip, and for who builds firmware."""

import argparse
from pathlib import Path

from rich.console import Console

from .parser import Command, Parser


def options(parser: Parser) -> None:
    parser.add_argument("--arch", choices=["xtensawin", "rv32imc"], required=True,
                        help="xtensawin: ESP32, S2, S3; rv32imc: ESP32-C3, C6")
    parser.add_argument("--output", type=Path, metavar="DIR", required=True, help="a new folder")


def run(arguments: argparse.Namespace, console: Console) -> int:
    from ..forms.mpy import VERSION
    from ..package import write

    count = write(arguments.output, arguments.arch)
    console.print(f"{count} files for .mpy version {VERSION} (MicroPython 1.23 and newer) in "
                  f"{arguments.output}", highlight=False, soft_wrap=True)
    return 0


COMMAND = Command("make a folder of the package for mpremote mip, or a firmware", options, run,
                  place=9.5)
