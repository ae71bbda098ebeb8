"""What the machines of both architectures share: memory layout, buffers and calling a function.

A viper function is called as MicroPython calls it, with (function object, number of positional
arguments, number of keyword arguments, pointer to the arguments). Its code finds the runtime
through the function object:

    function object + 4  -> module context
    module context  + 8  -> qstr table       + 12 -> object table
    object table [i]     -> mp_fun_table, where the .mpy lists it as object i
    mp_fun_table [k]     -> address of helper k (see runtime.py)
"""

import struct
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import index
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import runtime
from .errors import IsaError, LimitError, MemoryFault
from .mpy import FUN_TABLE_OBJECT
from .pipeline import Pipeline

PAGE = 0x1000
MEMORY_SIZE = 0x0400_0000

# Everything below CODE stays unmapped, so that a null pointer with any sane index faults.
CODE = 0x0010_0000
CODE_END = 0x0030_0000
TABLES = 0x0030_0000
FUNCTION_OBJECT = TABLES
CONTEXT = TABLES + 0x40
FUN_TABLE = TABLES + 0x200
OBJECT_TABLE = TABLES + 0x400
TABLES_END = TABLES + 2 * PAGE
ARGUMENTS = 0x0031_0000
STACK = 0x0032_0000
STACK_TOP = STACK + 0x1_0000
HELPERS = 0x0034_0000  # helper k is "at" HELPERS + 4 * k; no code of MicroPython exists here
RETURN = HELPERS + 0x800  # the address a called function returns to
HELPERS_END = HELPERS + PAGE
BUFFERS = 0x0040_0000

# An address that is never mapped, plus the index of the object: stands for objects and qstrs,
# which kernels have no business with.
FOREIGN_OBJECT = 0xE000_0000
# What a helper leaves in the registers that the calling convention does not preserve.
CLOBBERED = 0xDEAD_BEEF

READ, WRITE, EXECUTE = 1, 2, 4


def round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def canary(address: int, size: int) -> bytes:
    """Guard bytes; they depend on the address so that a copied guard does not pass for one."""
    places = np.arange(address, address + size, dtype=np.uint32)
    return (places * 37 ^ places >> 8 ^ 0xA5).astype(np.uint8).tobytes()


class Buffer:
    """A piece of machine memory between two canaries; passed to a function it is an address."""

    def __init__(self, machine: "Machine", region: tuple[int, int], address: int, size: int):
        self.machine = machine
        self.region = region  # [start, end): the data and the canaries around it
        self.address = address
        self.size = size
        self.live = True

    def __index__(self) -> int:
        if not self.live:
            raise IsaError("this buffer was freed by machine.reset()")
        return self.address

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return f"<Buffer of {self.size} bytes at {self.address:#x}>"

    def read(self, dtype: DTypeLike = np.uint8) -> NDArray[Any]:
        """A copy of the contents as a flat array."""
        return np.frombuffer(self.machine.read_memory(index(self), self.size), dtype).copy()

    def write(self, data: bytes | NDArray[Any]) -> None:
        """Replace the contents; the new data must have the size of the buffer."""
        raw = as_bytes(data)
        if len(raw) != self.size:
            raise ValueError(f"expected {self.size} bytes, got {len(raw)}")
        self.machine.write_memory(index(self), raw)

    def check_guards(self) -> None:
        """Raise MemoryFault if a byte around the data is no longer what it was."""
        start, end = self.region
        after = index(self) + self.size
        for first, stop in ((start, self.address), (after, end)):
            found = self.machine.read_memory(first, stop - first)
            expected = canary(first, stop - first)
            if found == expected:
                continue
            changed = [i for i in range(stop - first) if found[i] != expected[i]]
            place = first + changed[0] - self.address
            raise MemoryFault(
                f"{len(changed)} guard bytes changed, the first {place:+d} bytes"
                f" from the start of a buffer of {self.size} bytes"
            )


def as_bytes(data: bytes | NDArray[Any]) -> bytes:
    if isinstance(data, np.ndarray):
        return data.tobytes()
    return memoryview(data).tobytes()  # unlike bytes(), this refuses a bare number


