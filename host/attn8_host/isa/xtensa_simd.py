"""The vector instructions (PIE) of ESP32-S3 that the kernels use, and no others.

Source: chapter 1, Processor Instruction Extensions, of the ESP32-S3 Technical Reference Manual.
Eight registers of 128 bits, q0 to q7, are little-endian numbers here; ACCX is a signed one of 40
bits, which saturates. Loads force the low four bits of an address to 0: misalignment is no fault.
"""

from typing import Literal

from .xtensa_decode import Instruction, sign_extend

CONFIGID0 = 0xC2F0FFFE  # of the ESP32-S3
MULTIPLIES = {0xF002_000E: "ee.vmulas.s8.accx.ld.ip", 0xF000_000E: "ee.vmulas.s16.accx.ld.ip"}
REGISTERS = ("accx", *(f"q{number}" for number in range(8)))
ACCX_LIMIT = 1 << 39

LOAD = "q{t} = load128({after} - {size}, a{s}); a{s} = a{s} + {imm} & {MASK}"
EFFECTS = {
    "ee.zero.accx": "accx = 0",
    "rur.accx_0": "a{r} = accx & {MASK}",
    "ee.vld.128.ip": LOAD,
    # The products take the registers' values of before the load
    "ee.vmulas.s8.accx.ld.ip": "accx = vmulas_accx(accx, q{r}, q{m}, 'b'); " + LOAD,
    "ee.vmulas.s16.accx.ld.ip": "accx = vmulas_accx(accx, q{r}, q{m}, 'h'); " + LOAD,
}


def decode(code: bytes) -> Instruction | None:
    """The vector instruction in the first bytes of `code`, if there is one.

    q register t is loaded, through a register s; q registers r and m are multiplied.
    """
    word = int.from_bytes(code[:4], "little")
    if product := MULTIPLIES.get(word & 0xF077_000E):
        return Instruction(
            product, 4, s=word >> 4 & 15,
            t=word >> 23 & 6 | word >> 19 & 1, r=(word & 1) << 2 | word >> 14 & 3,
            m=word >> 11 & 6 | word >> 23 & 1,
            imm=16 * sign_extend(word >> 22 & 48 | word >> 8 & 15, 6),
        )  # fmt: skip
    word &= 0xFF_FFFF
    if word & 0x8F_000F == 0x83_0004:
        imm = 16 * sign_extend(word >> 15 & 128 | word >> 8 & 127, 8)
        t = word >> 19 & 6 | word >> 15 & 1
        return Instruction("ee.vld.128.ip", 3, s=word >> 4 & 15, t=t, imm=imm)
    if word & 0xFF_0FFF == 0xE3_0000:
        return Instruction("rur.accx_0", 3, r=word >> 12 & 15)
    if word == 0x25_0804:
        return Instruction("ee.zero.accx", 3)
    return None


def vmulas_accx(accx: int, x: int, y: int, code: Literal["b", "h"]) -> int:
    """ACCX after the sum of the products of int8 ("b") or int16 ("h") was added."""
    pairs = zip(lanes(x, code), lanes(y, code), strict=True)
    return max(-ACCX_LIMIT, min(ACCX_LIMIT - 1, accx + sum(a * b for a, b in pairs)))


def lanes(value: int, code: Literal["b", "h"]) -> memoryview:
    """The signed values of a register."""
    return memoryview(value.to_bytes(16, "little")).cast(code)
