"""The assemblers encode what the manuals say: known encodings, and binutils where there is one."""

import random
import re
import shutil
import subprocess

import pytest

from attn8_host.forms import rv32, xtensa

REGISTERS = {
    xtensa.Xtensa: {f"{kind}{i}": i for kind, count in (("a", 16), ("m", 4)) for i in range(count)},
    rv32.Rv32: {
        name.lower(): number
        for name, number in vars(rv32).items()
        if re.fullmatch("[A-Z]+[0-9]*", name)
    },
}
SPECIAL = {
    "acclo": xtensa.ACCLO, "acchi": xtensa.ACCHI, "m2": xtensa.M0 + 2, "configid0": xtensa.CONFIGID0
}  # fmt: skip
HALVES = {"ll": xtensa.LL, "hl": xtensa.HL, "lh": xtensa.LH, "hh": xtensa.HH}

KNOWN = {
    xtensa.Xtensa: [  # from GNU binutils and the firmware's own code; MAC16 ran on an ESP32
        ("entry a1, 32", "36 41 00"),
        ("retw.n", "1d f0"),
        ("callx8 a8", "e0 08 00"),
        ("mula.aa.hl a3, a4", "44 03 79"),
        ("mula.da.lh m1, a5", "54 40 6a"),
        ("mul.da.lh m1, a5", "54 40 66"),
        ("mula.dd.hh m1, m3", "44 40 2b"),
        ("mula.da.hl.ldinc m3, a4, m1, a5", "54 74 49"),
        ("mula.dd.lh.ldinc m2, a4, m1, m3", "44 64 0a"),
        ("ldinc m3, a5", "04 35 80"),
        ("rsr.acclo a4", "40 10 03"),
        ("wsr.acchi a5", "50 11 13"),
        ("wsr.m2 a5", "50 22 13"),
        ("rsr.configid0 a2", "20 b0 03"),
        ("mull a2, a3, a4", "40 23 82"),
        ("muluh a2, a3, a4", "40 23 a2"),
        ("mulsh a2, a3, a4", "40 23 b2"),
        ("quou a2, a3, a4", "40 23 c2"),
        ("min a2, a3, a4", "40 23 43"),
        ("max a2, a3, a4", "40 23 53"),
        ("sext a2, a3, 7", "00 23 23"),
        ("clamps a2, a3, 7", "00 23 33"),
        ("add.n a2, a3, a4", "4a 23"),
        ("l32i.n a2, a3, 8", "28 23"),
        ("movi.n a2, -32", "6c 02"),
        ("extui a2, a4, 8, 8", "40 28 74"),
    ],
    rv32.Rv32: [
        ("add a0, a1, a2", "33 85 c5 00"),
        ("add a0, a0, a2", "32 95"),
        ("mulh s0, t6, s11", "33 94 bf 03"),
        ("addi sp, sp, -64", "13 01 01 fc"),
        ("addi sp, sp, -32", "01 11"),
        ("lb t0, -1(a1)", "83 82 f5 ff"),
        ("sw ra, 2044(sp)", "23 2e 11 7e"),
        ("srai a0, a0, 31", "7d 85"),
        ("ret", "67 80 00 00"),
    ],
}

