"""An assembler for RV32IMC, as far as the kernels go: ESP32-C3 and ESP32-C6.

Source: the RISC-V Instruction Set Manual, volume I. Operands stand in the order of its assembly.
Where the instruction set has a form of two bytes (extension C), it is taken.
"""

from .assembler import Assembler, Encoder, within

# fmt: off
(ZERO, RA, SP, GP, TP, T0, T1, T2, S0, S1, A0, A1, A2, A3, A4, A5, A6, A7,
 S2, S3, S4, S5, S6, S7, S8, S9, S10, S11, T3, T4, T5, T6) = range(32)
# fmt: on


def compressed(bits: int) -> int | None:
    """The two bytes that stand for an instruction of four, None where there are none."""
    opcode, rd, funct3 = bits & 127, bits >> 7 & 31, bits >> 12 & 7
    rs1, rs2, funct7 = bits >> 15 & 31, bits >> 20 & 31, bits >> 25
    value = (bits >> 20 ^ 0x800) - 0x800
    popular = rd in range(8, 16)  # the registers that three bits can say
    small = (value >> 5 & 1) << 12 | (value & 31) << 2
    if opcode == 0x13 and funct3 == 0 and rd and -32 <= value < 32:
        if rs1 == ZERO:
            return 0x4001 | rd << 7 | small  # c.li
        if value and rs1 == rd:
            return 0x0001 | rd << 7 | small  # c.addi
        if not value:
            return 0x8002 | rd << 7 | rs1 << 2  # c.mv
    if opcode == 0x13 and rs1 == rd and funct3 == 1 and rd and rs2:
        return 0x0002 | rd << 7 | rs2 << 2  # c.slli
    if opcode == 0x13 and rs1 == rd and popular and funct3 == 5 and rs2:
        return (0x8401 if funct7 else 0x8001) | rd - 8 << 7 | rs2 << 2  # c.srai, c.srli
    if opcode == 0x13 and rs1 == rd and popular and funct3 == 7 and -32 <= value < 32:
        return 0x8801 | rd - 8 << 7 | small  # c.andi
    if opcode == 0x33 and funct3 == 0 and funct7 == 0 and rd and rd in (rs1, rs2) and rs1 and rs2:
        return 0x9002 | rd << 7 | (rs2 if rs1 == rd else rs1) << 2  # c.add
    if opcode == 0x33 and rs1 == rd and popular and rs2 in range(8, 16):
        kinds = {(0x20, 0): 0x8C01, (0, 4): 0x8C21, (0, 6): 0x8C41, (0, 7): 0x8C61}
        kind = kinds.get((funct7, funct3))
        if kind is not None:  # c.sub, c.xor, c.or, c.and
            return kind | rd - 8 << 7 | rs2 - 8 << 2
    if (opcode, funct3) in ((3, 2), (0x23, 2)):
        store = opcode == 0x23
        register = rs2 if store else rd
        offset = funct7 << 5 | rd if store else value
        if rs1 == SP and 0 <= offset < 256 and offset % 4 == 0 and (store or rd):
            if store:  # c.swsp
                return 0xC002 | (offset >> 2 & 15) << 9 | offset >> 6 << 7 | register << 2
            return (0x4002 | (offset >> 5 & 1) << 12 | register << 7 | (offset >> 2 & 7) << 4
                    | offset >> 6 << 2)  # c.lwsp
        if {rs1, register} <= {*range(8, 16)} and 0 <= offset < 128 and offset % 4 == 0:
            return ((0xC000 if store else 0x4000) | (offset >> 3 & 7) << 10 | rs1 - 8 << 7
                    | (offset >> 2 & 1) << 6 | offset >> 6 << 5 | register - 8 << 2)  # c.sw, c.lw
    return None


