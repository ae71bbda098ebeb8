"""An assembler for Xtensa LX6 and LX7, as far as the kernels go: ESP32 and ESP32-S3.

Source: the Xtensa ISA Reference Manual, little-endian formats. Registers are numbers, 0 to 15, and
operands stand in the order of the manual's assembly. Where the instruction set has a form of two
bytes (code density option), it is taken.
"""

from .assembler import Assembler, constant, within

SAR, ACCLO, ACCHI, M0, CONFIGID0 = 3, 16, 17, 32, 176  # special registers; m1 to m3 follow m0
LL, HL, LH, HH = range(4)  # which halves of its operands a 16-bit product takes

CONDITIONS = {
    "none": 0, "eq": 1, "lt": 2, "ltu": 3, "all": 4,
    "any": 8, "ne": 9, "ge": 10, "geu": 11, "nall": 12,
}  # fmt: skip


class Xtensa(Assembler):
    """Appends one instruction a method."""

    def __init__(self) -> None:
        super().__init__()
        # Instructions of two bytes since the last loop: (number, the same in three bytes)
        self._widenable: list[tuple[int, int]] = []

    def _rrr(self, op2: int, op1: int, r: int, s: int, t: int, op0: int = 0) -> None:
        self.emit(3, op2 << 20 | op1 << 16 | r << 12 | s << 8 | t << 4 | op0)

    def _narrow(self, op0: int, r: int, s: int, t: int, wide: int | None = None) -> None:
        """A form of two bytes; `wide` is the same instruction in three."""
        if wide is not None:
            self._widenable.append((len(self._items), wide))
        self.emit(2, r << 12 | s << 8 | t << 4 | op0)

    # ---- arithmetic: destination first

    def add(self, r: int, s: int, t: int) -> None:
        self._narrow(10, r, s, t, 8 << 20 | r << 12 | s << 8 | t << 4)

    def addx2(self, r: int, s: int, t: int) -> None:
        """r = 2*s + t"""
        self._rrr(9, 0, r, s, t)

    def addx4(self, r: int, s: int, t: int) -> None:
        """r = 4*s + t"""
        self._rrr(10, 0, r, s, t)

    def sub(self, r: int, s: int, t: int) -> None:
        self._rrr(12, 0, r, s, t)

    def and_(self, r: int, s: int, t: int) -> None:
        self._rrr(1, 0, r, s, t)

    def or_(self, r: int, s: int, t: int) -> None:
        self._rrr(2, 0, r, s, t)

    def xor(self, r: int, s: int, t: int) -> None:
        self._rrr(3, 0, r, s, t)

    def neg(self, r: int, t: int) -> None:
        self._rrr(6, 0, r, 0, t)

    def mull(self, r: int, s: int, t: int) -> None:
        """The low word of the product."""
        self._rrr(8, 2, r, s, t)

    def muluh(self, r: int, s: int, t: int) -> None:
        """The high word of the unsigned product."""
        self._rrr(10, 2, r, s, t)

    def mulsh(self, r: int, s: int, t: int) -> None:
        """The high word of the signed product."""
        self._rrr(11, 2, r, s, t)

    def quou(self, r: int, s: int, t: int) -> None:
        """r = s // t, unsigned"""
        self._rrr(12, 2, r, s, t)

    def min(self, r: int, s: int, t: int) -> None:
        self._rrr(4, 3, r, s, t)

    def max(self, r: int, s: int, t: int) -> None:
        self._rrr(5, 3, r, s, t)

    def nsau(self, t: int, s: int) -> None:
        """The number of leading zeros."""
        self._rrr(4, 0, 15, s, t)

    def moveqz(self, r: int, s: int, t: int) -> None:
        """r = s where t is 0"""
        self._rrr(8, 3, r, s, t)

    def movnez(self, r: int, s: int, t: int) -> None:
        """r = s where t is not 0"""
        self._rrr(9, 3, r, s, t)

    def sext(self, r: int, s: int, bit: int) -> None:
        """Sign-extends from `bit`, 7 to 22."""
        self._rrr(2, 3, r, s, within("bit", bit, 7, 22) - 7)

    def clamps(self, r: int, s: int, bit: int) -> None:
        """Clamps to -2**bit .. 2**bit - 1."""
        self._rrr(3, 3, r, s, within("bit", bit, 7, 22) - 7)

    def mov(self, t: int, s: int) -> None:
        self._narrow(13, 0, s, t, 2 << 20 | t << 12 | s << 8 | s << 4)  # or t, s, s

    def movi(self, t: int, value: int) -> None:
        within("value", value, -2048, 2047)
        wide = (value & 255) << 16 | 10 << 12 | (value >> 8 & 15) << 8 | t << 4 | 2
        if -32 <= value <= 95:
            self._narrow(12, value & 15, t, value >> 4 & 7, wide)
        else:
            self.emit(3, wide)

    def addi(self, t: int, s: int, value: int) -> None:
        within("value", value, -128, 127)
        wide = (value & 255) << 16 | 12 << 12 | s << 8 | t << 4 | 2
        if value == -1 or 1 <= value <= 15:
            self._narrow(11, t, s, 0 if value == -1 else value, wide)
        else:
            self.emit(3, wide)

    def addmi(self, t: int, s: int, value: int) -> None:
        """addi by multiples of 256"""
        within("value", value, -32768, 32512, 256)
        self.emit(3, (value >> 8 & 255) << 16 | 13 << 12 | s << 8 | t << 4 | 2)

    # ---- shifts

    def slli(self, r: int, s: int, shift: int) -> None:
        field = 32 - within("shift", shift, 1, 31)
        self._rrr(field >> 4, 1, r, s, field & 15)

    def srai(self, r: int, t: int, shift: int) -> None:
        within("shift", shift, 0, 31)
        self._rrr(2 | shift >> 4, 1, r, shift & 15, t)

    def srli(self, r: int, t: int, shift: int) -> None:
        self._rrr(4, 1, r, within("shift", shift, 0, 15), t)

    def extui(self, r: int, t: int, shift: int, bits: int) -> None:
        """r = (t >> shift) & (2**bits - 1), bits 1 to 16"""
        within("shift", shift, 0, 31)
        self._rrr(within("bits", bits, 1, 16) - 1, 4 | shift >> 4, r, shift & 15, t)

    def ssr(self, s: int) -> None:
        """Right shifts are by the low five bits of s from here on."""
        self._rrr(4, 0, 0, s, 0)

    def ssl(self, s: int) -> None:
        """Left shifts are by the low five bits of s from here on."""
        self._rrr(4, 0, 1, s, 0)

    def ssa8l(self, s: int) -> None:
        """Right shifts are by 8*(s & 3) from here on: what `src` needs for an unaligned word."""
        self._rrr(4, 0, 2, s, 0)

    def ssai(self, shift: int) -> None:
        within("shift", shift, 0, 31)
        self._rrr(4, 0, 4, shift & 15, shift >> 4)

    def sll(self, r: int, s: int) -> None:
        self._rrr(10, 1, r, s, 0)

    def srl(self, r: int, t: int) -> None:
        self._rrr(9, 1, r, 0, t)

    def sra(self, r: int, t: int) -> None:
        self._rrr(11, 1, r, 0, t)

    def src(self, r: int, s: int, t: int) -> None:
        """The low word of the 64 bits s:t, shifted to the right."""
        self._rrr(8, 1, r, s, t)

    # ---- memory: register, base, offset in bytes

    def _memory(self, op: int, t: int, s: int, offset: int, size: int) -> None:
        within("offset", offset, 0, 255 * size, size)
        wide = offset // size << 16 | op << 12 | s << 8 | t << 4 | 2
        if size == 4 and offset < 64:
            self._narrow(8 if op == 2 else 9, offset >> 2, s, t, wide)
        else:
            self.emit(3, wide)

    def l8ui(self, t: int, s: int, offset: int = 0) -> None:
        self._memory(0, t, s, offset, 1)

    def l16ui(self, t: int, s: int, offset: int = 0) -> None:
        self._memory(1, t, s, offset, 2)

    def l16si(self, t: int, s: int, offset: int = 0) -> None:
        self._memory(9, t, s, offset, 2)

    def l32i(self, t: int, s: int, offset: int = 0) -> None:
        self._memory(2, t, s, offset, 4)

    def s8i(self, t: int, s: int, offset: int = 0) -> None:
        self._memory(4, t, s, offset, 1)

    def s16i(self, t: int, s: int, offset: int = 0) -> None:
        self._memory(5, t, s, offset, 2)

    def s32i(self, t: int, s: int, offset: int = 0) -> None:
        self._memory(6, t, s, offset, 4)

    # ---- control

    def entry(self, s: int, frame: int) -> None:
        """Starts a windowed function with a frame of this many bytes."""
        self.emit(3, within("frame", frame, 0, 32760, 8) >> 3 << 12 | s << 8 | 0x36)

    def retw(self) -> None:
        self.emit(2, 0xF01D)

    def callx8(self, s: int) -> None:
        self.emit(3, s << 8 | 0xE0)

    def nop(self) -> None:
        self.emit(2, 0xF03D)

    def rsr(self, t: int, register: int) -> None:
        self.emit(3, 3 << 16 | register << 8 | t << 4)

    def wsr(self, t: int, register: int) -> None:
        self.emit(3, 19 << 16 | register << 8 | t << 4)

    def j(self, label: str) -> None:
        self.emit(3, lambda pc: (self._jump(pc, label, 18) & 0x3FFFF) << 6 | 6)

    def _jump(self, pc: int, label: str, bits: int) -> int:
        return self.distance(pc + 4, label, -1 << bits - 1, (1 << bits - 1) - 1)

    def _branch_zero(self, op: int, s: int, label: str) -> None:
        self.emit(3, lambda pc: (self._jump(pc, label, 12) & 0xFFF) << 12 | s << 8 | op << 4 | 6)

    def beqz(self, s: int, label: str) -> None:
        self._branch_zero(1, s, label)

    def bnez(self, s: int, label: str) -> None:
        self._branch_zero(5, s, label)

    def bltz(self, s: int, label: str) -> None:
        self._branch_zero(9, s, label)

    def bgez(self, s: int, label: str) -> None:
        self._branch_zero(13, s, label)

    def branch(self, condition: str, s: int, t: int, label: str) -> None:
        """To the label where the condition (a key of CONDITIONS) holds for s and t."""
        bits = CONDITIONS[condition] << 12 | s << 8 | t << 4 | 7
        self.emit(3, lambda pc: (self._jump(pc, label, 8) & 255) << 16 | bits)

    def loopnez(self, s: int, end: str) -> None:
        """Runs what stands before the label `end` s times, or not at all, without a branch.

        The hardware wants the body's first instruction, 3 bytes on, to lie within one aligned word
        (code is placed at multiples of 4): instructions before it are widened as needed. The body
        has at most 256 bytes, and loops do not nest.
        """
        while self.address % 4 in (0, 3):
            if not self._widenable:
                self.nop()
                continue
            index, wide = self._widenable.pop()
            self._items[index] = (3, constant(wide))
            self.address += 1
        self._widenable.clear()
        bits = 9 << 12 | s << 8 | 0x76
        self.emit(3, lambda pc: self.distance(pc + 4, end, 0, 255) << 16 | bits)

    # ---- MAC16: the 40-bit accumulator ACCHI:ACCLO and the word registers m0 to m3

    def mula_aa(self, halves: int, s: int, t: int) -> None:
        """ACC += half of s * half of t"""
        self._rrr(7, 8 | halves, 0, s, t, 4)

    def mula_da(self, halves: int, m: int, t: int) -> None:
        """ACC += half of m * half of t"""
        self._rrr(6, 8 | halves, m << 2, 0, t, 4)

    def mul_da(self, halves: int, m: int, t: int) -> None:
        """ACC = half of m * half of t"""
        self._rrr(6, 4 | halves, m << 2, 0, t, 4)

    def mula_dd(self, halves: int, m: int, n: int) -> None:
        """ACC += half of m (0 or 1) * half of n (2 or 3)"""
        self._rrr(2, 8 | halves, m << 2, 0, n - 2 << 2, 4)

    def mula_da_ldinc(self, halves: int, load: int, s: int, m: int, t: int) -> None:
        """mula_da(halves, m, t), then s += 4, load = the word at s; m may be `load`"""
        self._rrr(4, 8 | halves, m << 2 | load, s, t, 4)

    def mula_dd_ldinc(self, halves: int, load: int, s: int, m: int, n: int) -> None:
        """mula_dd(halves, m, n), then s += 4, load = the word at s; m or n may be `load`"""
        self._rrr(0, 8 | halves, m << 2 | load, s, n - 2 << 2, 4)

    def ldinc(self, load: int, s: int) -> None:
        """s += 4, load = the word at s"""
        self._rrr(8, 0, load, s, 0, 4)
