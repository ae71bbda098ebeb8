"""The device package in CPython, its kernels in an instruction emulator that counts.

A whole layer is counted by running the device's own Python under CPython, with each of its viper
functions replaced by its machine code. What MicroPython's interpreter spends around the kernels is
estimated, from the costs that were measured of its calls.
"""

import json
import os
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from pathlib import Path
from types import FrameType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from .. import forms, isa
from ..paths import DEVICE
from . import xtensa_simd
from .importer import Importer, module
from .machine import Machine
from .pipeline import LX7

PACKAGE = DEVICE / "attn8"
# Machine instructions on an ESP32: of a viper call, of each of its arguments, of a Python call
VIPER_CALL, INT_ARGUMENT, BUFFER_ARGUMENT, PYTHON_CALL = 180, 48, 95, 905
INTERPRETER = 1.5  # cycles that an instruction of MicroPython's own is assumed to take
SCAN = "kernels.grammar.count"  # the kernel that reads JSON
FREE = 1 << 30  # bytes of heap that the device finds free


def machine_of(form: str, module: str) -> Machine:
    """An emulator with the kernels of a family of a form in machine code, or of its package."""
    machine = isa.machine_of(isa.mpy.read(forms.build(form, module)), forms.target(form).ISA, "")
    if form == "simd":
        assert isinstance(machine, isa.XtensaMachine)
        machine.configid0 = xtensa_simd.CONFIGID0
        machine.pipeline = LX7
    return machine


@dataclass
class Tally:
    """What a run executed."""

    counted: Counter[str] = field(default_factory=Counter)  # machine instructions by kernel
    modelled: int = 0  # their cycles, by isa.pipeline
    calls: int = 0  # of kernels
    estimated: int = 0  # instructions of MicroPython's interpreter
    read: int = 0  # bytes of files
    reads: int = 0
    # What kernels took and returned by their sizes, where one call is to stand for all like it
    known: dict[tuple[object, ...], tuple[int, int, int]] | None = None

    @property
    def instructions(self) -> int:
        return sum(self.counted.values()) + self.estimated

    @property
    def cycles(self) -> int:
        return self.modelled + round(INTERPRETER * self.estimated)

    def count(self, function: Callable[..., object], *arguments: object) -> None:
        """Calls a function of the device package and counts this call alone."""
        self.counted.clear()
        self.calls = self.estimated = self.modelled = self.read = self.reads = 0

        def profile(frame: FrameType, event: str, called: Any) -> None:
            if event == "call" and str(DEVICE) in frame.f_code.co_filename:
                self.estimated += PYTHON_CALL
            elif event in ("c_call", "c_return") and called.__name__ == "readinto":
                place = called.__self__.tell()
                self.read += place if event == "c_return" else -place
                self.reads += event == "c_return"

        sys.setprofile(profile)
        try:
            function(*arguments)
        finally:
            sys.setprofile(None)


@cache
def shared(path: Path, form: str, arch: str, source: str) -> Machine:
    """The machine of a module whose text is `source`: all devices have one, as each call resets it.

    Args:
        form: of machine code that stands for the module; "" where the module itself runs.
    """
    return machine_of(form, path.stem) if form else isa.load(path, arch)


class Device:
    """The device package, imported apart from all else, its kernels in an emulator.

    Args:
        arch: one of isa.ISAS.
        backend: a word of forms.backends: which machine code it finds.
        stand_ins: modules by name to import in place of others (see Importer).

    Attributes:
        attn8: the package.
        importer: what imports it.
        load: gives a module by its name, "attn8.forms" say.
        modules: all of it that was imported, by name.
        tally: what its kernels executed.
    """

    def __init__(
        self, arch: str, backend: str = "viper", stand_ins: Mapping[str, ModuleType] | None = None
    ):
        self.arch = arch
        self.tally = Tally()
        self._machines: dict[str, Machine] = {}
        machine_code = forms.files_of(arch, backend)
        self.importer = Importer(self._firmware(machine_code) | dict(stand_ins or {}),
                                 forms.borrowed())
        self.load = self.importer.load
        self.modules = self.importer.modules
        self.attn8: Any = self.load("attn8")

    def _firmware(self, machine_code: Iterable[str]) -> dict[str, ModuleType]:
        """What MicroPython has and CPython lacks, on a board with these files of machine code."""

        def listdir(path: str) -> list[str]:
            added = [PACKAGE / file for file in machine_code]
            return os.listdir(path) + [file.name for file in added if file.parent == Path(path)]

        line = SimpleNamespace(register=lambda *_: None, ipoll=None)  # nothing comes
        return {
            "micropython": module(
                "micropython", viper=self._viper, native=lambda function: function
            ),
            "attn8.kernels.objects": module(
                "attn8.kernels.objects", typecode=self._counted(1, 0, typecode),
                overlap=self._counted(2, 2, overlap),
                same=self._counted(2, 0, same), view=self._counted(1, 3, view),
                part=self._counted(2, 2, part), later=Later, place=place,
            ),
            "uctypes": module(
                "uctypes",
                addressof=lambda buffer: buffer,
                bytearray_at=lambda buffer, size: memoryview(buffer).cast("B")[:size],
            ),
            "gc": module(
                "gc", collect=lambda: None, mem_free=lambda: FREE, threshold=lambda *amount: -1
            ),
            "__main__": module("__main__", serve=None),  # that of a host's session
            "select": module("select", POLLIN=1, poll=lambda: line),
            "os": module("os", **vars(os) | {"listdir": listdir}),
            "json": module("json", **vars(json) | {"loads": lambda text: json.loads(
                text if isinstance(text, str) else bytes(text))}),
        }

    def _counted(
        self, buffers: int, ints: int, function: Callable[..., Any]
    ) -> Callable[..., Any]:
        """What stands in for a viper function that reads MicroPython's objects."""

        def call(*arguments: Any) -> Any:
            self.tally.estimated += VIPER_CALL + BUFFER_ARGUMENT * buffers + INT_ARGUMENT * ints
            return function(*arguments)

        return partial(call)

    def _viper(self, function: Callable[..., object]) -> Callable[..., int]:
        """The decorator: a function that runs in the emulator of its module."""
        name, where = function.__name__, function.__module__
        path = Path(function.__code__.co_filename)
        form = path.parent.name
        in_machine_code = form in forms.machine_forms()
        kernel = f"{where.split('.', 2)[-1]}.{name}"  # below attn8.forms or attn8.kernels, mostly

        def call(*arguments: Any) -> int:
            if where not in self._machines:
                source = forms.source(form, path.stem) if in_machine_code else path
                self._machines[where] = shared(path, form if in_machine_code else "", self.arch,
                                               source.read_text(encoding="utf-8"))
            found = self._run(self._machines[where], kernel, arguments)
            # What machine code returns is unsigned, or nothing
            return found & 0xFFFFFFFF if in_machine_code else found

        return partial(call)  # a kernel is no function of Python's, on a board either

    def _run(self, machine: Machine, kernel: str, arguments: tuple[Any, ...]) -> int:
        tally = self.tally
        ints = [a for a in arguments if isinstance(a, int)]
        tally.calls += 1
        tally.estimated += VIPER_CALL + INT_ARGUMENT * len(ints)
        tally.estimated += BUFFER_ARGUMENT * (len(arguments) - len(ints))
        call = (kernel, *ints)
        if kernel == SCAN:
            text, _, _, deepest, places, most = arguments
            found, ends = _scanned(machine, bytes(text), deepest, most)
            if most:
                memoryview(places).cast("B")[:] = ends
        elif tally.known is None or call not in tally.known:
            result = _execute(machine, kernel.rpartition(".")[2], arguments)
            found = result, machine.instructions, machine.cycles
            if tally.known is not None:
                tally.known[call] = found
        else:
            found = tally.known[call]
        tally.counted[kernel] += found[1]
        tally.modelled += found[2]
        return found[0]


