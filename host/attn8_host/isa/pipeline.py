"""Cycles of counted instructions: a model, not a measurement.

The cores issue one instruction a cycle, in order. One that wants a result waits until that is
there: what a load brings, a product, a quotient, a special register. A branch that is taken costs
what was fetched behind it. Memory answers at once: neither caches nor flash are modelled, nor what
of a block of code is still under way when another block begins.

Stages are those of Espressif's datasheets: seven of the ESP32 and the ESP32-S2, five of the
ESP32-S3, four of the ESP32-C3. The latencies of five stages are those by which GCC schedules code
for Xtensa (gcc/config/xtensa/xtensa.md: load, rsr and products 2). What those do not say is
assumed: each of two further stages before the results of loads and branches takes a cycle more, and
a four-stage core's products are there at once.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

LOADED = re.compile(r"(sext\()?(bytes8|words16|words32|load128)\b")  # as translated


@dataclass(frozen=True)
class Pipeline:
    """Cycles until a result can be taken, 1 where the next instruction can, and cycles that a taken
    branch loses.
    """

    core: str
    load: int
    product: int
    quotient: int
    special: int  # what rsr reads
    taken: int


LX6 = Pipeline("Xtensa LX6", load=3, product=2, quotient=13, special=2, taken=3)
LX7 = Pipeline("Xtensa LX7", load=2, product=2, quotient=13, special=2, taken=2)
S2 = Pipeline("ESP32-S2", load=3, product=2, quotient=13, special=2, taken=3)
C3 = Pipeline("ESP32-C3", load=2, product=1, quotient=32, special=1, taken=2)


@dataclass(frozen=True)
class Operation:
    """What an instruction reads, and what it writes: {register: cycles until it can be taken}."""

    reads: frozenset[str]
    writes: dict[str, int]


def cycles(operations: Iterable[Operation]) -> tuple[int, int]:
    """Of a straight run of instructions: (the first time, each time again directly after)."""
    run = [*operations]
    ready: dict[str, int] = {}
    ends, clock = [], 0
    for _ in range(3):  # the third time, all that the run itself leaves under way is
        for op in run:
            clock = max([clock, *(ready.get(name, 0) for name in op.reads)]) + 1
            ready |= {name: clock - 1 + latency for name, latency in op.writes.items()}
        ends.append(clock)
    return ends[0], ends[2] - ends[1]


def rv32(code: bytes, pipeline: Pipeline) -> list[Operation]:
    """The operations of RV32IMC code."""
    found, at = [], 0
    while at < len(code):
        size = 4 if code[at] & 3 == 3 else 2
        decode = _rv32 if size == 4 else _compressed
        kind, to, reads = decode(int.from_bytes(code[at : at + size], "little"))
        latency = getattr(pipeline, kind) if kind else 1
        names = frozenset(f"x{r}" for r in reads if r)
        found.append(Operation(names, {f"x{to}": latency} if to else {}))
        at += size
    return found


def _rv32(word: int) -> tuple[str, int, tuple[int, ...]]:
    """(what kind of result, or "", the register that is written, or 0, those that are read)"""
    opcode, to, s, t = word & 127, word >> 7 & 31, word >> 15 & 31, word >> 20 & 31
    if opcode == 0x03:
        return "load", to, (s,)
    if opcode in (0x23, 0x63):  # stores and branches
        return "", 0, (s, t)
    if opcode == 0x33:
        kind = ("quotient" if word >> 14 & 1 else "product") if word >> 25 == 1 else ""
        return kind, to, (s, t)
    return "", to, (s,) if opcode in (0x13, 0x67) else ()


def _compressed(word: int) -> tuple[str, int, tuple[int, ...]]:
    """The same of two bytes; short fields name x8 to x15."""
    group, to, t = (word & 3, word >> 13), word >> 7 & 31, word >> 2 & 31
    short, low = 8 + (word >> 7 & 7), 8 + (word >> 2 & 7)
    if group == (0, 2):
        return "load", low, (short,)
    if group == (2, 2):
        return "load", to, (2,)
    if group[0] == 0:
        return ("", low, (2,)) if group[1] == 0 else ("", 0, (short, low))
    if group in ((1, 1), (1, 5)):
        return "", 0, ()
    if group in ((1, 6), (1, 7)):
        return "", 0, (short,)
    if group == (1, 4):
        return "", short, (short, low)
    if group == (2, 4):
        return ("", to, (to, t)) if t else ("", 0, (to,))
    if group == (2, 6):
        return "", 0, (2, t)
    return "", to, () if group in ((1, 2), (1, 3)) else (to,)


def xtensa(name: str, lines: list[str], registers: str, pipeline: Pipeline) -> Operation:
    """The operation of an Xtensa instruction, by the Python that it was translated to.

    Args:
        name: the instruction's.
        lines: assignments, one a line (see isa.xtensa_translate).
        registers: the regular expression of a register's name there.
    """
    text = "\n".join(lines)
    read = re.sub(rf"\b({registers}) = ", "", text)
    kinds = {"mul": "product", "rsr": "special", "quo": "quotient", "rem": "quotient"}
    mac16 = name.startswith(("mula", "mul."))  # the next product of a sum finds it in time
    kind = None if mac16 else kinds.get(name[:3])
    writes = {}
    for register, value in re.findall(rf"\b({registers}) = ([^;\n]*)", text):
        if LOADED.match(value):
            writes[register] = pipeline.load
        else:
            writes[register] = getattr(pipeline, kind) if kind else 1
    return Operation(frozenset(re.findall(rf"\b(?:{registers})\b", read)), writes)
