"""`attn8 boards start virtual`: a virtual board for other programs."""

import argparse
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from ...errors import Attn8Error
from ..parser import Command, Parser
from ..shared import baud, below


def options(parser: Parser) -> None:
    parser.add_argument("what", choices=["virtual"], help="MicroPython's unix port")
    parser.add_argument("--root", type=Path, metavar="DIR", help="its file system (default: new)")
    parser.add_argument("--heap", type=below(1 << 16, 32), metavar="KB",
                        help="of its heap, by a chip's words (default: 112, as an ESP32 has)")
    parser.add_argument("--baud", type=baud, help="rate of its serial line (default: no limit)")


def run(arguments: argparse.Namespace, console: Console) -> int:
    command = [sys.executable, "-m", "attn8_host.boards.supervisor", "--listed"]
    if arguments.root:
        try:
            str(arguments.root.absolute()).encode()
        except UnicodeEncodeError:
            raise Attn8Error("--root: its path is not UTF-8, and MicroPython knows no other; give "
                             "another folder") from None
        if arguments.root.exists() and not arguments.root.is_dir():
            raise Attn8Error(f"--root: {arguments.root} is no folder")
        arguments.root.mkdir(parents=True, exist_ok=True)
        command += ["--root", str(arguments.root)]
    if arguments.heap:  # the unix port's words, and so its objects, are twice as large
        command += ["--heap-size", f"{arguments.heap}wK"]
    if arguments.baud:
        command += ["--baud", str(arguments.baud)]
    console.print("The virtual board's port follows; Ctrl-C stops it.", style="dim")
    # The pipe to its standard input closes, and the board ends, however this process does
    with subprocess.Popen(command, stdin=subprocess.PIPE) as board, suppress(KeyboardInterrupt):
        return board.wait()
    return 0


COMMAND = Command("keep a virtual board running and print its port", options, run)