class Machine(ABC):
    """Runs the viper functions of one module; see load() in this package.

    functions      size in bytes of each function's machine code
    instructions   how many instructions the last call executed, from entry to return; what a
                   helper of the runtime would execute is not included
    cycles         those that it takes by a model of the core's pipeline, `pipeline` (see there)
    helper_calls   how often the last call used each helper of the runtime, by name
    limit          instructions after which a call raises LimitError (checked between blocks)
    """

    arch: str  # by which isa.MACHINES has it
    code: str  # the architecture that .mpy files for it name
    pipeline: Pipeline
    granule: int  # memory is mapped in multiples of this many bytes

    def __init__(self, functions: Mapping[str, bytes], objects: Sequence[object]) -> None:
        self.functions = {name: len(code) for name, code in functions.items()}
        self.instructions = self.cycles = 0
        self.helper_calls: Counter[str] = Counter()
        self.limit = 500_000_000
        self._buffers: list[Buffer] = []
        self._next_buffer = BUFFERS
        self._place_code(functions)
        self._place_tables(objects)
        self.map_memory(ARGUMENTS, PAGE, READ)
        self.map_memory(STACK, STACK_TOP - STACK, READ | WRITE)

    # ---- to be provided by an architecture

    @abstractmethod
    def map_memory(self, address: int, size: int, access: int) -> None:
        """Make a range usable; both numbers are multiples of the granule."""

    @abstractmethod
    def unmap_memory(self, address: int, size: int) -> None:
        """Undo map_memory."""

    @abstractmethod
    def read_memory(self, address: int, size: int) -> bytes:
        """Read as a debugger does: mapped memory only, nothing is counted."""

    @abstractmethod
    def write_memory(self, address: int, data: bytes) -> None:
        """Write as a debugger does: read-only memory too."""

    @abstractmethod
    def run(self, entry: int, arguments: Sequence[int]) -> int:
        """Call the code at `entry` with up to four words; add to self.instructions and
        self.cycles.
        """

    # ---- for users

    def buffer(
        self, data: bytes | NDArray[Any], align: int = 4, offset: int = 0, guard: int = 16
    ) -> Buffer:
        """Place a copy of `data` in memory, `offset` bytes after a multiple of `align`.

        At least `guard` canary bytes stand on both sides. They are mapped, so that a kernel may
        read a little past the end; writing there is what Buffer.check_guards() detects. Whatever
        is further away is not mapped.
        """
        raw = as_bytes(data)
        address = round_up(self._next_buffer + guard, align) + offset
        start = (address - guard) // self.granule * self.granule
        end = round_up(address + len(raw) + guard, self.granule)
        end = max(end, start + self.granule)  # an empty buffer without guards is mapped too
        if end > MEMORY_SIZE:
            raise IsaError("no machine memory left; free buffers with reset()")
        self.map_memory(start, end - start, READ | WRITE)
        after = address + len(raw)
        self.write_memory(start, canary(start, address - start) + raw + canary(after, end - after))
        self._next_buffer = round_up(end, PAGE) + PAGE
        buffer = Buffer(self, (start, end), address, len(raw))
        self._buffers.append(buffer)
        return buffer

    def reset(self) -> None:
        """Free all buffers."""
        for buffer in self._buffers:
            start, end = buffer.region
            self.unmap_memory(start, end - start)
            buffer.live = False
        self._buffers.clear()
        self._next_buffer = BUFFERS

    def call(self, name: str, *args: int | Buffer) -> int:
        """Call a function and return its result as a signed 32-bit number."""
        if name not in self.functions:
            known = ", ".join(self.functions) or "none"
            raise KeyError(f"no viper function {name!r}; the module has: {known}")
        words = [argument_word(value) for value in args]
        self.write_memory(ARGUMENTS, struct.pack(f"<{len(words)}I", *words))
        self.instructions = self.cycles = 0
        self.helper_calls.clear()
        result = self.run(self._entries[name], (FUNCTION_OBJECT, len(words), 0, ARGUMENTS))
        return runtime.signed(result)

    # ---- for the architectures

    def call_helper(self, address: int, first: int, second: int) -> int:
        """Do what the helper at this address of the HELPERS page does."""
        number = (address - HELPERS) // 4
        self.helper_calls[runtime.NAMES[number]] += 1
        return runtime.call(number, first, second)

    def check_limit(self) -> None:
        if self.instructions > self.limit:
            raise LimitError(f"more than {self.limit} instructions: is this loop endless?")

    def locate(self, address: int) -> str:
        """Name an address of the code, for messages."""
        for name, entry in self._entries.items():
            if entry <= address < entry + self.functions[name]:
                return f"{name}+{address - entry:#x}"
        return f"{address:#x}"

    # ---- construction

    def _place_code(self, functions: Mapping[str, bytes]) -> None:
        self._entries: dict[str, int] = {}
        image = b""
        for name, code in functions.items():
            self._entries[name] = CODE + len(image)
            image += code + bytes(-len(code) % 16)  # functions start at multiples of 16
        if CODE + len(image) > CODE_END:
            raise IsaError(f"{len(image)} bytes of machine code do not fit in the machine")
        self.map_memory(CODE, round_up(len(image) + 1, PAGE), READ | EXECUTE)
        self.write_memory(CODE, image)

    def _place_tables(self, objects: Sequence[object]) -> None:
        self.map_memory(TABLES, TABLES_END - TABLES, READ)
        if OBJECT_TABLE + 4 * len(objects) > TABLES_END:
            raise IsaError(f"{len(objects)} constant objects do not fit in the machine")

        def put(address: int, *words: int) -> None:
            self.write_memory(address, struct.pack(f"<{len(words)}I", *words))

        put(FUNCTION_OBJECT, FOREIGN_OBJECT, CONTEXT)
        put(CONTEXT, FOREIGN_OBJECT, FOREIGN_OBJECT, FOREIGN_OBJECT, OBJECT_TABLE)
        put(
            OBJECT_TABLE,
            *(
                FUN_TABLE if value == FUN_TABLE_OBJECT else FOREIGN_OBJECT + number
                for number, value in enumerate(objects)
            ),
        )
        put(FUN_TABLE, *(HELPERS + 4 * number for number in range(len(runtime.NAMES))))
        put(FUN_TABLE, *runtime.CONSTANTS)


def argument_word(value: int | Buffer) -> int:
    """An argument as a 32-bit word."""
    number = index(value)
    if not -(1 << 31) <= number < 1 << 32:
        raise ValueError(f"argument {number} does not fit in 32 bits")
    return number & runtime.MASK
