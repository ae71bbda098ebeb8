"""The vector instructions of ESP32-S3 (PIE), as far as the kernels go.

Source: chapter 1, Processor Instruction Extensions, of the ESP32-S3 Technical Reference Manual.
There are eight registers of 128 bits, q0 to q7, and ACCX, 40 bits, signed.
"""

from .assembler import within
from .xtensa import Xtensa


class Pie(Xtensa):
    """Xtensa with these instructions. A load forces the low four bits of its address to 0."""

    def ee_zero_accx(self) -> None:
        """ACCX = 0"""
        self.emit(3, 0x250804)

    def rur_accx_0(self, r: int) -> None:
        """r = the low word of ACCX"""
        self.emit(3, 0xE30000 | r << 12)

    def ee_vld_128_ip(self, q: int, s: int, step: int) -> None:
        """q = the 16 bytes at s; s += step"""
        step = within("step", step, -2048, 2032, 16) >> 4 & 255
        fields = step >> 7 << 22 | q >> 1 << 20 | (q & 1) << 15 | (step & 127) << 8
        self.emit(3, 0x830004 | fields | s << 4)

    def ee_vmulas_s8_accx_ld_ip(self, q: int, s: int, step: int, x: int, y: int) -> None:
        """ACCX += the 16 products of int8 in x and y; then q = the 16 bytes at s; s += step"""
        self._products(0xF002000E, q, s, step, x, y)

    def ee_vmulas_s16_accx_ld_ip(self, q: int, s: int, step: int, x: int, y: int) -> None:
        """ACCX += the 8 products of int16 in x and y; then q = the 16 bytes at s; s += step"""
        self._products(0xF000000E, q, s, step, x, y)

    def _products(self, op: int, q: int, s: int, step: int, x: int, y: int) -> None:
        step = within("step", step, -512, 496, 16) >> 4 & 63
        load = step >> 4 << 26 | q >> 1 << 24 | (q & 1) << 19 | (step & 15) << 8 | s << 4
        operands = (y & 1) << 23 | y >> 1 << 12 | (x & 3) << 14 | x >> 2
        self.emit(4, op | load | operands)
