"""Run the machine code of MicroPython viper functions on the host, counting instructions.

machine = isa.load(path_or_source_text, "xtensawin")
data = machine.buffer(numpy_array)
result = machine.call("dot", data, 16)
machine.instructions, data.read(dtype), data.check_guards(), machine.reset()
"""

from pathlib import Path

from . import compiler, mpy
from .errors import (
    CompileError,
    DecodeError,
    FormatError,
    HelperError,
    IsaError,
    LimitError,
    MemoryFault,
)
from .machine import Buffer, Machine
from .rv32 import Rv32Machine
from .xtensa import S2Machine, XtensaMachine

__all__ = [
    "ARCHES",
    "ISAS",
    "Buffer",
    "CompileError",
    "DecodeError",
    "FormatError",
    "HelperError",
    "IsaError",
    "LimitError",
    "Machine",
    "MemoryFault",
    "XtensaMachine",
    "load",
    "machine_of",
    "mpy",
]

MACHINES: dict[str, type[Machine]] = {
    "xtensawin": XtensaMachine,
    "rv32imc": Rv32Machine,
    "esp32s2": S2Machine,
}
ISAS = tuple(MACHINES)
ARCHES = tuple(isa for isa in ISAS if MACHINES[isa].code == isa)  # of .mpy files


def load(source: str | Path, arch: str) -> Machine:
    """A machine with the viper functions of a module.

    `source` is the path of a .py or .mpy file, or the text of a module (any string with a line
    break in it). Python is compiled with mpy-cross.
    """
    if arch not in MACHINES:
        raise ValueError(f"unknown architecture {arch!r}; expected one of {', '.join(ISAS)}")
    name, text = "kernel.py", ""
    if isinstance(source, str) and "\n" in source:
        text = source
    else:
        path = Path(source)
        name = path.name
        if path.suffix == ".mpy":
            return machine_of(mpy.read(path.read_bytes()), arch, "")
        text = path.read_text(encoding="utf-8")
    compiled = compiler.compile_source(text, MACHINES[arch].code, name)
    return machine_of(mpy.read(compiled), arch, text)


def machine_of(module: mpy.Mpy, arch: str, text: str) -> Machine:
    """A machine for a parsed module; `text` is its source where that is known."""
    if module.arch not in ("", MACHINES[arch].code):
        raise FormatError(f"the .mpy file is for {module.arch}, not for {arch}")
    stored = mpy.stored_functions(module)
    some_are_static = any(isinstance(function.qstr, int) for function in stored)
    names = compiler.static_names(text) if text and some_are_static else {}
    return MACHINES[arch](mpy.functions(module, names), module.objects)
