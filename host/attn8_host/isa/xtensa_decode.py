"""Decoder of the Xtensa instructions that an ESP32 runs in integer code, MAC16 and LOOP included.

Source: the instruction formats and opcode maps of the Xtensa ISA reference manual, little-endian.
An instruction has three bytes, or two when bit 3 of the first byte is set (code density option).
The four-bit fields of a three-byte word, from bit 0 up, are op0, t, s, r, op1 and op2.
"""

from dataclasses import dataclass

from .errors import DecodeError


@dataclass(frozen=True)
class Instruction:
    """A decoded instruction: register numbers r, s, t and m, and an immediate or a target address.

    `imm` is already scaled and signed; `target` is an absolute address. Density forms carry the
    name of the full instruction they abbreviate.
    """

    name: str
    size: int
    r: int = 0
    s: int = 0
    t: int = 0
    imm: int = 0
    target: int = 0
    m: int = 0


# Constants of the compare-with-immediate branches (B4CONST and B4CONSTU of the manual).
B4CONST = (-1, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 32, 64, 128, 256)
B4CONSTU = (32768, 65536, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 32, 64, 128, 256)

BRANCHES = {  # op0 = 7, by r
    0: "bnone", 1: "beq", 2: "blt", 3: "bltu", 4: "ball", 5: "bbc",
    8: "bany", 9: "bne", 10: "bge", 11: "bgeu", 12: "bnall", 13: "bbs",
}  # fmt: skip

MEMORY = {  # op0 = 2, by r: name and scale of the unsigned 8-bit offset
    0: ("l8ui", 1), 1: ("l16ui", 2), 2: ("l32i", 4), 4: ("s8i", 1),
    5: ("s16i", 2), 6: ("s32i", 4), 9: ("l16si", 2),
}  # fmt: skip

THREE_REGISTERS = {  # op0 = 0, by (op1, op2): the destination is r, the sources are s and t
    (0, 1): "and", (0, 2): "or", (0, 3): "xor",
    (0, 8): "add", (0, 9): "addx2", (0, 10): "addx4", (0, 11): "addx8",
    (0, 12): "sub", (0, 13): "subx2", (0, 14): "subx4", (0, 15): "subx8",
    (1, 8): "src", (1, 9): "srl", (1, 10): "sll", (1, 11): "sra",
    (1, 12): "mul16u", (1, 13): "mul16s",
    (2, 8): "mull", (2, 10): "muluh", (2, 11): "mulsh",
    (2, 12): "quou", (2, 13): "quos", (2, 14): "remu", (2, 15): "rems",
    (3, 4): "min", (3, 5): "max", (3, 6): "minu", (3, 7): "maxu",
    (3, 8): "moveqz", (3, 9): "movnez", (3, 10): "movltz", (3, 11): "movgez",
}  # fmt: skip

SPECIAL = {  # what rsr and wsr may name
    3: "sar", 16: "acclo", 17: "acchi", 32: "m0", 33: "m1", 34: "m2", 35: "m3", 176: "configid0",
}  # fmt: skip

# Register fields that an instruction does not use must be zero.
UNUSED_FIELD = {"sll": "t", "srl": "s", "sra": "s"}


def sign_extend(value: int, bits: int) -> int:
    return (value & (1 << bits) - 1 ^ 1 << bits - 1) - (1 << bits - 1)


def decode(code: bytes, address: int) -> Instruction:
    """Decode the instruction in the first bytes of `code`, which stands at `address`."""
    found = None
    if len(code) >= 2 and code[0] & 8:
        found = decode_density(code, address)
    elif len(code) >= 3:
        word = int.from_bytes(code[:3], "little")
        decoder = FORMATS.get(word & 15)
        found = decoder(word, address) if decoder else None
    if found is None:
        raise DecodeError(f"unknown Xtensa instruction {code[:3].hex(' ')} at {address:#x}")
    return found