@lru_cache(maxsize=256)
def _scanned(
    machine: Machine, text: bytes, deepest: int, most: int
) -> tuple[tuple[int, int, int], bytes]:
    """What SCAN finds of a text, in how many instructions and cycles, and where its members end: to
    load a model asks several times for the same."""
    places = bytearray(2 * most or 1)
    found = _execute(machine, SCAN.rpartition(".")[2],
                     (text, len(text), bytearray(deepest), deepest, places, most))
    return (found, machine.instructions, machine.cycles), bytes(places)


def typecode(x: object) -> int:
    """As attn8.kernels.objects has it."""
    if isinstance(x, (bytes, bytearray)):
        return ord("B") | (128 if isinstance(x, bytearray) else 0)
    if isinstance(x, array):
        return ord(x.typecode) | 128
    if isinstance(x, memoryview):
        return ord(x.format) | (0 if x.readonly else 128)
    return 0


def overlap(a: Any, size: int, b: Any, other_size: int) -> int:
    """As attn8.kernels.objects has it."""
    return int(np.shares_memory(np.frombuffer(a, np.uint8), np.frombuffer(b, np.uint8)))


def same(a: Any, b: Any) -> int:
    """As attn8.kernels.objects has it."""
    return int(_address(a) == _address(b))


class Later(bytearray):
    """As attn8.kernels.objects.later has it, but that memory is there from the beginning.

    Attributes:
        placed: whether the device has given it some.
    """

    placed = False


def place(x: Later | memoryview, block: bytearray) -> None:
    """As attn8.kernels.objects has it."""
    found = x.obj if isinstance(x, memoryview) else x
    if isinstance(found, Later):
        found.placed = True


def view(x: memoryview, code: int, start: int, n: int) -> memoryview:
    """As attn8.kernels.objects has it, but for another object."""
    return x.cast("B").cast(chr(code))  # type: ignore[call-overload,no-any-return]


def part(view: memoryview, x: Any, start: int, n: int) -> memoryview:
    """As attn8.kernels.objects has it, but for another object."""
    return memoryview(x).cast("B")[start : start + n].cast("b")


def _address(x: Any) -> int:
    return int(np.frombuffer(x, np.uint8).ctypes.data)


def _execute(machine: Machine, name: str, arguments: tuple[Any, ...]) -> int:
    """Calls a kernel with copies of its buffers, and copies back what it wrote. Buffers that share
    memory share it there too.
    """
    machine.reset()
    views = {n: memoryview(a).cast("B") for n, a in enumerate(arguments) if not isinstance(a, int)}
    blocks: list[list[tuple[int, int]]] = []  # (address, number) of views that share memory
    end = 0
    for start, n in sorted((_address(view), n) for n, view in views.items()):
        if start >= end:
            blocks.append([])
        blocks[-1].append((start, n))
        end = max(end, start + len(views[n]))
    placed = list(arguments)
    buffers = []
    for block in blocks:
        first = block[0][0]
        data = bytearray(max(start + len(views[n]) for start, n in block) - first)
        for start, n in block:
            data[start - first : start - first + len(views[n])] = views[n]
        buffer = machine.buffer(bytes(data))
        for start, n in block:
            placed[n] = buffer.address + start - first
        buffers.append(buffer)
    result = machine.call(name, *placed)
    for block, buffer in zip(blocks, buffers, strict=True):
        buffer.check_guards()
        made = buffer.read().tobytes()
        for start, n in block:
            view, place = views[n], start - block[0][0]
            if not view.readonly:
                view[:] = made[place : place + len(view)]
    return result