class Rv32(Assembler):
    """Appends one instruction a method."""

    def emit(self, size: int, bits: int | Encoder) -> None:
        short = None if callable(bits) else compressed(bits)
        super().emit(*((size, bits) if short is None else (2, short)))

    def _register(self, funct7: int, funct3: int, rd: int, rs1: int, rs2: int) -> None:
        self.emit(4, funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | 0x33)

    def _immediate(self, opcode: int, funct3: int, rd: int, rs1: int, value: int) -> None:
        value = within("immediate", value, -2048, 2047) & 0xFFF
        self.emit(4, value << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode)

    # ---- arithmetic: destination first

    def add(self, rd: int, rs1: int, rs2: int) -> None:
        self._register(0, 0, rd, rs1, rs2)

    def sub(self, rd: int, rs1: int, rs2: int) -> None:
        self._register(0x20, 0, rd, rs1, rs2)

    def sll(self, rd: int, rs1: int, rs2: int) -> None:
        self._register(0, 1, rd, rs1, rs2)

    def srl(self, rd: int, rs1: int, rs2: int) -> None:
        self._register(0, 5, rd, rs1, rs2)

    def sra(self, rd: int, rs1: int, rs2: int) -> None:
        self._register(0x20, 5, rd, rs1, rs2)

    def sltu(self, rd: int, rs1: int, rs2: int) -> None:
        """rd = rs1 < rs2, unsigned"""
        self._register(0, 3, rd, rs1, rs2)

    def or_(self, rd: int, rs1: int, rs2: int) -> None:
        self._register(0, 6, rd, rs1, rs2)

    def xor(self, rd: int, rs1: int, rs2: int) -> None:
        self._register(0, 4, rd, rs1, rs2)

    def and_(self, rd: int, rs1: int, rs2: int) -> None:
        self._register(0, 7, rd, rs1, rs2)

    def mul(self, rd: int, rs1: int, rs2: int) -> None:
        """The low word of the product."""
        self._register(1, 0, rd, rs1, rs2)

    def mulh(self, rd: int, rs1: int, rs2: int) -> None:
        """The high word of the signed product."""
        self._register(1, 1, rd, rs1, rs2)

    def mulhsu(self, rd: int, rs1: int, rs2: int) -> None:
        """The high word of the product of rs1, signed, and rs2, unsigned."""
        self._register(1, 2, rd, rs1, rs2)

    def mulhu(self, rd: int, rs1: int, rs2: int) -> None:
        """The high word of the unsigned product."""
        self._register(1, 3, rd, rs1, rs2)

    def divu(self, rd: int, rs1: int, rs2: int) -> None:
        self._register(1, 5, rd, rs1, rs2)

    def addi(self, rd: int, rs1: int, value: int) -> None:
        self._immediate(0x13, 0, rd, rs1, value)

    def andi(self, rd: int, rs1: int, value: int) -> None:
        self._immediate(0x13, 7, rd, rs1, value)

    def xori(self, rd: int, rs1: int, value: int) -> None:
        self._immediate(0x13, 4, rd, rs1, value)

    def slli(self, rd: int, rs1: int, shift: int) -> None:
        self._immediate(0x13, 1, rd, rs1, within("shift", shift, 0, 31))

    def srli(self, rd: int, rs1: int, shift: int) -> None:
        self._immediate(0x13, 5, rd, rs1, within("shift", shift, 0, 31))

    def srai(self, rd: int, rs1: int, shift: int) -> None:
        self._immediate(0x13, 5, rd, rs1, within("shift", shift, 0, 31) | 0x400)

    def lui(self, rd: int, value: int) -> None:
        """rd = value << 12"""
        self.emit(4, within("value", value, 0, 0xFFFFF) << 12 | rd << 7 | 0x37)

    def li(self, rd: int, value: int) -> None:
        self.addi(rd, ZERO, value)

    def mv(self, rd: int, rs: int) -> None:
        self.addi(rd, rs, 0)

    # ---- memory: register, offset in bytes, base

    def lb(self, rd: int, offset: int, base: int) -> None:
        self._immediate(3, 0, rd, base, offset)

    def lh(self, rd: int, offset: int, base: int) -> None:
        self._immediate(3, 1, rd, base, offset)

    def lw(self, rd: int, offset: int, base: int) -> None:
        self._immediate(3, 2, rd, base, offset)

    def lbu(self, rd: int, offset: int, base: int) -> None:
        self._immediate(3, 4, rd, base, offset)

    def lhu(self, rd: int, offset: int, base: int) -> None:
        self._immediate(3, 5, rd, base, offset)

    def _store(self, funct3: int, rs: int, offset: int, base: int) -> None:
        value = within("offset", offset, -2048, 2047)
        high, low = (value >> 5 & 127) << 25, (value & 31) << 7
        self.emit(4, high | rs << 20 | base << 15 | funct3 << 12 | low | 0x23)

    def sb(self, rs: int, offset: int, base: int) -> None:
        self._store(0, rs, offset, base)

    def sh(self, rs: int, offset: int, base: int) -> None:
        self._store(1, rs, offset, base)

    def sw(self, rs: int, offset: int, base: int) -> None:
        self._store(2, rs, offset, base)

    # ---- control

    def jalr(self, rd: int, rs: int, offset: int = 0) -> None:
        self._immediate(0x67, 0, rd, rs, offset)

    def ret(self) -> None:
        self.jalr(ZERO, RA)

    def j(self, label: str) -> None:
        def encode(pc: int) -> int:
            d = self.distance(pc, label, -(1 << 20), (1 << 20) - 1)
            field = (d >> 20 & 1) << 19 | (d >> 1 & 0x3FF) << 9 | (d >> 11 & 1) << 8
            return (field | d >> 12 & 0xFF) << 12 | 0x6F

        self.emit(4, encode)

    def _branch(self, funct3: int, rs1: int, rs2: int, label: str) -> None:
        def encode(pc: int) -> int:
            d = self.distance(pc, label, -4096, 4095)
            high = (d >> 12 & 1) << 6 | d >> 5 & 63
            low = (d >> 1 & 15) << 1 | d >> 11 & 1
            return high << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | low << 7 | 0x63

        self.emit(4, encode)

    def beq(self, rs1: int, rs2: int, label: str) -> None:
        self._branch(0, rs1, rs2, label)

    def bne(self, rs1: int, rs2: int, label: str) -> None:
        self._branch(1, rs1, rs2, label)

    def blt(self, rs1: int, rs2: int, label: str) -> None:
        self._branch(4, rs1, rs2, label)

    def bge(self, rs1: int, rs2: int, label: str) -> None:
        self._branch(5, rs1, rs2, label)

    def bltu(self, rs1: int, rs2: int, label: str) -> None:
        self._branch(6, rs1, rs2, label)

    def bgeu(self, rs1: int, rs2: int, label: str) -> None:
        self._branch(7, rs1, rs2, label)
