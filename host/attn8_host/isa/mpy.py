"""Reader of MicroPython's .mpy files, version 6 (see py/persistentcode.c, py/bc.h and py/bc0.h).

    file    := 'M' 0x06 feature small_int_bits [arch_flags] n_qstr n_obj qstr* obj* raw_code
    feature := bit 6: arch_flags follow, bits 5..2: architecture, bits 1..0: sub-version
    qstr    := length << 1, bytes, NUL   |   number << 1 | 1  (a name all firmwares have)
    obj     := tag [length data]         (see read_object)
    raw_code:= length << 3 | has_children << 2 | kind, data, tail, [n_children raw_code*]

Numbers are big-endian groups of seven bits, the top bit saying that another byte follows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from .errors import FormatError

VERSION = 6
ARCHITECTURES = {10: "xtensawin", 11: "rv32imc"}
FUN_TABLE_OBJECT = "mp_fun_table"  # stands for the address of the runtime's function table

Qstr = str | int  # the text, or the number of a static qstr whose text is not in the file


class Kind(IntEnum):
    """What the data of a raw code is."""

    BYTECODE = 0
    NATIVE = 1
    VIPER = 2
    ASM = 3


@dataclass
class RawCode:
    """One function (or the module itself, at the root) as stored in the file."""

    kind: Kind
    data: bytes
    flags: int = 0  # prelude offset (native) or scope flags (viper, asm)
    children: list["RawCode"] = field(default_factory=list)


@dataclass
class Mpy:
    """A parsed .mpy file."""

    sub_version: int
    arch: str  # "" when the file holds bytecode only
    small_int_bits: int
    qstrs: list[Qstr]
    objects: list[object]
    root: RawCode
    head: int  # bytes before the root


@dataclass
class StoredFunction:
    """A function that the module's top level stores under a name."""

    qstr: Qstr
    code: RawCode


