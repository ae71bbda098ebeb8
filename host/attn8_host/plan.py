"""`attn8 plan`: what a layer or a model takes on a board, before there is one.

The device's own Python makes the layer here (see bench.isa): its arrays are then real, and so are
the counts of instructions. Sizes follow MicroPython's object layout on a 32-bit chip, or on the
64-bit unix port, whose words are twice as long.
"""

import sys
import types
from array import array
from dataclasses import asdict, dataclass

from . import kernels
from .bench.isa import device, make_layer
from .bench.isa import layer as count_layer
from .deploy import compile_device
from .errors import Attn8Error
from .kernels import MAX_INPUTS

# Cycles that an instruction is assumed to take: loads and multiplications wait for their results
CYCLES = 1.5
CLOCKS = (80, 160, 240)  # MHz
# Bytes free in the Python heap after start-up, and for native code, as measured on v1.26 firmware
CHIPS = {"ESP32": (112_000, 110_000), "ESP32-C3": (112_000, 110_000)}
PACKAGE = 24_000  # Python heap that the package's bytecode takes


@dataclass
class Plan:
    """What it takes; the keys of the JSON. Sizes in bytes."""

    arch: str
    flash: int  # the package's files
    exec_ram: int  # machine code of the kernels in use, at most
    buffers: dict[str, int]  # arrays, by the name that holds them
    ram: int  # all of the layer: arrays and the objects around them
    peak_heap: int  # with the package's own
    instructions: int | None  # predicted, of one inference; None where it fits nowhere
    milliseconds: dict[str, float]  # predicted at each clock, CYCLES cycles an instruction
    cycles_per_instruction: float  # assumed
    fits: dict[str, bool]  # by chip

    def as_dict(self) -> dict:
        return asdict(self)


def plan(seq_len: int, embed_dim: int, num_heads: int, arch: str = "xtensawin",
         word: int = 4) -> Plan:
    """Plans MultiHeadAttention with the exact core and specialised kernels.

    Args:
        seq_len: tokens.
        embed_dim: values of a token.
        num_heads: divides embed_dim.
        arch: of the machine code, "xtensawin" or "rv32imc".
        word: bytes of the board's word, 4 on a chip, 8 on the unix port.

    Raises:
        Attn8Error: the layer itself refuses these sizes.
    """
    shape = {"seq_len": seq_len, "embed_dim": embed_dim, "num_heads": num_heads}
    config = {"layers": [{"type": "attention", "core": "exact", **shape}]}
    with device(arch, kernels.modules(config)) as (attn8, _):
        try:
            layer, _ = make_layer(attn8, seq_len, embed_dim, num_heads)
        except ValueError as error:
            raise Attn8Error(str(error)) from None
        buffers, ram = sizes(layer, word)
        prefix = "attn8.kernels."
        used = {name[len(prefix) :] for name in sys.modules if name.startswith(prefix)}
    files = compile_device(arch, config)
    exec_ram = sum(len(files[f"kernels/{name}.mpy"]) for name in used)
    fits = {
        chip: ram + PACKAGE < heap and exec_ram < code for chip, (heap, code) in CHIPS.items()
    }
    instructions = predict(arch, seq_len, embed_dim, num_heads) if any(fits.values()) else None
    return Plan(
        arch=arch,
        flash=sum(map(len, files.values())),
        exec_ram=exec_ram,
        buffers=buffers,
        ram=ram,
        peak_heap=ram + PACKAGE,
        instructions=instructions,
        milliseconds={
            f"{mhz} MHz": round(instructions * CYCLES / mhz / 1000, 2)
            for mhz in CLOCKS
            if instructions
        },
        cycles_per_instruction=CYCLES,
        fits=fits,
    )


def predict(arch: str, seq_len: int, embed_dim: int, num_heads: int) -> int:
    """Instructions of one inference: counted, or for many tokens continued from fewer.

    Their number is a * seq_len + b * seq_len**2 but for what is done once.
    """
    counts = {}
    few = (24, 12) if embed_dim <= MAX_INPUTS else (6, 3)
    for n in (seq_len,) if seq_len <= few[0] else few:
        made = count_layer(arch, "specialised", n, embed_dim, num_heads)
        counts[n] = made["counted"] + made["estimated_for_calls"]
    if seq_len in counts:
        return counts[seq_len]
    n, m = few
    b = (counts[n] / n - counts[m] / m) / (n - m)
    a = counts[m] / m - b * m
    return round(a * seq_len + b * seq_len**2)


def sizes(root: object, word: int) -> tuple[dict[str, int], int]:
    """The bytes of each array that an object holds, by attribute, and of all objects together."""
    block = 4 * word  # MicroPython's heap gives whole blocks
    buffers: dict[str, int] = {}
    seen: dict[int, object] = {}
    total = 0

    def blocks(n: int) -> int:
        return -(-n // block) * block

    def visit(value: object, name: str) -> None:
        nonlocal total
        if id(value) in seen or isinstance(
            value, (int, float, str, bytes, type, types.FunctionType, types.ModuleType)
        ):
            return
        seen[id(value)] = value
        if isinstance(value, memoryview):
            total += block
            visit(value.obj, name)
        elif isinstance(value, (array, bytearray)):
            size = len(memoryview(value).cast("B"))
            buffers[name] = buffers.get(name, 0) + size
            total += block + blocks(size)
        elif isinstance(value, (list, tuple)):
            total += blocks((2 + len(value)) * word)
            for item in value:
                visit(item, name)
        elif isinstance(value, dict):
            total += blocks(4 * word) + blocks(2 * word * len(value))
            for key, item in value.items():
                visit(item, f"{name}.{key}")
        elif hasattr(value, "__dict__"):
            total += blocks(5 * word) + blocks(2 * word * len(vars(value)))
            for key, item in vars(value).items():
                visit(item, f"{name}.{key}" if name else key)

    visit(root, "")
    return buffers, total