def decode_density(code: bytes, address: int) -> Instruction | None:
    op0, t, s, r = code[0] & 15, code[0] >> 4, code[1] & 15, code[1] >> 4
    if op0 == 8:
        return Instruction("l32i", 2, s=s, t=t, imm=4 * r)
    if op0 == 9:
        return Instruction("s32i", 2, s=s, t=t, imm=4 * r)
    if op0 == 10:
        return Instruction("add", 2, r=r, s=s, t=t)
    if op0 == 11:  # addi.n: 0 would be useless and stands for -1
        return Instruction("addi", 2, s=s, t=r, imm=t or -1)
    if op0 == 12 and t < 8:  # movi.n: -32..95
        value = t << 4 | r
        return Instruction("movi", 2, t=s, imm=value - 128 if value >= 96 else value)
    if op0 == 12:
        name = "bnez" if t & 4 else "beqz"
        return Instruction(name, 2, s=s, target=address + 4 + ((t & 3) << 4 | r))
    if op0 == 13 and r == 0:
        return Instruction("mov", 2, s=s, t=t)
    if op0 == 13 and r == 15 and s == 0 and t in (0, 1, 3):
        return Instruction({0: "ret", 1: "retw", 3: "nop"}[t], 2)
    return None


def fields(word: int) -> tuple[int, int, int]:
    """The register fields r, s and t of a three-byte word."""
    return word >> 12 & 15, word >> 8 & 15, word >> 4 & 15


def decode_arithmetic(word: int, address: int) -> Instruction | None:
    """op0 = 0: register to register."""
    r, s, t = fields(word)
    op1, op2 = word >> 16 & 15, word >> 20
    name = THREE_REGISTERS.get((op1, op2))
    if name is not None:
        unused = {"s": s, "t": t}.get(UNUSED_FIELD.get(name, ""), 0)
        return None if unused else Instruction(name, 3, r=r, s=s, t=t)
    if op1 in (4, 5):
        return Instruction("extui", 3, r=r, t=t, s=s | (op1 & 1) << 4, imm=(2 << op2) - 1)
    if op1 == 3 and op2 == 2:
        return Instruction("sext", 3, r=r, s=s, imm=t + 7)
    if op1 == 3 and op2 == 3:
        return Instruction("clamps", 3, r=r, s=s, imm=t + 7)
    if op1 == 1 and op2 in (0, 1):  # the field holds 32 minus the shift, which cannot be 32
        shift = 32 - (t | op2 << 4)
        return Instruction("slli", 3, r=r, s=s, imm=shift) if shift < 32 else None
    if op1 == 1 and op2 in (2, 3):
        return Instruction("srai", 3, r=r, t=t, imm=s | (op2 & 1) << 4)
    if op1 == 1 and op2 == 4:
        return Instruction("srli", 3, r=r, t=t, imm=s)
    if op1 == 0 and op2 == 6 and s in (0, 1):
        return Instruction("abs" if s else "neg", 3, r=r, t=t)
    if op1 == 0 and op2 == 4:
        return decode_shift_setup(r, s, t)
    if op1 == 0 and op2 == 0:
        return decode_indirect_jump(r, s, t)
    if op1 == 3 and op2 in (0, 1) and (r << 4 | s) in SPECIAL:
        return Instruction(("rsr." if op2 == 0 else "wsr.") + SPECIAL[r << 4 | s], 3, t=t)
    return None


def decode_shift_setup(r: int, s: int, t: int) -> Instruction | None:
    """The instructions that set the shift amount register, and the bit counters beside them."""
    if r in (0, 1, 2, 3) and t == 0:
        return Instruction(("ssr", "ssl", "ssa8l", "ssa8b")[r], 3, s=s)
    if r == 4 and t in (0, 1):
        return Instruction("ssai", 3, imm=s | t << 4)
    if r in (14, 15):
        return Instruction("nsa" if r == 14 else "nsau", 3, s=s, t=t)
    return None


def decode_indirect_jump(r: int, s: int, t: int) -> Instruction | None:
    """Returns, jumps and calls through a register, and the barriers, which do nothing here."""
    if r == 0 and t in (8, 9) and s == 0:
        return Instruction("ret" if t == 8 else "retw", 3)
    if r == 0 and t == 10:
        return Instruction("jx", 3, s=s)
    if r == 0 and t >= 12:
        return Instruction("callx", 3, s=s, imm=t & 3)
    if r == 2 and s == 0 and t in (0, 1, 2, 3, 12, 13, 15):  # isync ... memw, extw, nop
        return Instruction("nop", 3)
    return None


def decode_l32r(word: int, address: int) -> Instruction:
    """op0 = 1: load a literal, which stands up to 256 KB before the instruction."""
    base = address + 3 & ~3
    return Instruction("l32r", 3, t=word >> 4 & 15, target=base + ((word >> 8) - 0x10000) * 4)


