"""The `attn8` command: finds the commands (see `commands`), runs one, and makes errors one line."""

import argparse
import io
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from . import __version__, commands
from .commands.parser import Command, Parser
from .discover import entries
from .errors import Attn8Error
from .interrupts import ended_whole
from .terminal import Terminal, printable


def parser() -> Parser:
    """The parser of all commands."""
    main = Parser(
        prog="attn8",
        description="int8 attention on an ESP32 from MicroPython, proven bit for bit with NumPy.",
        epilog="Exit status: 0; 1 if something differs, drifts or fits no chip; 2 if it could not.",
    )
    main.add_argument("--version", action="version", version=f"attn8 {__version__}")
    _add_commands(main, commands.__name__, required=True, metavar="command")
    return main


def _add_commands(above: Parser, package: str, **options: Any) -> None:
    """Adds the commands in a package to a parser."""
    found: dict[str, Command] = entries(package, "COMMAND")
    parsers = above.add_subparsers(**{"metavar": "|".join(found), **options})
    for name, command in sorted(found.items(), key=lambda each: each[1].place):
        description = f"{command.help[0].upper()}{command.help[1:]}."
        made = parsers.add_parser(name, help=command.help, description=description)
        made.above = above
        made.set_defaults(run=command.run, check=made.check)
        command.options(made)
        if command.subcommands:
            _add_commands(made, command.subcommands)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status: 0, 1 (a proof failed) or 2 (it could not run).

    Raises:
        SystemExit: argparse ended it, or a signal (see `ended_whole`).
    """
    arguments = parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Unicode shows ? for blocks
    console = Terminal()
    try:
        with ended_whole():
            return _run(arguments, console)
    except Attn8Error as error:
        _say(str(error))
        return 2
    except OSError as error:  # of a file: those of boards are BoardErrors
        where = f"{error.filename}: " if error.filename else ""
        _say(f"{where}{error.strerror or error}")
        return 2
    except MemoryError:
        _say("this computer has not enough memory for it; give smaller sizes")
        return 2
    except KeyboardInterrupt:
        _say("interrupted")
        return 130


def _say(line: str) -> None:
    print(f"attn8: {printable(' '.join(line.splitlines()))}", file=sys.stderr)


def _run(arguments: argparse.Namespace, console: Console) -> int:
    arguments.check(arguments)
    status: int = arguments.run(arguments, console)
    return status