# Forms that binutils knows: {r} is a register, {low:high} or {low:high:step} a number
FORMS = {
    xtensa.Xtensa: """
        add.n {r}, {r}, {r} | addx2 {r}, {r}, {r} | addx4 {r}, {r}, {r} | sub {r}, {r}, {r}
        and {r}, {r}, {r} | or {r}, {r}, {r} | xor {r}, {r}, {r} | src {r}, {r}, {r}
        neg {r}, {r} | mull {r}, {r}, {r} | nsau {r}, {r}
        movnez {r}, {r}, {r} | mov.n {r}, {r} | nop.n
        movi.n {r}, {-32:95} | movi {r}, {-2048:-33} | movi {r}, {96:2047}
        addi.n {r}, {r}, {1:15} | addi {r}, {r}, {-128:-2} | addi {r}, {r}, {16:127}
        slli {r}, {r}, {1:31} | srai {r}, {r}, {0:31} | srli {r}, {r}, {0:15}
        extui {r}, {r}, {0:15}, {1:16} | ssr {r} | ssl {r} | ssa8l {r} | ssai {0:31}
        sll {r}, {r} | srl {r}, {r} | sra {r}, {r} | l8ui {r}, {r}, {0:255}
        l16ui {r}, {r}, {0:510:2} | l16si {r}, {r}, {0:510:2} | l32i.n {r}, {r}, {0:60:4}
        l32i {r}, {r}, {64:1020:4} | s8i {r}, {r}, {0:255} | s16i {r}, {r}, {0:510:2}
        s32i.n {r}, {r}, {0:60:4} | s32i {r}, {r}, {64:1020:4}""",
    rv32.Rv32: """
        add {r}, {r}, {r} | sub {r}, {r}, {r} | sll {r}, {r}, {r} | srl {r}, {r}, {r}
        sra {r}, {r}, {r} | or {r}, {r}, {r} | and {r}, {r}, {r} | mul {r}, {r}, {r}
        mulh {r}, {r}, {r} | divu {r}, {r}, {r} | addi {r}, {r}, {1:2047}
        addi {r}, {r}, {-2048:-1} | andi {r}, {r}, {0:254}
        xori {r}, {r}, {0:254} | slli {r}, {r}, {0:31}
        srli {r}, {r}, {0:31} | srai {r}, {r}, {0:31} | lui {r}, {0:1048575}
        lb {r}, {-2048:2047}({r}) | lh {r}, {-2048:2047}({r}) | lw {r}, {-2048:2047}({r})
        lbu {r}, {-2048:2047}({r}) | lhu {r}, {-2048:2047}({r}) | sb {r}, {-2048:2047}({r})
        sh {r}, {-2048:2047}({r}) | sw {r}, {-2048:2047}({r})
        mulhsu {r}, {r}, {r} | xor {r}, {r}, {r} | xor a4, a4, s0
        addi {r}, {r}, {-33:32} | addi {r}, zero, {-32:31}
        lw {r}, {0:256:4}(sp) | sw {r}, {0:256:4}(sp) | lw a0, {0:128:4}(s1) | sw s1, {0:128:4}(a5)
        add a5, a5, {r} | add {r}, a4, {r} | sub s0, s0, a5 | or a1, a1, a2 | and s1, s1, s0
        slli s9, s9, {0:31} | srli s0, s0, {0:31} | srai a5, a5, {0:31} | andi a0, a0, {-33:32}""",
}
OBJDUMP = {  # command, -m, Debian's package
    xtensa.Xtensa: ("xtensa-lx106-elf-objdump", "xtensa", "binutils-xtensa-lx106"),
    rv32.Rv32: ("riscv64-unknown-elf-objdump", "riscv:rv32", "binutils-riscv64-unknown-elf"),
}


def assemble(assembler, line: str) -> None:
    """Appends one line of assembly by calling the method that its mnemonic names."""
    mnemonic, _, rest = line.partition(" ")
    registers = REGISTERS[type(assembler)]
    operands = [
        registers[text] if text in registers else int(text, 0)
        for text in re.split(r"[,() ]+", rest)
        if text
    ]
    parts = mnemonic.removesuffix(".n").split(".")
    if parts[0] in ("rsr", "wsr"):
        operands.append(SPECIAL[parts.pop()])
    halves = [HALVES[part] for part in parts[1:] if part in HALVES]
    name = "_".join(part for part in parts if part == parts[0] or part not in HALVES)
    getattr(assembler, name + "_" if name in ("and", "or") else name)(*halves, *operands)


def any_operands(form: str, registers: list[str], rng: random.Random) -> str:
    """A form with its operands filled in."""

    def pick(match: re.Match) -> str:
        if match[1] == "r":
            return rng.choice(registers)
        low, high, step = [int(part) for part in f"{match[1]}:1".split(":")[:3]]
        return str(rng.randrange(low, high + 1, step))

    return re.sub(r"\{(.*?)\}", pick, form)


def normal(line: str) -> str:
    """Assembly with decimal numbers, single spaces, no comment, and no short forms of RISC-V."""
    line = re.sub(r"\s*#.*", "", line)
    line = re.sub(r"\b0xf[0-9a-f]{7}\b", lambda match: str(int(match[0], 16) - (1 << 32)), line)
    line = re.sub(r"\b0x[0-9a-f]+", lambda match: str(int(match[0], 16)), line)
    line = re.sub(r",\s*", ", ", " ".join(line.split()))
    short, _, operands = line.partition(" ")
    if short.startswith("c."):
        name, first = short[2:].removesuffix("sp"), operands.split(",")[0]
        if name == "li":
            line = f"addi {operands.replace(',', ', zero,')}"
        elif name == "mv":
            line = f"addi {operands}, 0"
        else:
            line = f"{name} {operands if '(' in operands else f'{first}, {operands}'}"
    # A sum is the same with its terms in the other order
    return re.sub(r"^add (\w+), (\w+), (\1)$", r"add \1, \3, \2", line)


