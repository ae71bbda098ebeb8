"""Writes .mpy files of machine code, each function behind a wrapper that MicroPython calls.

To MicroPython they are viper functions, put into a compiled module in place of those that say what
arguments they take: any firmware that reads .mpy version 6.3 runs them. (Code of the `asm` kind
would be smaller, but ESP32 firmware imports it silently and then runs it as bytecode.)
Format: py/persistentcode.c and py/bc.h of MicroPython; attn8_host/isa/mpy.py reads it.

A wrapper finds mp_fun_table through the function object, has it check the number of arguments and
convert each one, and puts the words into its stack frame; the kernel takes them from there. So a
kernel has any number of arguments, and a wrong number or type of them raises.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..isa import mpy
from .assembler import Assembler
from .pie import Pie
from .rv32 import A0, A1, A2, A3, RA, S0, S1, S11, SP, T0, ZERO, Rv32

VERSION = "6.3"  # of the format, and of the layout of mp_fun_table

# Indices of mp_fun_table (mp_fun_kind_t in py/nativeglue.h)
CONST_NONE, NATIVE_FROM_OBJ, NATIVE_TO_OBJ, ARG_CHECK_NUM_SIG = 0, 3, 4, 44
# Kinds of a native value (MP_NATIVE_TYPE_*)
INT, UINT, POINTER = 2, 3, 4

# Offsets in bytes: function object -> module context -> object table, which has mp_fun_table
CONTEXT, OBJECT_TABLE = 4, 12


@dataclass(frozen=True)
class Signature:
    """Name of a kernel and its arguments: {name: INT or POINTER}. It returns None, or a UINT.

    `spare` names words of its frame beside the arguments; `table` is the index of mp_fun_table in
    the objects of its module.
    """

    name: str
    arguments: dict[str, int]
    returns: bool = False
    spare: tuple[str, ...] = ()
    table: int = 0


class Function(Assembler, ABC):
    """The machine code of one function: a wrapper around what a kernel appends to it."""

    def __init__(self, signature: Signature) -> None:
        super().__init__()
        self.signature = signature
        # Each argument has a word at the bottom of the frame, also free for the kernel to use
        names = (*signature.arguments, *signature.spare)
        self.slots = {name: 4 * i for i, name in enumerate(names)}
        self._seldom: list[Callable[[], None]] = []
        self.begin()

    @abstractmethod
    def begin(self) -> None:
        """Appends what stands before the kernel."""

    @abstractmethod
    def end(self) -> None:
        """Appends what stands after the kernel."""

    def seldom(self, append: Callable[[], None]) -> None:
        """What `append` appends is placed behind all else: branches to it are rarely taken."""
        self._seldom.append(append)

    def place_seldom(self) -> None:
        """Places what was to be behind all else here, where nothing runs into it."""
        while self._seldom:
            self._seldom.pop(0)()

    def finish(self) -> None:
        """Appends all that stands after the kernel."""
        self.end()
        self.place_seldom()

    @abstractmethod
    def argument(self, register: int, name: str) -> None:
        """Loads an argument into a register."""

    @abstractmethod
    def keep(self, register: int, name: str) -> None:
        """Stores a register in the place of an argument."""

    def arguments(self, **registers: int) -> None:
        """Loads arguments: name=register."""
        for name, register in registers.items():
            self.argument(register, name)


class XtensaFunction(Function, Pie):
    """A function for xtensawin. The kernel may use a2 to a15; a result goes into a2."""

    def begin(self) -> None:
        # a2 = self, a3 = n_args, a4 = n_kw, a5 = args. Calls keep a0 to a7; a7 = mp_fun_table.
        # The topmost 32 bytes of the frame belong to the register window.
        count = len(self.signature.arguments)
        self._table_slot = 4 * len(self.slots)
        self.entry(1, 32 + (self._table_slot + 4 + 15) // 16 * 16)
        self.l32i(7, 2, CONTEXT)
        self.l32i(7, 7, OBJECT_TABLE)
        self.l32i(7, 7, 4 * self.signature.table)
        self.s32i(7, 1, self._table_slot)
        self.movi(6, count)
        self.bnez(4, "wrong arguments")
        self.branch("eq", 3, 6, "right arguments")
        self.label("wrong arguments")  # arg_check_num_sig(n_args, n_kw, count << 17 | count << 1)
        self.mov(10, 3)
        self.mov(11, 4)
        self.movi(12, 2 * count)
        self.slli(13, 12, 16)
        self.add(12, 12, 13)
        self.l32i(8, 7, 4 * ARG_CHECK_NUM_SIG)
        self.callx8(8)  # raises TypeError
        self.label("right arguments")
        for i, kind in enumerate(self.signature.arguments.values()):
            self.l32i(10, 5, 4 * i)
            self.movi(11, kind)
            self.l32i(8, 7, 4 * NATIVE_FROM_OBJ)
            self.callx8(8)
            self.s32i(10, 1, 4 * i)

    def end(self) -> None:
        self.l32i(7, 1, self._table_slot)
        if self.signature.returns:
            self.mov(10, 2)
            self.movi(11, UINT)
            self.l32i(8, 7, 4 * NATIVE_TO_OBJ)
            self.callx8(8)
            self.mov(2, 10)
        else:
            self.l32i(2, 7, 4 * CONST_NONE)
        self.retw()

    def argument(self, register: int, name: str) -> None:
        self.l32i(register, 1, self.slots[name])

    def keep(self, register: int, name: str) -> None:
        self.s32i(register, 1, self.slots[name])


class S2Function(XtensaFunction):
    """The same without zero-overhead loops, as an ESP32-S2 has none: `loopnez` counts in the frame.

    The register of a loop's number may be used in its body, and is what it was afterwards, unless
    that number is 0.
    """

    LOOP = ("loop", "loops")  # words of the frame: turns that are left, and all

    def __init__(self, signature: Signature) -> None:
        self._loop: tuple[int, str] | None = None
        super().__init__(replace(signature, spare=(*signature.spare, *self.LOOP)))

    def loopnez(self, s: int, end: str) -> None:
        self.beqz(s, end + ", over")
        self.keep(s, "loop")
        self.keep(s, "loops")
        super().label(end + ", again")
        self._loop = s, end

    def label(self, name: str) -> None:
        super().label(name)
        if self._loop is not None and self._loop[1] == name:
            s = self._loop[0]
            self._loop = None
            self.argument(s, "loop")
            self.addi(s, s, -1)
            self.keep(s, "loop")
            self.bnez(s, name + ", again")
            self.argument(s, "loops")
            super().label(name + ", over")


class Rv32Function(Function, Rv32):
    """A function for rv32imc. The kernel may use ra and all a, s and t; a result goes into a0."""

    SAVED = (RA, S0, S1, *range(S11 - 9, S11 + 1))

    def begin(self) -> None:
        # a0 = self, a1 = n_args, a2 = n_kw, a3 = args; s0 = args, s1 = mp_fun_table
        count = len(self.signature.arguments)
        self._table_slot = 4 * len(self.slots)
        self._saved_at = self._table_slot + 4
        self._frame = (self._saved_at + 4 * len(self.SAVED) + 15) // 16 * 16
        self.addi(SP, SP, -self._frame)
        for i, register in enumerate(self.SAVED):
            self.sw(register, self._saved_at + 4 * i, SP)
        self.lw(S1, CONTEXT, A0)
        self.lw(S1, OBJECT_TABLE, S1)
        self.lw(S1, 4 * self.signature.table, S1)
        self.sw(S1, self._table_slot, SP)
        self.mv(S0, A3)
        self.li(T0, count)
        self.bne(A2, ZERO, "wrong arguments")
        self.beq(A1, T0, "right arguments")
        self.label("wrong arguments")  # arg_check_num_sig(n_args, n_kw, count << 17 | count << 1)
        self.mv(A0, A1)
        self.mv(A1, A2)
        self.lui(A2, count << 5)
        self.addi(A2, A2, count << 1)
        self._call(ARG_CHECK_NUM_SIG)  # raises TypeError
        self.label("right arguments")
        for i, kind in enumerate(self.signature.arguments.values()):
            self.lw(A0, 4 * i, S0)
            self.li(A1, kind)
            self._call(NATIVE_FROM_OBJ)
            self.sw(A0, 4 * i, SP)

    def _call(self, helper: int) -> None:
        self.lw(T0, 4 * helper, S1)
        self.jalr(RA, T0)

    def end(self) -> None:
        self.lw(S1, self._table_slot, SP)
        if self.signature.returns:
            self.li(A1, UINT)
            self._call(NATIVE_TO_OBJ)
        else:
            self.lw(A0, 4 * CONST_NONE, S1)
        for i, register in enumerate(self.SAVED):
            self.lw(register, self._saved_at + 4 * i, SP)
        self.addi(SP, SP, self._frame)
        self.ret()

    def argument(self, register: int, name: str) -> None:
        self.lw(register, self.slots[name], SP)

    def keep(self, register: int, name: str) -> None:
        self.sw(register, self.slots[name], SP)


def link(compiled: bytes, functions: dict[int, bytes]) -> bytes:
    """A compiled module with other machine code for some of its viper functions.

    Args:
        compiled: a .mpy file.
        functions: machine code by the place among those that the module stores.
    """
    module = mpy.read(compiled)
    stored = mpy.stored_functions(module)
    for place, code in functions.items():
        stored[place].code.data = code
    return compiled[: module.head] + _pack(module.root)


def table_index(compiled: bytes) -> int:
    """Where mp_fun_table is among the objects of a compiled module with viper functions."""
    return mpy.read(compiled).objects.index(mpy.FUN_TABLE_OBJECT)


def _pack(code: mpy.RawCode) -> bytes:
    packed = raw_code(code.kind, code.data, bool(code.children))
    if code.kind != mpy.Kind.BYTECODE:
        packed += uint(code.flags)
    if code.children:
        packed += uint(len(code.children)) + b"".join(map(_pack, code.children))
    return packed


def raw_code(kind: int, data: bytes, has_children: bool = False) -> bytes:
    return uint(len(data) << 3 | has_children << 2 | kind) + data


def uint(value: int) -> bytes:
    """Groups of seven bits, the highest first; the top bit says that another byte follows."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(0x80 | value & 0x7F)
    return bytes(reversed(groups))
