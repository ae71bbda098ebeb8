"""Commands, and their options, none of which they may ignore."""

import argparse
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from ..errors import Attn8Error
from ..terminal import printable


class _Noted(argparse.Action):
    """Tells its parser that it was given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        if option_string is not None and isinstance(parser, Parser):
            parser.given.append(self.option_strings[0])
        super().__call__(parser, namespace, values, option_string)


class _Store(_Noted, argparse._StoreAction):
    pass


class _StoreTrue(_Noted, argparse._StoreTrueAction):
    pass


class _Append(_Noted, argparse._AppendAction):
    pass


class _Extend(_Noted, argparse._ExtendAction):
    pass


@dataclass
class Command:
    """A command, or a subcommand."""

    help: str  # what it does, for the list of commands, without a full stop
    options: "Callable[[Parser], None]"  # adds its options
    run: Callable[[argparse.Namespace, Console], int]  # does it; returns the exit status
    place: float = math.inf  # in that list
    subcommands: str | None = None  # the package that they are in


@dataclass
class _Rule:
    """Options that are ignored where `holds`, and why."""

    options: tuple[str, ...]
    holds: Callable[[argparse.Namespace], bool]
    why: str


class Parser(argparse.ArgumentParser):
    """Also refuses what would be ignored, and files that cannot be written.

    Attributes:
        above: the parser of the command that this one's is a subcommand of.
        given: options of this parser that were given.
    """

    def __init__(self, *arguments: Any, **options: Any):
        self.above: Parser | None = None
        self.given: list[str] = []
        self._names: set[str] = set()
        self._outputs: dict[str, str] = {}  # options that name files to write: their attributes
        self._devices: set[str] = set()  # those of them that may be no files
        self._rules: list[_Rule] = []
        super().__init__(*arguments, **options)
        for name, action in ((None, _Store), ("store", _Store), ("store_true", _StoreTrue),
                             ("append", _Append), ("extend", _Extend)):  # fmt: skip
            self.register("action", name, action)

    def error(self, message: str) -> NoReturn:
        """Ends in one line, whatever an argument holds, and without the usage of argparse's."""
        line = printable(" ".join(message.removeprefix("argument ").splitlines()))
        hint = "" if ": expected" in line else f"; `{self.prog} --help` says what it takes"
        self.exit(2, f"attn8: {line}{hint}\n")

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """As argparse's."""
        action = super().add_argument(*names, **options)
        self._names.update(action.option_strings)
        return action

    def add_output(self, name: str, help: str, device: bool = False, **options: Any) -> None:
        """Adds an option that names a file to write; `device`: it may be one, /dev/stdout say."""
        action = self.add_argument(name, type=Path, metavar="FILE", help=help, **options)
        self._outputs[name] = action.dest
        if device:
            self._devices.add(name)

    def ignores(
        self, options: Sequence[str], where: Callable[[argparse.Namespace], bool], why: str
    ) -> None:
        """Declares that some options are ignored where something holds of the arguments."""
        self._rules.append(_Rule(tuple(options), where, why))

    def check(self, arguments: argparse.Namespace) -> None:
        """Refuses what cannot be carried out as it was said.

        Raises:
            Attn8Error: an option would be ignored or is given twice, two name one file, or one
                names a file that cannot be written, or that the command reads.
        """
        above = self.above
        while above:
            for option in above.given:
                if option in self._names:
                    raise Attn8Error(f"{option}: give it behind `{self.prog}`")
                raise Attn8Error(f"{option}: `{self.prog}` does not take it; leave it out")
            above = above.above
        for option in self.given:
            repeats = isinstance(self._option_string_actions[option], (_Append, _Extend))
            if self.given.count(option) > 1 and not repeats:
                raise Attn8Error(f"{option}: it is given more than once, and one counts")
            if why := self._ignored(option, arguments):
                raise Attn8Error(f"{option}: {why}; leave it out")
        files: dict[Path, str] = {}
        for option, attribute in self._outputs.items():
            path = getattr(arguments, attribute)
            if path is None or self._ignored(option, arguments):
                continue
            other = files.setdefault(path.resolve(), option)
            if other != option:
                raise Attn8Error(f"{other} and {option} are one file, {path}; give two")
            if read := self._read(path, arguments):
                raise Attn8Error(f"{read} and {option} are one file, {path}, which would be "
                                 "overwritten; give two")
            _writable(path, option in self._devices)

    def _read(self, written: Path, arguments: argparse.Namespace) -> str | None:
        """The argument that names a file to write as one to read, if any does."""
        for action in self._actions:
            value = getattr(arguments, action.dest, None)
            if (action.dest not in self._outputs.values() and isinstance(value, str | Path)
                    and os.path.isfile(value) and os.path.isfile(written)
                    and os.path.samefile(value, written)):
                return next(iter(action.option_strings), str(action.metavar or action.dest))
        return None

    def _ignored(self, option: str, arguments: argparse.Namespace) -> str | None:
        """Why an option would be ignored, if it would."""
        for rule in self._rules:
            if option in rule.options and rule.holds(arguments):
                return rule.why
        return None


def _writable(path: Path, device: bool) -> None:
    """Raises Attn8Error where a file cannot be written, before the work is done for nothing."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise Attn8Error(f"cannot write {path}: no such folder {folder}")
    if path.is_dir():
        raise Attn8Error(f"cannot write {path}: it is a folder; give a file in it")
    if path.exists():
        if not device and not path.is_file():
            raise Attn8Error(f"cannot write {path}: it is no file, and would be replaced by one")
        if not os.access(path, os.W_OK):
            raise Attn8Error(f"cannot write {path}: no permission")
        if device:
            return
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise Attn8Error(f"cannot write {path}: {error.strerror}") from None
