"""Translate straight runs of Xtensa instructions into Python functions.

A block starts anywhere and ends with the first instruction that may go elsewhere. It becomes

    def block(regs):          # regs: a0..a15, then those of REGISTERS
        a2, a8 = regs[2], regs[8]
        a8 = a8 * a2 & 4294967295
        regs[8] = a8
        return 1048600        # the address of the next block

All registers hold unsigned 32-bit numbers between two instructions.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import xtensa_simd
from .errors import DecodeError
from .pipeline import Operation, Pipeline, cycles, xtensa
from .xtensa_decode import Instruction

MASK = 0xFFFFFFFF
SIGN = 0x80000000
ACC = 0xFF_FFFFFFFF
CONSTANTS = {"MASK": MASK, "SIGN": SIGN, "ACC": ACC, "ACCHI": ACC ^ MASK}

# After the sixteen of the window: the special registers, the 40-bit accumulator as one number (in
# two's complement), the word registers of MAC16, and those of PIE. CALLINC is a field of PS.
SPECIAL = ("sar", "callinc", "lcount", "acc", "m0", "m1", "m2", "m3", *xtensa_simd.REGISTERS)
CALLINC = 17
NAME = r"a\d+|" + "|".join(SPECIAL)  # a register in the generated code
REGISTERS = 16 + len(SPECIAL)

# Longer runs are cut, to keep the generated functions at a size Python compiles quickly.
MAX_BLOCK = 1000

# What each instruction does; r, s, t, imm are fields of Instruction, "@" reads a register as
# signed: @{s} is short for ((a{s} ^ SIGN) - SIGN).
EFFECTS = {
    "nop": "pass",
    "mov": "a{t} = a{s}",
    "movi": "a{t} = {imm} & {MASK}",
    "addi": "a{t} = a{s} + {imm} & {MASK}",
    "addmi": "a{t} = a{s} + {imm} & {MASK}",
    "add": "a{r} = a{s} + a{t} & {MASK}",
    "addx2": "a{r} = (a{s} << 1) + a{t} & {MASK}",
    "addx4": "a{r} = (a{s} << 2) + a{t} & {MASK}",
    "addx8": "a{r} = (a{s} << 3) + a{t} & {MASK}",
    "sub": "a{r} = a{s} - a{t} & {MASK}",
    "subx2": "a{r} = (a{s} << 1) - a{t} & {MASK}",
    "subx4": "a{r} = (a{s} << 2) - a{t} & {MASK}",
    "subx8": "a{r} = (a{s} << 3) - a{t} & {MASK}",
    "and": "a{r} = a{s} & a{t}",
    "or": "a{r} = a{s} | a{t}",
    "xor": "a{r} = a{s} ^ a{t}",
    "neg": "a{r} = -a{t} & {MASK}",
    "abs": "a{r} = abs(@{t})",
    "mull": "a{r} = a{s} * a{t} & {MASK}",
    "muluh": "a{r} = a{s} * a{t} >> 32",
    "mulsh": "a{r} = @{s} * @{t} >> 32 & {MASK}",
    "mul16u": "a{r} = (a{s} & 0xFFFF) * (a{t} & 0xFFFF)",
    "mul16s": "a{r} = sext(a{s}, 15) * sext(a{t}, 15) & {MASK}",
    "quou": "a{r} = quotient(a{s}, a{t}) & {MASK}",
    "quos": "a{r} = quotient(@{s}, @{t}) & {MASK}",
    "remu": "a{r} = remainder(a{s}, a{t}) & {MASK}",
    "rems": "a{r} = remainder(@{s}, @{t}) & {MASK}",
    "min": "a{r} = min(@{s}, @{t}) & {MASK}",
    "max": "a{r} = max(@{s}, @{t}) & {MASK}",
    "minu": "a{r} = min(a{s}, a{t})",
    "maxu": "a{r} = max(a{s}, a{t})",
    "sext": "a{r} = sext(a{s}, {imm}) & {MASK}",
    "clamps": "a{r} = max(min(@{s}, (1 << {imm}) - 1), -1 << {imm}) & {MASK}",
    "nsa": "a{t} = 31 - (a{s} ^ (@{s} >> 31 & {MASK})).bit_length()",
    "nsau": "a{t} = 32 - a{s}.bit_length()",
    "moveqz": "a{r} = a{s} if a{t} == 0 else a{r}",
    "movnez": "a{r} = a{s} if a{t} != 0 else a{r}",
    "movltz": "a{r} = a{s} if a{t} >= {SIGN} else a{r}",
    "movgez": "a{r} = a{s} if a{t} < {SIGN} else a{r}",
    "ssr": "sar = a{s} & 31",
    "ssl": "sar = 32 - (a{s} & 31)",
    "ssa8l": "sar = (a{s} & 3) << 3",
    "ssa8b": "sar = 32 - ((a{s} & 3) << 3)",
    "ssai": "sar = {imm}",
    "sll": "a{r} = a{s} << (32 - sar) & {MASK}",
    "srl": "a{r} = a{t} >> sar",
    "sra": "a{r} = @{t} >> sar & {MASK}",
    "src": "a{r} = (a{s} << 32 | a{t}) >> sar & {MASK}",
    "slli": "a{r} = a{s} << {imm} & {MASK}",
    "srli": "a{r} = a{t} >> {imm}",
    "srai": "a{r} = @{t} >> {imm} & {MASK}",
    "extui": "a{r} = a{t} >> {s} & {imm}",
    "rsr.sar": "a{t} = sar",
    "rsr.acclo": "a{t} = acc & {MASK}",
    "rsr.acchi": "a{t} = sext(acc >> 32, 7) & {MASK}",
    "rsr.configid0": "a{t} = machine.configid0",
    "wsr.sar": "sar = a{t} & 63",
    "wsr.acclo": "acc = acc & {ACCHI} | a{t}",
    "wsr.acchi": "acc = acc & {MASK} | (a{t} & 255) << 32",
    **{f"rsr.m{i}": f"a{{t}} = m{i}" for i in range(4)},
    **{f"wsr.m{i}": f"m{i} = a{{t}}" for i in range(4)},
    "mul.da": "acc = half(m{m}, {imm} & 1) * half(a{t}, {imm} & 2) & {ACC}",
    "mula.aa": "acc = acc + half(a{s}, {imm} & 1) * half(a{t}, {imm} & 2) & {ACC}",
    "mula.da": "acc = acc + half(m{m}, {imm} & 1) * half(a{t}, {imm} & 2) & {ACC}",
    "mula.dd": "acc = acc + half(m{m}, {imm} & 1) * half(m{t}, {imm} & 2) & {ACC}",
    **xtensa_simd.EFFECTS,
}

# Loads and stores: size in bytes, and what to do with the checked address x.
LOADS = {
    "l8ui": (1, "a{t} = bytes8[x]"),
    "l16ui": (2, "a{t} = words16[x >> 1]"),
    "l16si": (2, "a{t} = sext(words16[x >> 1], 15) & {MASK}"),
    "l32i": (4, "a{t} = words32[x >> 2]"),
    "ldinc": (4, "a{s} = x; m{r} = words32[x >> 2]"),
}
STORES = {
    "s8i": (1, "bytes8[x] = a{t} & 255"),
    "s16i": (2, "words16[x >> 1] = a{t} & 65535"),
    "s32i": (4, "words32[x >> 2] = a{t}"),
}

# The product takes the m register's value of before the load.
MAC_AND_LOAD = ("mula.da.ldinc", "mula.dd.ldinc")

# When each conditional branch is taken.
CONDITIONS = {
    "beqz": "a{s} == 0",
    "bnez": "a{s} != 0",
    "bltz": "a{s} >= {SIGN}",
    "bgez": "a{s} < {SIGN}",
    "beq": "a{s} == a{t}",
    "bne": "a{s} != a{t}",
    "blt": "(a{s} ^ {SIGN}) < (a{t} ^ {SIGN})",
    "bge": "(a{s} ^ {SIGN}) >= (a{t} ^ {SIGN})",
    "bltu": "a{s} < a{t}",
    "bgeu": "a{s} >= a{t}",
    "beqi": "@{s} == {imm}",
    "bnei": "@{s} != {imm}",
    "blti": "@{s} < {imm}",
    "bgei": "@{s} >= {imm}",
    "bltui": "a{s} < {imm}",
    "bgeui": "a{s} >= {imm}",
    "bany": "(a{s} & a{t}) != 0",
    "bnone": "(a{s} & a{t}) == 0",
    "ball": "(a{s} & a{t}) == a{t}",
    "bnall": "(a{s} & a{t}) != a{t}",
    "bbs": "a{s} >> (a{t} & 31) & 1",
    "bbc": "not a{s} >> (a{t} & 31) & 1",
    "bbsi": "a{s} >> {imm} & 1",
    "bbci": "not a{s} >> {imm} & 1",
}

# Unconditional transfers: the value to return. `after` is the address of the next instruction.
# Those that move the register window are done by the machine, on the list of registers.
TRANSFERS = {
    "j": "{target}",
    "jx": "a{s}",
    "ret": "a0",
    "retw": "leave(regs)",
    "entry": "enter(regs, {s}, {imm}, {after})",
    "call": "call(regs, {imm}, {after}, {target})",
    "callx": "call(regs, {imm}, {after}, a{s})",
}


@dataclass(frozen=True)
class Block:
    """A translated block: run(regs) executes `length` instructions and returns the next address.

    They take `cycles`, or `again` directly after the same block, and `taken` more where what comes
    next is not `after`.
    """

    run: Callable[[list[int]], int]
    length: int
    cycles: int
    again: int
    after: int
    taken: int


def render(template: str, op: Instruction, after: int) -> str:
    """Fill the fields of an instruction into one of the templates above."""
    signed = re.sub(r"@(\{\w\})", r"((a\1 ^ {SIGN}) - {SIGN})", template)
    return signed.format_map({**vars(op), **CONSTANTS, "after": after})


def render_access(op: Instruction, address: int, memory_size: int) -> list[str]:
    """The lines of a load or store.

    One mask finds both faults that the number itself shows: bits above the memory's size, and low
    bits of a misaligned address. `access` has a byte for each word: 0 is not mapped, 2 writable.
    """
    store = op.name in STORES
    size, effect = STORES[op.name] if store else LOADS[op.name]
    bad_bits = MASK & -memory_size | size - 1
    denied = "not access[x >> 2] & 2" if store else "not access[x >> 2]"
    return [
        f"x = a{op.s} + {op.imm} & {MASK}" if op.imm else f"x = a{op.s}",
        f"if x & {bad_bits} or {denied}: fault({address}, x, {size}, {store})",
        render(effect, op, 0),
    ]


def translate(
    fetch: Callable[[int], Instruction], start: int, environment: Mapping[str, Any],
    pipeline: Pipeline,
) -> Block:
    """Translate the block that starts at `start`.

    `fetch(address)` decodes an instruction. The environment gives the names that the generated
    code uses: memory_size, bytes8, words16, words32, access, literal, fault, enter, leave, call,
    load128, vmulas_accx, machine; and `loops`, which collects the zero-overhead loops met so
    far, {end: start of the body}.
    """
    loops = environment["loops"]
    lines: list[str] = []
    result = ""
    address = start
    length = 0
    operations: list[Operation] = []
    taken = pipeline.taken
    while not result:
        op = fetch(address)
        name, first = op.name, len(lines)
        after = address + op.size
        if op.name in EFFECTS:
            lines.append(render(EFFECTS[op.name], op, after))
        elif op.name == "l32r":  # literals are part of the code, which does not change
            lines.append(f"a{op.t} = {environment['literal'](address, op.target)}")
        elif op.name in CONDITIONS:
            condition = render(CONDITIONS[op.name], op, after)
            result = f"{op.target} if {condition} else {after}"
        elif op.name in TRANSFERS:
            result = render(TRANSFERS[op.name], op, after)
        elif op.name == "loopnez":
            if after % 4 + fetch(after).size > 4:
                raise DecodeError(f"the loop body at {after:#x} starts across two words")
            loops[op.target] = after
            lines.append(f"lcount = a{op.s} - 1 & {MASK}")
            result = f"{after} if a{op.s} else {op.target}"
        elif op.name in MAC_AND_LOAD:
            product, load = op.name.rsplit(".", 1)
            lines.append(render(EFFECTS[product], op, after))
            op = replace(op, name=load, imm=4)
            lines.extend(render_access(op, address, environment["memory_size"]))
        else:
            lines.extend(render_access(op, address, environment["memory_size"]))
        address = after
        length += 1
        does = lines[first:]
        if name in CONDITIONS:
            does.append(render(CONDITIONS[name], op, after))
        operations.append(xtensa(name, does, NAME, pipeline))
        if after in loops and op.name != "loopnez":
            if result:
                raise DecodeError(f"the loop that ends at {after:#x} ends with a branch")
            lines.append("again = lcount")
            lines.append("lcount = max(lcount - 1, 0)")
            result = f"{loops[after]} if again else {after}"
            taken = 0
        if length == MAX_BLOCK and not result:
            result = f"{after}"
    return Block(compile_block(lines, result, environment), length, *cycles(operations), address,
                 taken)


def compile_block(
    lines: list[str], result: str, environment: Mapping[str, Any]
) -> Callable[[list[int]], int]:
    """Make a function that keeps the registers it uses in local variables."""
    text = "\n".join(lines)
    used = sorted(set(re.findall(rf"\b(?:{NAME})\b", f"{text}\n{result}")))
    assigned = sorted(set(re.findall(rf"\b({NAME}) = ", text)))
    load = [f"{name} = regs[{register_index(name)}]" for name in used]
    store = [f"regs[{register_index(name)}] = {name}" for name in assigned]
    body = "\n ".join([*load, *lines, *store, f"return {result}"])
    namespace: dict[str, Any] = dict(environment)
    exec(compile(f"def block(regs):\n {body}\n", "<block>", "exec"), namespace)
    block: Callable[[list[int]], int] = namespace["block"]
    return block


def register_index(name: str) -> int:
    return 16 + SPECIAL.index(name) if name in SPECIAL else int(name[1:])
