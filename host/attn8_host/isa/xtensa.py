"""The processors of the ESP32 (Xtensa LX6, windowed registers) and ESP32-S2 as Machines.

Modelled: integer code, MAC16, zero-overhead loops (loopnez), vector instructions of ESP32-S3 (see
xtensa_simd), the register window of call4/8/12, entry and retw, exact alignment and mapping checks
on every access. Not modelled: the FPU, exceptions and window overflow (registers of outer frames
are kept beside the memory, not spilled to the stack).
"""

from collections.abc import Mapping, Sequence
from mmap import mmap

from . import machine, pipeline, runtime, xtensa_simd
from .errors import DecodeError, HelperError, IsaError, MemoryFault
from .machine import CLOBBERED, EXECUTE, HELPERS, MEMORY_SIZE, RETURN, STACK_TOP
from .xtensa_decode import Instruction, decode
from .xtensa_translate import CALLINC, REGISTERS, Block, translate

MASK = runtime.MASK


def sext(value: int, bit: int) -> int:
    """Sign-extend from the given bit."""
    return (value & (2 << bit) - 1 ^ 1 << bit) - (1 << bit)


def half(word: int, high: int) -> int:
    """The low or high 16 bits of a word, signed."""
    return sext(word >> 16 if high else word, 15)


def quotient(num: int, denom: int) -> int:
    """Division that truncates, as the instruction does."""
    if denom == 0:
        raise IsaError("integer division by zero")
    size = abs(num) // abs(denom)
    return size if (num < 0) == (denom < 0) else -size


def remainder(num: int, denom: int) -> int:
    return num - quotient(num, denom) * denom


