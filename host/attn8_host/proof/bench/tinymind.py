"""The encoder layer of TinyMind, the C++ peer with the most layers, from a checkout of its source.

It has one head and no output projection, int8 between all layers, and one scale a layer; its
activation is a look-up, as ours. So its products are fewer than ours.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ... import isa
from ...errors import Attn8Error

ARCH = "rv32imc"
COMPILER = "riscv64-unknown-elf-g++"
SOURCE = Path(__file__).with_name("tinymind.cpp")
SEQ_LEN, EMBED_DIM, HIDDEN = 64, 32, 64
MACS = SEQ_LEN * (3 * EMBED_DIM**2 + 2 * SEQ_LEN * EMBED_DIM + 2 * EMBED_DIM * HIDDEN)
# The number of each part in SOURCE
PARTS = {"norm1": 0, "attention": 1, "add1": 2, "norm2": 0, "ff1": 3, "gelu": 4, "ff2": 5,
         "add2": 2}  # fmt: skip
# What its headers need of a C++ library, where a compiler has none
HEADERS = {"cstddef": "#include <stddef.h>\nnamespace std { using ::size_t; }\n",
           "cstdint": "#include <stdint.h>\n"}  # fmt: skip


def build(checkout: Path) -> bytes:
    """The machine code of SOURCE, g++ -O2.

    Raises:
        Attn8Error: there is no compiler, no such checkout, or it does not compile.
    """
    if not shutil.which(COMPILER):
        raise Attn8Error(f"{COMPILER} is missing: install it (Debian: gcc-riscv64-unknown-elf)")
    if not (checkout / "cpp/qattention_softmax.hpp").is_file():
        raise Attn8Error(f"{checkout}: expected a checkout of github.com/danmcleran/tinymind")
    with tempfile.TemporaryDirectory() as folder:
        linked, image = Path(folder) / "layer.elf", Path(folder) / "layer.bin"
        for name, text in HEADERS.items():
            (Path(folder) / name).write_text(text)
        compile_ = [COMPILER, "-march=rv32imc", "-mabi=ilp32", "-O2", "-std=c++17",
                    "-ffreestanding",
                    "-fno-exceptions", "-fno-rtti", "-nostdlib", "-fno-toplevel-reorder",
                    "-DTINYMIND_ENABLE_FLOAT=0", "-DTINYMIND_ENABLE_STD=0",
                    "-I", str(checkout / "cpp"), "-idirafter", folder,
                    "-Wl,-Ttext=0x100000", "-Wl,-e,entry",
                    "-o", str(linked), str(SOURCE), "-lgcc"]
        copy = ["riscv64-unknown-elf-objcopy", "-O", "binary", "-j", ".text", str(linked),
                str(image)]
        for line in (compile_, copy):
            done = subprocess.run(line, capture_output=True, text=True)
            if done.returncode:
                raise Attn8Error(f"{line[0]}: {done.stderr.strip().splitlines()[-1]}")
        return image.read_bytes()


def measure(checkout: Path) -> dict[str, Any]:
    """Counts it part by part, as proof.bench.encoder does ours.

    Raises:
        Attn8Error: as `build`.
    """
    machine = isa.MACHINES[ARCH]({"part": build(checkout)}, [])
    rng = np.random.default_rng(0)
    operands: list[np.ndarray] = [
        rng.integers(-127, 128, SEQ_LEN * HIDDEN).astype(np.int8),
        rng.integers(-127, 128, 3 * EMBED_DIM**2).astype(np.int8),
        np.exp2(16 - np.arange(256) / 16).astype(np.int32),
        np.zeros(3 * SEQ_LEN * EMBED_DIM + 2 * SEQ_LEN**2, np.int8),
        np.zeros(SEQ_LEN * HIDDEN, np.int8),
    ]
    placed = [machine.buffer(operand) for operand in operands]
    parts, cycles = {}, 0
    for name, number in PARTS.items():
        machine.call("part", number, *placed)
        parts[name] = machine.instructions
        cycles += machine.cycles
    elements = SEQ_LEN * EMBED_DIM
    return {
        "name": "encoder layer, TinyMind, g++ -O2",
        "isa": ARCH,
        "shape": [SEQ_LEN, EMBED_DIM, 1, HIDDEN],
        "instructions_per_mac": round(sum(parts.values()) / MACS, 3),
        "cycles_per_mac": round(cycles / MACS, 3),
        "macs": MACS,
        "parts": parts,
        "per_element": {"layer_norm": round(parts["norm1"] / elements, 2),
                        "gelu": round(parts["gelu"] / (SEQ_LEN * HIDDEN), 2),
                        "add": round(parts["add1"] / elements, 2)},
    }
