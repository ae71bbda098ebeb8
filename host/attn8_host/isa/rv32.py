"""The processor of ESP32-C3 and C6 (RV32IMC) as a Machine, run by the Unicorn emulator.

Unicorn translates blocks of code and reports each block before it runs; how many instructions a
block has follows from its bytes. Misaligned loads and stores work, as they do on these chips.
Memory is mapped in pages, the rest of a buffer's pages being canary bytes.
"""

from collections.abc import Mapping, Sequence

from unicorn import (
    UC_ARCH_RISCV,
    UC_HOOK_BLOCK,
    UC_HOOK_MEM_INVALID,
    UC_MEM_FETCH_PROT,
    UC_MEM_FETCH_UNMAPPED,
    UC_MEM_WRITE_PROT,
    UC_MEM_WRITE_UNMAPPED,
    UC_MODE_RISCV32,
    UC_PROT_EXEC,
    UC_PROT_READ,
    UC_PROT_WRITE,
    Uc,
    UcError,
    riscv_const,
)

from . import machine, pipeline
from .errors import DecodeError, IsaError, MemoryFault
from .machine import (
    CLOBBERED,
    EXECUTE,
    HELPERS,
    HELPERS_END,
    PAGE,
    READ,
    RETURN,
    STACK_TOP,
    WRITE,
)

C_JR_RA = bytes.fromhex("8280")  # the compressed form of "ret"

ARGUMENT_REGISTERS = [getattr(riscv_const, f"UC_RISCV_REG_A{i}") for i in range(8)]
# A function may leave anything in these; helpers do, so that no kernel relies on them.
SCRATCH_REGISTERS = ARGUMENT_REGISTERS[1:] + [
    getattr(riscv_const, f"UC_RISCV_REG_T{i}") for i in range(7)
]
A0, A1 = ARGUMENT_REGISTERS[:2]
SP, RA, PC = riscv_const.UC_RISCV_REG_SP, riscv_const.UC_RISCV_REG_RA, riscv_const.UC_RISCV_REG_PC


class Rv32Machine(machine.Machine):
    """Runs rv32imc machine code."""

    arch = code = "rv32imc"
    pipeline = pipeline.C3
    granule = PAGE

    def __init__(self, functions: Mapping[str, bytes], objects: Sequence[object]) -> None:
        self._uc = Uc(UC_ARCH_RISCV, UC_MODE_RISCV32)
        self._lengths: dict[tuple[int, int], tuple[int, int, int]] = {}
        self._before = (0, 0)  # address and size of the block that ran last
        self._fault = ""
        self._uc.hook_add(UC_HOOK_BLOCK, self._on_block)
        self._uc.hook_add(UC_HOOK_MEM_INVALID, self._on_invalid)
        super().__init__(functions, objects)
        self.map_memory(HELPERS, HELPERS_END - HELPERS, READ | EXECUTE)
        self.write_memory(HELPERS, C_JR_RA * (PAGE // 2))

    def map_memory(self, address: int, size: int, access: int) -> None:
        protection = UC_PROT_READ
        protection |= UC_PROT_WRITE if access & WRITE else 0
        protection |= UC_PROT_EXEC if access & EXECUTE else 0
        self._uc.mem_map(address, size, protection)

    def unmap_memory(self, address: int, size: int) -> None:
        self._uc.mem_unmap(address, size)

    def read_memory(self, address: int, size: int) -> bytes:
        return bytes(self._uc.mem_read(address, size)) if size else b""

    def write_memory(self, address: int, data: bytes) -> None:
        if data:
            self._uc.mem_write(address, data)

    def run(self, entry: int, arguments: Sequence[int]) -> int:
        uc = self._uc
        for register in SCRATCH_REGISTERS:
            uc.reg_write(register, CLOBBERED)
        for register, value in zip(ARGUMENT_REGISTERS, arguments, strict=False):
            uc.reg_write(register, value)
        uc.reg_write(SP, STACK_TOP)
        uc.reg_write(RA, RETURN)
        self._fault = ""
        try:
            uc.emu_start(entry, RETURN)
        except UcError as error:
            raise self._explain(error) from None
        if uc.reg_read(SP) != STACK_TOP:
            raise IsaError("the function did not restore the stack pointer")
        result: int = uc.reg_read(A0)
        return result

    def _on_block(self, uc: Uc, address: int, size: int, _data: object) -> None:
        if HELPERS <= address < HELPERS_END:
            # The stub itself, a bare return, stands for code that is not counted.
            result = self.call_helper(address, uc.reg_read(A0), uc.reg_read(A1))
            for register in SCRATCH_REGISTERS:
                uc.reg_write(register, CLOBBERED)
            uc.reg_write(A0, result)
            return
        found = self._lengths.get((address, size))
        if found is None:
            code = self.read_memory(address, size)
            operations = pipeline.rv32(code, self.pipeline)
            found = len(operations), *pipeline.cycles(operations)
            self._lengths[address, size] = found
        length, first, again = found
        self.instructions += length
        self.cycles += again if self._before == (address, size) else first
        if sum(self._before) != address:
            self.cycles += self.pipeline.taken
        self._before = address, size
        self.check_limit()

    def _on_invalid(
        self, uc: Uc, access: int, address: int, size: int, _value: int, _data: object
    ) -> bool:
        if access in (UC_MEM_FETCH_UNMAPPED, UC_MEM_FETCH_PROT):
            self._fault = f"jump to {address:#x}, where there is no code"
        elif access in (UC_MEM_WRITE_UNMAPPED, UC_MEM_WRITE_PROT):
            self._fault = f"{8 * size}-bit store to unmapped or read-only address {address:#010x}"
        else:
            self._fault = f"{8 * size}-bit load from unmapped address {address:#010x}"
        return False  # do not try again

    def _explain(self, error: UcError) -> IsaError:
        place = self.locate(self._uc.reg_read(PC))
        if self._fault:
            return MemoryFault(f"{self._fault} at {place}")
        return DecodeError(f"the emulator stopped at {place}: {error}")