class XtensaMachine(machine.Machine):
    """Runs xtensawin machine code."""

    arch = code = "xtensawin"
    granule = 4
    pipeline = pipeline.LX6
    configid0 = 0xC2BCFFFE  # the ESP32's; may be set to another chip's

    def __init__(self, functions: Mapping[str, bytes], objects: Sequence[object]) -> None:
        # Of mapped memory the operating system gives what is touched; a bytearray touches it all
        self._memory = mmap(-1, MEMORY_SIZE)
        self._access = mmap(-1, MEMORY_SIZE // 4)
        view = memoryview(self._memory)
        self._blocks: dict[int, Block] = {}
        self._frames: list[list[int]] = []
        self._environment = {
            "memory_size": MEMORY_SIZE,
            "bytes8": view,
            "words16": view.cast("H"),
            "words32": view.cast("I"),
            "access": self._access,
            "literal": self._literal,
            "fault": self._fault,
            "enter": self._enter,
            "leave": self._leave,
            "call": self._call,
            "machine": self,
            "load128": self._load128,
            "vmulas_accx": xtensa_simd.vmulas_accx,
            "loops": {},
            "half": half,
            "sext": sext,
            "quotient": quotient,
            "remainder": remainder,
        }
        super().__init__(functions, objects)

    def map_memory(self, address: int, size: int, access: int) -> None:
        self._access[address // 4 : (address + size) // 4] = bytes([access]) * (size // 4)

    def unmap_memory(self, address: int, size: int) -> None:
        self.map_memory(address, size, 0)

    def read_memory(self, address: int, size: int) -> bytes:
        return bytes(self._memory[address : address + size])

    def write_memory(self, address: int, data: bytes) -> None:
        self._memory[address : address + len(data)] = data

    def run(self, entry: int, arguments: Sequence[int]) -> int:
        # The caller's window, at a call8: its a8.. become the a0.. of the function.
        regs = [CLOBBERED] * REGISTERS
        regs[1] = STACK_TOP
        regs[10 : 10 + len(arguments)] = arguments
        self._frames.clear()
        pc = self._call(regs, 2, RETURN, entry)
        blocks, limit, count, cycles = self._blocks, self.limit, 0, 0
        before = None
        try:
            while True:
                block = blocks.get(pc)
                if block is None:
                    if pc == RETURN:
                        return regs[10]
                    if HELPERS <= pc < RETURN:
                        pc = self._run_helper(regs, pc)
                        continue
                    block = blocks[pc] = translate(
                        self._fetch, pc, self._environment, self.pipeline)
                count += block.length
                cycles += block.again if block is before else block.cycles
                before = block
                pc = block.run(regs)
                if pc != block.after:
                    cycles += block.taken
                if count > limit:
                    self.instructions = count
                    self.check_limit()
        finally:
            self.instructions, self.cycles = count, cycles

    def _run_helper(self, regs: list[int], address: int) -> int:
        """A helper takes its arguments where the window would put its a2 and a3."""
        base = 4 * regs[CALLINC]
        if base == 0:
            raise HelperError("helpers of the runtime follow the windowed calling convention")
        result = self.call_helper(address, regs[base + 2], regs[base + 3])
        after = self._return_address(regs[base])
        regs[base:16] = [CLOBBERED] * (16 - base)
        regs[base + 2] = result
        return after

    # ---- what translated blocks call

    def _call(self, regs: list[int], increment: int, after: int, target: int) -> int:
        """call0/4/8/12: the top two bits of the return address tell how far retw turns back."""
        regs[4 * increment] = after | increment << 30
        regs[CALLINC] = increment
        return target

    def _enter(self, regs: list[int], s: int, frame: int, after: int) -> int:
        shift = 4 * regs[CALLINC]
        stack = regs[s] - frame & MASK
        self._frames.append(regs[:shift])
        regs[:16] = regs[shift:16] + [CLOBBERED] * shift
        regs[s] = stack
        regs[CALLINC] = 0
        return after

    def _leave(self, regs: list[int]) -> int:
        address = regs[0]
        if not self._frames or len(self._frames[-1]) != 4 * (address >> 30):
            raise IsaError(f"retw with a0 = {address:#010x}, which no call left there")
        saved = self._frames.pop()
        regs[:16] = saved + regs[: 16 - len(saved)]
        return self._return_address(address)

    @staticmethod
    def _return_address(value: int) -> int:
        return value & 0x3FFF_FFFF

    def _literal(self, address: int, target: int) -> int:
        if not 0 <= target < MEMORY_SIZE or not self._access[target // 4]:
            self._fault(address, target, 4, False)
        return int.from_bytes(self._memory[target : target + 4], "little")

    def _load128(self, address: int, target: int) -> int:
        target &= ~15
        if target >= MEMORY_SIZE or not all(self._access[target // 4 : target // 4 + 4]):
            self._fault(address, target, 16, False)
        return int.from_bytes(self._memory[target : target + 16], "little")

    def _fault(self, address: int, target: int, size: int, store: bool) -> None:
        what = "store to" if store else "load from"
        why = "misaligned" if target % size else "unmapped or read-only" if store else "unmapped"
        raise MemoryFault(
            f"{8 * size}-bit {what} {why} address {target:#010x} at {self.locate(address)}"
        )

    def _fetch(self, address: int) -> Instruction:
        if not (0 <= address < MEMORY_SIZE and self._access[address // 4] & EXECUTE):
            raise MemoryFault(f"jump to {address:#x}, where there is no code")
        code = self.read_memory(address, 4)
        return self.decode(code, address)

    @staticmethod
    def decode(code: bytes, address: int) -> Instruction:
        """The instruction in the first bytes of `code`, which stands at `address`.

        Raises:
            DecodeError: the processor has none such.
        """
        return xtensa_simd.decode(code) or decode(code, address)


class S2Machine(XtensaMachine):
    """Runs xtensawin machine code as an ESP32-S2 does: an LX7 without MAC16 and without loops.

    Source: core-isa.h of the ESP32-S2 in ESP-IDF, XCHAL_HAVE_MAC16 and XCHAL_HAVE_LOOPS 0; products
    of 16 and 32 bits, their high words, quotients, min, max, clamps and sext are there.
    """

    arch = "esp32s2"
    pipeline = pipeline.S2
    configid0 = 0xC2ECFAFE

    @staticmethod
    def decode(code: bytes, address: int) -> Instruction:
        found = decode(code, address)
        registers = ("acclo", "acchi", "m0", "m1", "m2", "m3")
        mac16 = found.name.startswith(("mul.", "mula.", "ldinc")) or found.name[4:] in registers
        if mac16 or found.name == "loopnez":
            raise DecodeError(f"an ESP32-S2 has no {found.name}, which is at {address:#x}")
        return found