class Reader:
    """A cursor over the bytes of a file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, length: int) -> bytes:
        piece = self.data[self.position : self.position + length]
        if len(piece) != length:
            raise FormatError(f".mpy file ends inside an item at offset {self.position}")
        self.position += length
        return piece

    def byte(self) -> int:
        return self.take(1)[0]

    def uint(self) -> int:
        value = 0
        while True:
            byte = self.byte()
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value

    def text(self, length: int) -> bytes:
        """Bytes followed by a NUL that does not belong to them."""
        return self.take(length + 1)[:-1]


def read(data: bytes) -> Mpy:
    """Parse a whole .mpy file."""
    reader = Reader(data)
    magic, version, feature, small_int_bits = reader.take(4)
    if magic != ord("M") or version != VERSION:
        raise FormatError(f"not a version {VERSION} .mpy file: starts with {data[:4].hex()}")
    arch_number = feature >> 2 & 0x0F
    if arch_number not in ARCHITECTURES and arch_number != 0:
        raise FormatError(f".mpy architecture {arch_number} is not supported")
    if feature & 0x40:
        reader.uint()  # architecture flags, such as the RISC-V extensions in use
    n_qstr, n_obj = reader.uint(), reader.uint()
    qstrs = [read_qstr(reader) for _ in range(n_qstr)]
    objects = [read_object(reader) for _ in range(n_obj)]
    head = reader.position
    root = read_raw_code(reader)
    if reader.position != len(data):
        raise FormatError(f"{len(data) - reader.position} bytes follow the .mpy module")
    arch = ARCHITECTURES.get(arch_number, "")
    return Mpy(feature & 3, arch, small_int_bits, qstrs, objects, root, head)


def read_qstr(reader: Reader) -> Qstr:
    length = reader.uint()
    if length & 1:
        return length >> 1
    return reader.text(length >> 1).decode()


def read_object(reader: Reader) -> object:
    """Objects in the order of the MP_PERSISTENT_OBJ_* tags; numbers stay what Python makes them."""
    tag = reader.byte()
    if tag <= 4:
        return (FUN_TABLE_OBJECT, None, False, True, ...)[tag]
    length = reader.uint()
    if tag == 5:
        return reader.text(length).decode()
    if tag == 6:
        return reader.text(length)
    if tag in (7, 8, 9):
        convert = (int, float, complex)[tag - 7]
        return convert(reader.take(length).decode())
    if tag == 10:
        return tuple(read_object(reader) for _ in range(length))
    raise FormatError(f"unknown object tag {tag} at offset {reader.position - 1}")


def read_raw_code(reader: Reader) -> RawCode:
    head = reader.uint()
    kind = Kind(head & 3)
    code = RawCode(kind, reader.take(head >> 3))
    if kind != Kind.BYTECODE:
        code.flags = reader.uint()
    if kind == Kind.VIPER and code.flags & 0xE0:
        # MP_SCOPE_FLAG_VIPERRELOC, ..RODATA, ..BSS: only linked C modules have them.
        raise FormatError("relocations, rodata and bss in .mpy files are not supported")
    if kind == Kind.ASM:
        reader.uint()  # number of arguments
        reader.uint()  # their types
    if head & 4:
        code.children = [read_raw_code(reader) for _ in range(reader.uint())]
    return code


# The few opcodes that name functions, and the ones whose length is not told by their group.
STORE_NAME, STORE_GLOBAL = 0x16, 0x17
MAKE_FUNCTION, MAKE_FUNCTION_DEFARGS = 0x32, 0x33
MAKE_CLOSURE, MAKE_CLOSURE_DEFARGS = 0x20, 0x21
UNWIND_JUMP = 0x40


def function_name(module: Mpy, code: RawCode) -> Qstr:
    """What a bytecode function is called: the first number of its source info."""
    reader = Reader(code.data)
    reader.position = _prelude(code.data)[0]
    return module.qstrs[reader.uint()]


def bytecode_start(data: bytes) -> int:
    """Offset of the first opcode: after the two prelude numbers, source info and cell list."""
    return sum(_prelude(data))


def _prelude(data: bytes) -> tuple[int, int]:
    """The offset of the source info, and the bytes of it and of the cell list."""
    position = 0
    while data[position] & 0x80:  # the signature: sizes and argument counts, of no use here
        position += 1
    position += 1
    n_info = n_cell = shift = 0
    while True:  # each byte is xIIIIIIC: six bits of n_info and one of n_cell, low bits first
        byte = data[position]
        position += 1
        n_info |= (byte >> 1 & 0x3F) << 6 * shift
        n_cell |= (byte & 1) << shift
        shift += 1
        if byte < 0x80:
            return position, n_info + n_cell


def opcodes(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (opcode, argument) of a bytecode function; jumps and plain opcodes give argument 0."""
    reader = Reader(data)
    reader.position = bytecode_start(data)
    while reader.position < len(data):
        opcode = reader.byte()
        argument = 0
        group = opcode & 0xF0
        if group in (0x10, 0x20, 0x30):  # a qstr index or another number follows
            argument = reader.uint()
        elif group == 0x40 and reader.byte() & 0x80:  # a jump distance of two bytes
            reader.byte()
        if opcode in (UNWIND_JUMP, MAKE_CLOSURE, MAKE_CLOSURE_DEFARGS):
            reader.byte()
        yield opcode, argument


def stored_functions(module: Mpy) -> list[StoredFunction]:
    """The functions that the module's top level makes and stores, in the order of the source.

    Decorators that mpy-cross evaluates itself (micropython.viper) leave no trace; others are
    calls between the making and the storing, so the last function made is the one stored.
    """
    if module.root.kind != Kind.BYTECODE:
        raise FormatError("the module level must be bytecode (do not use -X emit=native)")
    functions = []
    made: RawCode | None = None
    for opcode, argument in opcodes(module.root.data):
        if opcode in (MAKE_FUNCTION, MAKE_FUNCTION_DEFARGS):
            made = module.root.children[argument]
        elif opcode in (STORE_NAME, STORE_GLOBAL) and made is not None:
            functions.append(StoredFunction(module.qstrs[argument], made))
            made = None
    return functions


def functions(module: Mpy, static_names: Mapping[int, str] | None = None) -> dict[str, bytes]:
    """Machine code of the module's viper functions by name; a later `def` replaces an earlier one.

    A function with the name of a static qstr is called "qstr<number>" unless `static_names`
    gives its name (see compiler.static_names).
    """
    known = static_names or {}
    return {
        function.qstr
        if isinstance(function.qstr, str)
        else known.get(function.qstr, f"qstr{function.qstr}"): function.code.data
        for function in stored_functions(module)
        if function.code.kind == Kind.VIPER
    }