def decode_memory(word: int, address: int) -> Instruction | None:
    """op0 = 2: loads and stores with an offset, and the immediates that share the format."""
    r, s, t = fields(word)
    imm = word >> 16
    if r in MEMORY:
        name, scale = MEMORY[r]
        return Instruction(name, 3, s=s, t=t, imm=imm * scale)
    if r == 10:
        return Instruction("movi", 3, t=t, imm=sign_extend(s << 8 | imm, 12))
    if r == 12:
        return Instruction("addi", 3, s=s, t=t, imm=sign_extend(imm, 8))
    if r == 13:
        return Instruction("addmi", 3, s=s, t=t, imm=sign_extend(imm, 8) * 256)
    return None


MAC16 = {  # op0 = 4, by op1 >> 2 and op2: the product of two halves of m registers or others
    (1, 6): "mul.da",
    (2, 0): "mula.dd.ldinc", (2, 2): "mula.dd", (2, 4): "mula.da.ldinc", (2, 6): "mula.da",
    (2, 7): "mula.aa",
}  # fmt: skip


def decode_mac16(word: int, address: int) -> Instruction | None:
    """op0 = 4; `imm` says which halves are multiplied: 1 for the first operand's high, 2 for t's.

    The first operand is register m, or s in mula.aa; ldinc loads m register r through s.
    """
    r, s, t = fields(word)
    op1, op2 = word >> 16 & 15, word >> 20
    if op2 == 8 and op1 == 0 and t == 0 and r < 4:
        return Instruction("ldinc", 3, r=r, s=s, imm=4)
    name = MAC16.get((op1 >> 2, op2))
    if name is None:
        return None
    if ".dd" in name:  # t holds one bit, which m register: m2 or m3
        if t & ~4:
            return None
        t = 2 + (t >> 2)
    unused = r if name == "mula.aa" else r & ~4 | s if ".ldinc" not in name else r & ~7
    if unused:
        return None
    return Instruction(name, 3, r=r & 3, s=s, t=t, m=r >> 2, imm=op1 & 3)


def decode_call(word: int, address: int) -> Instruction:
    """op0 = 5: call0, call4, call8 and call12; `imm` is the number of registers divided by 4."""
    target = (address & ~3) + 4 + 4 * sign_extend(word >> 6, 18)
    return Instruction("call", 3, imm=word >> 4 & 3, target=target)


def decode_jump(word: int, address: int) -> Instruction | None:
    """op0 = 6: jump, entry, and branches that compare with zero or a constant."""
    r, s, t = fields(word)
    n, m = t & 3, t >> 2
    if n == 0:
        return Instruction("j", 3, target=address + 4 + sign_extend(word >> 6, 18))
    if n == 1:
        target = address + 4 + sign_extend(word >> 12, 12)
        return Instruction(("beqz", "bnez", "bltz", "bgez")[m], 3, s=s, target=target)
    target = address + 4 + sign_extend(word >> 16, 8)
    if n == 2:
        return Instruction(
            ("beqi", "bnei", "blti", "bgei")[m], 3, s=s, imm=B4CONST[r], target=target
        )
    if m == 0:
        return Instruction("entry", 3, s=s, imm=(word >> 12) * 8)
    if m in (2, 3):
        name = "bltui" if m == 2 else "bgeui"
        return Instruction(name, 3, s=s, imm=B4CONSTU[r], target=target)
    if m == 1 and r == 9:
        return Instruction("loopnez", 3, s=s, target=address + 4 + (word >> 16))
    return None  # m = 1: other loops and branches on boolean registers


def decode_branch(word: int, address: int) -> Instruction:
    """op0 = 7: branches that compare two registers, or test a bit."""
    r, s, t = fields(word)
    target = address + 4 + sign_extend(word >> 16, 8)
    if r & 7 in (6, 7):
        name = "bbsi" if r & 8 else "bbci"
        return Instruction(name, 3, s=s, imm=t | (r & 1) << 4, target=target)
    return Instruction(BRANCHES[r], 3, s=s, t=t, target=target)


FORMATS = {
    0: decode_arithmetic,
    1: decode_l32r,
    2: decode_memory,
    4: decode_mac16,
    5: decode_call,
    6: decode_jump,
    7: decode_branch,
}
