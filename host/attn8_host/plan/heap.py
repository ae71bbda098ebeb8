"""What Python objects take in MicroPython's heap, by its object layout and the board's word size.

The device's own Python makes the objects, in CPython (see isa.device); here they are walked. The
layout is that of py/obj*.h, py/map.c and py/gc.c: the heap gives whole blocks of four words.
"""

import json
import re
import sys
import types
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial, update_wrapper
from typing import Any

from .. import bundle, rename
from ..deploy import compiled_names
from ..isa import compiler, mpy
from ..isa.importer import Importer, module
from ..paths import DEVICE

# Entries that a map has room for, as it grows (py/map.c)
MAP_SIZES = (0, 1, 2, 4, 6, 8, 10, 12, 17, 23, 29, 37, 47, 59, 73, 97, 127, 167, 223, 293, 389,
             521, 691, 919, 1223, 1627, 2161)  # fmt: skip
FRAME = 8  # words of a running function, besides its variables and its stack
LIST_ROOM = 4  # items that a list has room for at least
FORGOTTEN = 8  # words of them that stay where the module is forgotten, and some function is held
IMPORT = 28  # words that each import leaves, as measured: the module, its entries in other maps
NAMES = 20  # that the first pool of names has room for (py/qstr.c)
# Names that a board has from what else it runs, about, by the bytes of its word; the unix port's
# also lacks some of a chip's
OTHERS = {4: 2, 8: 68}
FIRMWARE = rename.HAD | {*rename.FIRMWARE, *rename.STROKES}  # names that take nothing


@cache
def interned() -> frozenset[str]:
    """Names of the device's source: strings that are kept once, with the package's code."""
    sources = (path.read_text(encoding="utf-8") for path in (DEVICE / "attn8").rglob("*.py"))
    return (frozenset(name for text in sources for name in re.findall(r"\w+", text))
            | {*rename.FREE, *rename.STROKES})


@cache
def static_names() -> dict[int, str]:
    """Of the device's names, those that an .mpy file says by number."""
    return compiler.static_names(" ".join(sorted(interned())))