@pytest.mark.parametrize("kind", KNOWN)
def test_known_encodings(kind):
    for line, encoding in KNOWN[kind]:
        assembler = kind()
        assemble(assembler, line)
        assert assembler.code().hex(" ") == encoding, line


def disassemble(kind, code: bytes, folder) -> list[str]:
    """What binutils reads in machine code, one instruction a line; skips where it is missing."""
    command, machine, package = OBJDUMP[kind]
    if shutil.which(command) is None:
        pytest.skip(f"{command} is not installed (Debian: apt install {package})")
    path = folder / "code.bin"
    path.write_bytes(code)
    options = ["-M", "no-aliases"] if kind is rv32.Rv32 else []
    done = subprocess.run(
        [command, "-D", "-b", "binary", "-m", machine, *options, path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [text.split("\t", 2)[2] for text in done.stdout.splitlines() if text.count("\t") >= 2]


@pytest.mark.parametrize("kind", FORMS)
def test_binutils_reads_what_was_written(kind, tmp_path):
    rng = random.Random(8)
    registers = [name for name in REGISTERS[kind] if name[0] != "m"]
    forms = [form.strip() for form in re.split(r"[|\n]", FORMS[kind]) if form.strip()]
    lines = [any_operands(form, registers, rng) for form in forms for _ in range(20)]
    assembler = kind()
    for line in lines:
        assemble(assembler, line)
    found = disassemble(kind, assembler.code(), tmp_path)
    assert [normal(line) for line in found] == [normal(line) for line in lines]


BRANCHES = {
    xtensa.Xtensa: {"j": 0, "beqz": 1, "bnez": 1, "bltz": 1, "bgez": 1}
    | {"b" + condition: 2 for condition in xtensa.CONDITIONS},
    rv32.Rv32: {"j": 0, "beq": 2, "bne": 2, "blt": 2, "bge": 2, "bltu": 2, "bgeu": 2},
}


@pytest.mark.parametrize("kind", BRANCHES)
def test_branches_go_to_their_labels(kind, tmp_path):
    # {mnemonic: registers}, each once back to the start and once ahead to the end
    assembler = kind()
    expected = []
    assembler.label("start")
    for label in ("start", "end"):
        for name, registers in BRANCHES[kind].items():
            operands = range(10, 10 + registers)
            if kind is xtensa.Xtensa and registers == 2:
                assembler.branch(name[1:], *operands, label)
            else:
                getattr(assembler, name)(*operands, label)
            names = {number: text for text, number in REGISTERS[kind].items()}
            expected.append((name, [names[number] for number in operands], label))
    assembler.label("end")
    address = {"start": 0, "end": assembler.address}
    found = disassemble(kind, assembler.code(), tmp_path)
    for line, (name, registers, label) in zip(found, expected, strict=True):
        mnemonic, _, rest = line.replace("jal", "j").replace("zero,", "").partition("\t")
        *operands, target = re.split(r",\s*", rest.partition("<")[0].strip())
        assert mnemonic == name and operands == registers
        assert int(target, 16) == address[label], line


def test_what_a_field_cannot_hold_is_refused():
    a, r = xtensa.Xtensa(), rv32.Rv32()
    for call in (
        lambda: a.addi(2, 2, 128), lambda: a.movi(2, 2048), lambda: a.l32i(2, 2, 1024),
        lambda: a.l32i(2, 2, 2), lambda: a.slli(2, 2, 0), lambda: a.srli(2, 2, 16),
        lambda: a.extui(2, 2, 0, 17), lambda: a.entry(1, 4), lambda: r.addi(2, 2, 2048),
        lambda: r.slli(2, 2, 32), lambda: r.sw(2, -2049, 2), lambda: r.lui(2, 1 << 20),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="expected"):
            call()
    a.label("here")
    with pytest.raises(ValueError, match="twice"):
        a.label("here")
    a.j("nowhere")
    with pytest.raises(ValueError, match="not defined"):
        a.code()


@pytest.mark.parametrize("before", range(4))
def test_a_loop_body_starts_within_one_word(before):
    # before: bytes of code in front of the loop, modulo 4
    a = xtensa.Xtensa()
    for _ in range((0, 3, 2, 1)[before]):  # each movi has 3 bytes
        a.movi(2, 500)
    assert a.address % 4 == before
    a.loopnez(3, "end")
    assert a.address % 4 in (0, 1)
    a.movi(2, 500)
    a.label("end")
    # loopnez a3, and the distance from 4 bytes after it
    assert a.code()[-6:-3].hex(" ") == "76 93 02"
