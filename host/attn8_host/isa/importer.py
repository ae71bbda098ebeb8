"""Imports the device package into this interpreter, apart from its own modules."""

import builtins
import sys
import weakref
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import IO, Any

from ..paths import DEVICE

POINTERS = ("ptr8", "ptr16", "ptr32")  # names that only viper's compiler knows


class Importer:
    """Runs the device's modules from their source, with builtins of their own.

    What they import is looked for in `modules`, in the stand-ins, in the folder DEVICE and in
    CPython's library, in this order; sys.modules knows nothing of it.

    Args:
        stand_ins: modules by name, for what only a board's firmware has, or in place of others.
        borrowed: paths of sources by the names of modules that have none of their own.

    Attributes:
        modules: those of the device and the stand-ins that are there, by name.
        imported: names of all that were imported, and may be gone.
    """

    def __init__(
        self, stand_ins: Mapping[str, ModuleType] | None = None,
        borrowed: Mapping[str, Path] | None = None,
    ):
        self._borrowed = borrowed or {}
        self.modules: dict[str, ModuleType] = {}
        self.imported: set[str] = set()
        self._opened: list[IO[Any]] = []
        weakref.finalize(self, _close, self._opened)
        line = SimpleNamespace(buffer=SimpleNamespace(readinto=None, write=len))  # leads nowhere
        own = {"modules": self.modules, "stdin": line, "stdout": line}
        self._stand_ins = {"sys": module("sys", **vars(sys) | own)}
        self._stand_ins |= stand_ins or {}
        self._builtins = {
            **vars(builtins), **dict.fromkeys(POINTERS, int), "__import__": self._import,
            "open": self._open,
        }

    def _open(self, *arguments: Any) -> IO[Any]:
        # They may stay open as long as what was imported is there
        self._opened.append(open(*arguments))  # noqa: SIM115
        return self._opened[-1]

    def load(self, name: str) -> ModuleType:
        """The module of this name, run if it was not yet.

        Raises:
            ModuleNotFoundError: the device has no such module.
        """
        if name in self.modules:
            return self.modules[name]
        package, _, last = name.rpartition(".")
        parent = self.load(package) if package else None
        self.imported.add(name)
        if name in self._stand_ins:
            self.modules[name] = self._stand_ins[name]
        else:
            self._run(name, self._source(name))
        if parent:
            setattr(parent, last, self.modules[name])
        return self.modules[name]

    def _run(self, name: str, path: Path) -> None:
        made = module(name, __file__=str(path), __builtins__=self._builtins)
        is_package = path.name == "__init__.py"
        made.__package__ = name if is_package else name.rpartition(".")[0]
        if is_package:
            vars(made)["__path__"] = str(path.parent)  # one folder, as in MicroPython
        self.modules[name] = made
        try:
            source = self._borrowed.get(name, path)
            exec(_compiled(path, source.read_text(encoding="utf-8")), vars(made))
        except BaseException:
            del self.modules[name]
            raise

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """What `import` calls in the device's modules; see builtins.__import__."""
        if level:
            package = str((globals or {})["__package__"]).split(".")
            name = ".".join([*package[: len(package) - level + 1], *filter(None, [name])])
        top = name.partition(".")[0]
        if top not in self._stand_ins and not self._is_there(top):
            return builtins.__import__(name, globals, locals, fromlist or (), 0)
        found = self.load(name)
        if not fromlist:
            return self.load(top)
        for part in fromlist:
            below = f"{name}.{part}"
            if not hasattr(found, part) and (below in self._stand_ins or self._is_there(below)):
                setattr(found, part, self.load(below))
        return found

    def _source(self, name: str) -> Path:
        """Where a module of the device is, or would be if it had a source of its own."""
        path = DEVICE.joinpath(*name.split("."))
        if name in self._borrowed:
            return path.with_suffix(".py")
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file():
                return file
        raise ModuleNotFoundError(f"no module named {name} on the device", name=name)

    def _is_there(self, name: str) -> bool:
        try:
            return bool(self._source(name))
        except ModuleNotFoundError:
            return False


def _close(files: list[IO[Any]]) -> None:
    for file in files:
        file.close()


def module(name: str, /, **contents: object) -> ModuleType:
    """A module that has these names in it."""
    made = ModuleType(name)
    vars(made).update(contents)
    return made


@cache
def _compiled(path: Path, source: str) -> CodeType:
    code: CodeType = compile(source, path, "exec")
    return code