@dataclass
class Heap:
    """What some objects take together; each is counted once, however often it is reached.

    Attributes:
        word: bytes of the board's word, 4 on a chip, 8 on the unix port.
        total: bytes of all, objects and their contents.
        buffers: bytes of each array's or bytearray's elements, by the attributes that lead there.
        names: those that the board kept when its strings were made: what reads as one takes
            nothing more.
    """

    word: int = 4
    total: int = 0
    buffers: dict[str, int] = field(default_factory=dict)
    names: Collection[str] = field(default_factory=interned)
    _seen: dict[int, object] = field(default_factory=dict)
    _constants: set[str] = field(default_factory=set)  # of code that is counted already

    def blocks(self, size: int) -> int:
        """Bytes of whole blocks for `size` bytes."""
        block = 4 * self.word
        return -(-size // block) * block

    def words(self, count: int) -> int:
        """Bytes of whole blocks for `count` words."""
        return self.blocks(count * self.word)

    def map(self, count: int) -> int:
        """Bytes of the table of a map with `count` entries."""
        return self.words(2 * next(n for n in MAP_SIZES if n >= count))

    def add(self, value: object, name: str = "") -> None:
        """Counts an object and all that it reaches."""
        if id(value) in self._seen or isinstance(
            value, (type, int, types.ModuleType, partial)
        ):
            return
        self._seen[id(value)] = value
        if isinstance(value, memoryview):
            self.total += self.words(4)
            self.add(value.obj, name)
        elif isinstance(value, (array, bytearray)):
            there = len(value) and getattr(value, "placed", True)  # see isa.device.Later
            size = len(memoryview(value).cast("B")) if there else 0
            self.buffers[name] = self.buffers.get(name, 0) + size
            self.total += self.words(4) + self.blocks(size)
        elif isinstance(value, (str, bytes)):
            if value not in self.names and value not in self._constants:
                self.total += self.words(4) + self.blocks(len(value) + 1)
        elif isinstance(value, float):
            self.total += self.words(2)
        elif isinstance(value, tuple):
            self.total += self.words(2 + len(value))
            self._all((name, item) for item in value)
        elif isinstance(value, list):
            self.total += self.words(4) + self.words(max(LIST_ROOM, len(value)))
            self._all((name, item) for item in value)
        elif isinstance(value, dict):
            self.total += self.words(4) + self.map(len(value))
            self._all((name, key) for key in value)
            self._items(value, name)
            if hasattr(value, "__dict__"):  # an object of a class of these
                self.total += self.words(4) + self.map(len(vars(value)))
                self._items(vars(value), name)
        elif isinstance(value, types.FunctionType):
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            if cells and in_device(value.__code__):
                defaults = value.__defaults__ or ()
                self.total += self.words(3 + len(cells)) + self.words(2) * len(cells)
                self.total += self.words(4 + len(defaults))
                self._all((name, item) for item in cells)
        elif isinstance(value, types.MethodType):
            self.total += self.words(3)
            self.add(value.__self__, name)
        elif hasattr(value, "__dict__"):
            self.total += self.words(4) + self.map(len(vars(value)))
            self._items(vars(value), name)

    def _items(self, items: dict[Any, object], name: str) -> None:
        for key, item in items.items():
            self.add(item, f"{name}.{key}" if name else str(key))

    def _all(self, named: Iterable[tuple[str, object]]) -> None:
        for name, item in named:
            self.add(item, name)


class Peak:
    """Watches what the device's functions hold while they run, whenever one makes an array or view,
    and before it forgets a module.

    An array is made from the bytes of its elements, which the heap holds beside it until then.

    Attributes:
        total: bytes, the most that was held at a time, with the package's own code.
        package: the package, once there is something to watch.
        names: those that were kept when JSON was read last: its strings are made then.
        array, json: stand-ins for the device's modules of these names (see isa.device).
    """

    def __init__(self, word: int):
        self.total = 0
        self.package: Package | None = None
        self.names: Collection[str] = interned()
        self._word = word
        # Bytes of the package by what is imported, and runs
        self._code: dict[tuple[object, ...], int] = {}
        self._forgets = False
        peak = self

        class Array(array):  # type: ignore[type-arg]  # arrays take no argument in Python 3.11
            def __new__(cls, code: str, initial: Iterable[Any] = ()) -> "Array":
                made = super().__new__(cls, code, initial)
                if len(made):
                    peak._look(made, initial)
                return made

        def loads(text: bytes | bytearray | memoryview) -> object:
            if peak.package:
                peak.names = (peak.package.names() | FIRMWARE
                              | frozenset(static_names().values()))
            return json.loads(bytes(text), object_pairs_hook=_with_own_keys)

        self.array = module("array", array=Array)
        self.json = module("json", **vars(json) | {"loads": loads})

    def watch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, after whose calls there is a look at what is held."""

        def call(*arguments: object) -> object:
            made = function(*arguments)
            self._look(made, None)
            return made

        return standing_in(call, function)

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, before whose calls there is a look at what is held."""

        def call(*arguments: object) -> object:
            if not self._forgets:  # the first of several: before any of them there is the most
                self._look(None, None)
            self._forgets = True
            return function(*arguments)

        return standing_in(call, function)

    def _look(self, made: object, initial: object) -> None:
        package = self.package
        if package is None:
            return
        self._forgets = False
        heap = Heap(self._word, names=self.names)
        heap.add(made)
        if isinstance(initial, bytes):
            heap.add(initial)
        roots: list[object] = []
        running: list[object] = []
        frame: types.FrameType | None = sys._getframe(2)
        while frame:
            code = frame.f_code
            if in_device(code) and code.co_name != "<module>":
                roots += frame.f_locals.values()
                running.append(code)
                heap.total += heap.words(code.co_nlocals + code.co_stacksize + FRAME)
            frame = frame.f_back
        for value in roots:
            heap.add(value)
        there = *package.importer.modules, *running
        if there not in self._code:
            self._code[there] = package.total(heap, *roots)
        self.total = max(self.total, heap.total + self._code[there])


def _with_own_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON as MicroPython makes it: CPython's share their keys."""
    return {key.encode().decode(): value for key, value in pairs}


def standing_in(call: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """What is called in the place of a function of the device's, whose code is counted."""
    return update_wrapper(partial(call), function)


def in_device(code: types.CodeType) -> bool:
    """Whether a function is one of the device package."""
    return code.co_filename.startswith(str(DEVICE))


@dataclass
class Package:
    """What the device package's .mpy files take in the heap of a board.

    A module that was forgotten (device/attn8/unload.py) leaves its names, and the functions and
    classes that something still holds, with what these share.

    Attributes:
        files: those that are deployed, by the name of the module.
        importer: what imported them into CPython.
    """

    files: Mapping[str, mpy.Mpy]
    importer: Importer

    def total(self, model: Heap, *roots: object) -> int:
        """Bytes of what is there; machine code lies elsewhere.

        Args:
            model: what is counted already, though modules may hold it.
            roots: what may hold functions, besides the modules that are there.
        """
        heap = Heap(model.word, _seen=dict(model._seen))
        modules = {name: found for name, found in self.importer.modules.items()
                   if self._file(name) in self.files}
        held = Held()
        held.follow([*modules.values(), *roots])
        names = compiled_names()
        held.code = {(self._file(module), _compiled(module, path, names))
                     for module, path in held.code}
        there = {self._file(name) for name in modules}
        for name in sorted({self._file(name) for name in held.modules} | there):
            if name in self.files:
                self._add(heap, name, held, name in there)
        for name, values in held.modules.items():
            for key, value in values.items():
                if self._file(name) in self.files and not key.startswith("__"):
                    heap.add(value)
        return heap.total + self._names(heap)

    def _add(self, heap: Heap, name: str, held: "Held", there: bool) -> None:
        file, word = self.files[name], heap.word

        def number(opcode: int, code: mpy.RawCode) -> int:
            if code.kind != mpy.Kind.BYTECODE:
                return 0
            return sum(found == opcode for found, _ in mpy.opcodes(code.data))

        def add_function(code: mpy.RawCode) -> None:
            if code.kind == mpy.Kind.BYTECODE:
                heap.total += heap.blocks(len(code.data))
            heap.total += heap.words(len(code.children))
            for child in code.children:
                heap.total += heap.words(4) if child.children else 0
                add_function(child)

        def add_body(code: mpy.RawCode, path: str) -> None:
            # Of a module or class: it is run once and gone; what it stored stays, and two names
            # more, and functions with defaults
            stored = {name for found, name in mpy.opcodes(code.data) if found == mpy.STORE_NAME}
            heap.total += heap.words(4) + heap.map(len(stored) + 2)
            defaults = number(mpy.MAKE_FUNCTION_DEFARGS, code)
            for child in code.children:
                own = path
                if child.kind == mpy.Kind.BYTECODE:
                    called = mpy.function_name(file, child)
                    own += static_names()[called] if isinstance(called, int) else called
                    if (name, own) not in held.code:
                        continue
                if number(mpy.STORE_NAME, child):
                    heap.total += heap.blocks(13 * word + 16)  # a class
                    add_body(child, own + ".")
                else:
                    heap.total += heap.words(4)
                    if defaults:
                        heap.total += heap.words(4)
                        defaults -= 1
                    add_function(child)

        heap.total += (IMPORT if there else FORGOTTEN) * word
        heap.total += heap.blocks(2 * len(file.qstrs)) + heap.words(len(file.objects))
        for value in file.objects:
            heap.add(value)
        add_body(file.root, "")
        heap._constants.update(value for value in file.objects if isinstance(value, str))

    def names(self) -> frozenset[str]:
        """Those that the modules that were imported have brought, static ones left out."""
        imported = self._imported()
        return frozenset(name for each in imported for name in self.files[each].qstrs
                         if isinstance(name, str))

    def _file(self, module: str) -> str:
        """The module whose file one lies in (see bundle.py)."""
        if not module.startswith(bundle.PACKAGE):
            return module
        own = bundle.home(module[len(bundle.PACKAGE) + 1 :])
        return f"{bundle.PACKAGE}.{own}".rstrip(".")

    def _imported(self) -> set[str]:
        return {self._file(name) for name in self.importer.imported} & self.files.keys()

    def _names(self, heap: Heap) -> int:
        # Each name's text, and its place in a pool; a new pool is twice as large as the one before.
        # A module has two names of its own: attn8.x, and its file's path
        imported = self._imported()
        names = self.names() - FIRMWARE
        names |= {f"/lib/{each.replace('.', '/')}.mpy" for each in imported} | imported
        places = pool = NAMES
        while places < len(names) + OTHERS[heap.word]:
            pool *= 2
            places += pool
        return sum(len(name) + 1 for name in names) + places * (heap.word + 3)


def _compiled(module: str, path: str, names: Mapping[str, str]) -> str:
    """What a function or class is called, a path in its module, in the file that it lies in.

    Args:
        names: what internal ones are called (see compiled_names).
    """
    own, *within = path.split(".")
    parts = [bundle.name(module[len(bundle.PACKAGE) + 1 :], own), *within]
    return ".".join(names.get(part, part) for part in parts)


@dataclass
class Held:
    """Which of the device's functions and classes something holds.

    Attributes:
        code: (module, path within it) of each.
        modules: the contents of their modules, which functions hold, by name.
    """

    code: set[tuple[str, str]] = field(default_factory=set)
    modules: dict[str, dict[str, Any]] = field(default_factory=dict)

    def follow(self, roots: Iterable[object]) -> None:
        """Adds all that objects hold."""
        seen: dict[int, object] = {}
        left = list(roots)
        while left:
            value = left.pop()
            if id(value) in seen or isinstance(value, (str, bytes, int, float, array, memoryview)):
                continue
            seen[id(value)] = value
            if isinstance(value, types.ModuleType):
                if value.__name__.startswith("attn8"):
                    left += vars(value).values()
            elif isinstance(value, types.FunctionType):
                if in_device(value.__code__):
                    self.code.add((value.__module__, value.__qualname__))
                    self.modules[value.__module__] = value.__globals__
                    left += [*value.__globals__.values(), *(value.__defaults__ or ())]
                    left += [cell.cell_contents for cell in value.__closure__ or ()]
            elif isinstance(value, type):
                if value.__module__.startswith("attn8."):
                    self.code.add((value.__module__, value.__qualname__))
                    left += [*vars(value).values(), *value.__bases__]
            elif isinstance(value, (staticmethod, classmethod, types.MethodType)):
                left.append(value.__func__)
                left.append(getattr(value, "__self__", None))
            elif isinstance(value, dict):
                left += [type(value), *value.values()]
            elif isinstance(value, (list, tuple)):
                left += value
            elif hasattr(value, "__dict__"):
                left += [type(value), *vars(value).values()]
