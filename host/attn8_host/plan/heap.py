"""What Python objects take in MicroPython's heap, by its object layout and the board's word size.

The device's own Python makes the objects, in CPython (see isa.device); here they are walked. The
layout is that of py/obj*.h, py/map.c and py/gc.c: the heap gives whole blocks of four words.
"""

import re
import sys
import types
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ..isa import mpy
from ..isa.importer import module
from ..paths import DEVICE

# Entries that a map has room for, as it grows (py/map.c)
MAP_SIZES = (0, 1, 2, 4, 6, 8, 10, 12, 17, 23, 29, 37, 47, 59, 73, 97, 127, 167, 223, 293, 389,
             521, 691, 919, 1223, 1627, 2161)  # fmt: skip
LIST_ROOM = 4  # items that a list has room for at least
IMPORT = 28  # words that each import leaves, as measured: the module, its entries in other maps
NAMES = 20  # that the first pool of names has room for (py/qstr.c)
OTHERS = 15  # names that a board has from what else it runs, about: boot.py, and who asks it


@dataclass
class Heap:
    """What some objects take together; each is counted once, however often it is reached.

    Attributes:
        word: bytes of the board's word, 4 on a chip, 8 on the unix port.
        total: bytes of all, objects and their contents.
        buffers: bytes of each array's or bytearray's elements, by the attributes that lead there.
    """

    word: int = 4
    total: int = 0
    buffers: dict[str, int] = field(default_factory=dict)
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
        if id(value) in self._seen or isinstance(value, (type, int, types.ModuleType)):
            return
        self._seen[id(value)] = value
        if isinstance(value, memoryview):
            self.total += self.words(4)
            self.add(value.obj, name)
        elif isinstance(value, (array, bytearray)):
            size = len(memoryview(value).cast("B")) if len(value) else 0
            self.buffers[name] = self.buffers.get(name, 0) + size
            self.total += self.words(4) + self.blocks(size)
        elif isinstance(value, (str, bytes)):
            if value not in interned() and value not in self._constants:
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
            self._items(value, name)
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
            self.add(key)
            self.add(item, f"{name}.{key}" if name else str(key))

    def _all(self, named: Iterable[tuple[str, object]]) -> None:
        for name, item in named:
            self.add(item, name)


class Peak:
    """Watches what the device's functions hold while they run, whenever one makes an array.

    An array is made from the bytes of its elements, which the heap holds beside it until then.

    Attributes:
        total: bytes, the most that was held at a time.
        array: a stand-in for the device's module of that name (see isa.device).
    """

    def __init__(self, word: int):
        self.total = 0
        peak = self

        class Array(array):  # type: ignore[type-arg]  # arrays take no argument in Python 3.11
            def __new__(cls, code: str, initial: Iterable[Any] = ()) -> "Array":
                made = super().__new__(cls, code, initial)
                if len(made):
                    peak._look(word, made, initial)
                return made

        self.array = module("array", array=Array)

    def _look(self, word: int, made: object, initial: object) -> None:
        heap = Heap(word)
        heap.add(made)
        if isinstance(initial, bytes):
            heap.add(initial)
        frame: types.FrameType | None = sys._getframe(2)
        while frame:
            code = frame.f_code
            if in_device(code) and code.co_name != "<module>":
                for value in frame.f_locals.values():
                    heap.add(value)
            frame = frame.f_back
        self.total = max(self.total, heap.total)


def in_device(code: types.CodeType) -> bool:
    """Whether a function is one of the device package."""
    return code.co_filename.startswith(str(DEVICE))


def package(files: Iterable[bytes], modules: Iterable[types.ModuleType], model: Heap) -> int:
    """Bytes of heap that imported .mpy files take; machine code lies elsewhere.

    Args:
        files: the contents of those that are imported.
        modules: what they define, in CPython.
        model: what is counted already, though modules may hold it.
    """
    word = model.word
    heap = Heap(word, _seen=dict(model._seen))
    names: set[str] = set()

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

    def add_body(code: mpy.RawCode) -> None:
        # Of a module or class: it is run once and gone; what it stored stays, and two names more
        heap.total += heap.words(4) + heap.map(number(mpy.STORE_NAME, code) + 2)
        heap.total += heap.words(4) * number(mpy.MAKE_FUNCTION_DEFARGS, code)  # with defaults
        for child in code.children:
            if number(mpy.STORE_NAME, child):
                heap.total += heap.blocks(13 * word + 16)  # a class
                add_body(child)
            else:
                heap.total += heap.words(4)
                add_function(child)

    for file in map(mpy.read, files):
        names.update(name for name in file.qstrs if isinstance(name, str))
        heap.total += IMPORT * word
        heap.total += heap.blocks(2 * len(file.qstrs)) + heap.words(len(file.objects))
        for value in file.objects:
            heap.add(value)
        add_body(file.root)
        heap._constants.update(value for value in file.objects if isinstance(value, str))
    for each in modules:
        for name, value in vars(each).items():
            if not name.startswith("__"):
                heap.add(value)
    # Each name's text, and its place in a pool; a new pool is twice as large as the one before
    places = pool = NAMES
    while places < len(names) + OTHERS:
        pool *= 2
        places += pool
    return heap.total + sum(len(name) + 1 for name in names) + places * (word + 3)


@cache
def interned() -> frozenset[str]:
    """Names of the device's source: strings that are kept once, with the package's code."""
    sources = (path.read_text(encoding="utf-8") for path in (DEVICE / "attn8").rglob("*.py"))
    return frozenset(name for text in sources for name in re.findall(r"\w+", text))
