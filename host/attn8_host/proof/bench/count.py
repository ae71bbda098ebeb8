"""`attn8 bench --isa`: instructions of the kernels' real machine code, counted one by one."""

import shutil
import subprocess
import tempfile
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from ... import isa
from ...cores.exact import exact_constants
from ...errors import Attn8Error
from ...isa.device import Device, machine_of
from ...numerics.integers import EXP2
from ...paths import DEVICE
from . import published

# The layer's forms in what measure() gives, here and in on_board
LAYERS = ("layer", "layer_viper", "layer_naive", "layer_plain", "layer_c")
NAIVE_LAYER = Path(__file__).with_name("layer_naive.upy")
SEQ_LEN, EMBED_DIM, NUM_HEADS = 32, 64, 4
TURBO = {"xtensawin": "xtensa", "rv32imc": "rv32", "esp32s2": "s2"}  # the forms
LABELS = {"simd": "simd (experimental)"}  # no chip has run it yet


def make_layer(
    attn8: Any, seq_len: int, embed_dim: int, num_heads: int
) -> tuple[Any, "array[int]"]:
    """A MultiHeadAttention of the device package with random weights, and an input for it."""
    rng = np.random.default_rng(0)
    tensors = {}
    for part in ("q", "k", "v", "out"):
        weight = rng.integers(-127, 128, (embed_dim, embed_dim)).astype(np.int8)
        shift = 22 + int(np.ceil(np.log2(embed_dim) / 2))
        tensors[f"attn.{part}.weight"] = array("b", weight.tobytes())
        tensors[f"attn.{part}.bias"] = array("i", [0] * embed_dim)
        tensors[f"attn.{part}.mult"] = array("h", [20000] * embed_dim)
        tensors[f"attn.{part}.shift"] = array("b", [shift] * embed_dim)
    constants = exact_constants(embed_dim // num_heads, 0.03, 0.03, 0.03, 0.02)
    x = array("b", rng.integers(-127, 128, seq_len * embed_dim).astype(np.int8).tobytes())
    return attn8.MultiHeadAttention(seq_len, embed_dim, num_heads, tensors, constants), x


def layer(arch: str, backend: str, seq_len: int = SEQ_LEN, embed_dim: int = EMBED_DIM,
          num_heads: int = NUM_HEADS) -> dict[str, Any]:
    """Counts one MultiHeadAttention with the exact core.

    `backend` is "turbo", "simd" or "viper".
    """
    device = Device(arch, backend)
    tally = device.tally
    tally.count(*make_layer(device.attn8, seq_len, embed_dim, num_heads))
    macs = 4 * seq_len * embed_dim**2 + 2 * seq_len**2 * embed_dim
    return {
        "name": f"MultiHeadAttention, {LABELS.get(backend, backend)}",
        "shape": [seq_len, embed_dim, num_heads],
        "instructions_per_mac": round(tally.instructions / macs, 3),
        "cycles_per_mac": round(tally.cycles / macs, 3),
        "macs": macs,
        "counted": sum(tally.counted.values()),
        "estimated_for_calls": tally.estimated,
        "by_kernel": dict(tally.counted),
    }


NAIVE = """
import micropython


@micropython.viper
def matmul(x: ptr8, w: ptr8, out: ptr32, rows: int, inputs: int, outputs: int):
    for r in range(rows):
        for j in range(outputs):
            total = 0
            for k in range(inputs):
                a = x[r * inputs + k]
                if a > 127:
                    a -= 256
                b = w[j * inputs + k]
                if b > 127:
                    b -= 256
                total += a * b
            out[r * outputs + j] = total
"""


def kernel_counts(arch: str) -> list[dict[str, Any]]:
    """Each viper kernel on its own, on random operands."""
    rng = np.random.default_rng(0)
    rows = []

    def count(name: str, source: str | Path, call: str, shape: list[int], arguments: list[Any],
              per: str = "mac") -> None:
        machine = isa.load(source, arch)
        placed = [machine.buffer(a) if isinstance(a, np.ndarray) else a for a in arguments]
        machine.call(call, *placed)
        work = int(np.prod(shape))
        rows.append({
            "name": name, "shape": shape,
            f"instructions_per_{per}": round(machine.instructions / work, 3),
            f"cycles_per_{per}": round(machine.cycles / work, 3),
        })

    def int8(*shape: int) -> np.ndarray:
        return rng.integers(-127, 128, shape).astype(np.int8)

    def words(n: int) -> np.ndarray:
        return np.zeros(n, np.int32)

    viper = DEVICE / "attn8/forms/viper"
    for name, n, m, inputs, wide in (
        ("matvec, int32 out", 1, 256, 64, 1),
        ("matvec, int32 out", 1, 64, 64, 1),
        ("matmul, int8 out", 33, 64, 64, 0),
        ("matmul, int8 out", 33, 64, 16, 0),
    ):
        operands = [int8(m * inputs), 0, int8(n * inputs), words(m), np.full(m, 20000, np.int16),
                    np.full(m, 26, np.int8), words(n * m), int8(inputs), n, inputs, m, wide]
        count(f"{name}, viper", viper / "matmul.py", "matmul", [n, m, inputs], operands)
    n, head_dim = 32, 16
    operands = [int8(n * head_dim), 0, int8(n * head_dim), words(n), words(n * n),
                int8(head_dim), 0, n, n, head_dim, 0]
    count("scores, viper", viper / "attention.py", "scores", [n, n, head_dim], operands)
    weights = rng.integers(0, 32768, (n, n)).astype(np.uint16)
    operands = [int8(n * head_dim), 0, weights, weights.sum(axis=1).astype(np.int32),
                int8(n * head_dim), 0, n, n, n, head_dim, 1 << 29, 29]
    count("weights x V, viper", viper / "attention.py", "weighted_sum", [n, n, head_dim], operands)
    operands = [rng.integers(-40000, 40000, (n, n)).astype(np.int32), 0,
                np.zeros((n, n), np.uint16), words(n), EXP2.astype(np.uint16), 0, n, n, 0, 20000,
                19, 100000]
    count("softmax, viper", viper / "attention.py", "softmax", [n, n], operands, "score")
    n, m, inputs = 33, 64, 64
    operands = [int8(n * inputs), int8(m * inputs), words(n * m), n, inputs, m]
    count("matmul, int32 out, naive viper", NAIVE, "matmul", [n, m, inputs], operands)
    return rows + linear_counts(isa.load(viper / "linear.py", arch), ", viper")


def linear_counts(machine: Any, form: str) -> list[dict[str, Any]]:
    """Linear attention over one head: its two products, and a streaming step with all it takes."""
    rng = np.random.default_rng(0)
    n, d = 32, 16

    def room(size: int, dtype: type) -> object:
        return machine.buffer(np.zeros(size, dtype))

    def run(name: str, *arguments: Any) -> np.ndarray:
        machine.call(name, *arguments)
        return np.array([machine.instructions, machine.cycles])

    k, v = (machine.buffer(rng.integers(-127, 128, n * d).astype(np.int8)) for _ in range(2))
    table = machine.buffer(np.maximum(np.arange(256) - 128, 1).astype(np.uint16))
    state, kv, z, sums = (room(size, np.int32) for size in (d * d, d * d, d, n))
    phi, row, out = room(n * d, np.uint16), room(d, np.uint16), room(n * d, np.int8)

    def products(tokens: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return (
            run("accumulate", state, 0, row, k, v, table, z, 0, tokens, d),
            run("shrink", state, 0, z, kv, d, d, (2**31 - 1) // (128 * d)),
            run("features", k, table, phi, 0, tokens, d),
            run("attend", kv, 0, phi, z, sums, out, 0, tokens, d, d, 2, 0, 1 << 29, 29),
        )

    accumulate, _, _, attend = products(n)
    return [
        {"name": name + form, "shape": [macs, d, d],
         "instructions_per_mac": round(float(work[0] / (macs * d * d)), 3),
         "cycles_per_mac": round(float(work[1] / (macs * d * d)), 3)}
        for name, macs, work in (
            ("linear, K'^T V", n, accumulate),
            ("linear, Q' KV", n, attend),
            ("linear, one token", 2, np.sum(products(1), axis=0)),
        )
    ]


def turbo_counts(form: str) -> list[dict[str, Any]]:
    """Kernels in machine code on their own; how many instructions they run depends on the sizes
    alone.

    Of the form simd those that have vector instructions, and no others. Those of sparse attention
    are counted by bench.density.
    """
    simd = form == "simd"
    rows = []

    def count(
        family: str, name: str, call: str, shape: list[int], arguments: list[Any], per: str = "mac"
    ) -> None:
        machine = machine_of(form, family)
        placed = [machine.buffer(a) if isinstance(a, np.ndarray) else a for a in arguments]
        machine.call(call, *placed)
        work = int(np.prod(shape))
        label = f"{name.partition(',')[0]}, {LABELS['simd']}" if simd else f"{name}, turbo"
        rows.append({
            "name": label, "shape": shape,
            f"instructions_per_{per}": round(machine.instructions / work, 3),
            f"cycles_per_{per}": round(machine.cycles / work, 3),
        })

    def room(n: int) -> np.ndarray:
        return np.zeros(n, np.int32)

    for name, rows_of_x, outputs, inputs, wide in (
        ("matvec, int32 out", 1, 256, 64, 1),
        ("matvec, int32 out", 1, 64, 64, 1),
        ("matmul, int8 out", 33, 64, 64, 0),
        ("matmul, int8 out", 33, 64, 16, 0),
    ):
        out, constants = room(rows_of_x * outputs), room(4 * outputs)
        mult, shift = np.full(outputs, 20000, np.int16), np.full(outputs, 25, np.int8)
        count("matmul", name, "matmul", [rows_of_x, outputs, inputs],
              [room(outputs * inputs), 0, room(rows_of_x * inputs), constants, mult, shift, out,
               room(inputs * (1 + rows_of_x)), rows_of_x, inputs, outputs, wide])
    n, head_dim = 32, 16
    some = room(n * n)
    sums = np.ones(n, np.int32)
    count("attention", "scores", "scores", [n, n, head_dim],
          [some, 0, some, 0, some, some, 0, n, n, head_dim, 0])
    if simd:
        return rows
    count("attention", "weights x V", "weighted_sum", [n, n, head_dim],
          [some, 0, some, sums, some, 0, n, n, n, head_dim, 1 << 29, 29])
    count("attention", "softmax", "softmax", [n, n],
          [some, 0, some, sums, some, 0, n, n, 0, 20000, 19, 100000], "score")
    if "attend" in machine_of(form, "attention").functions:
        count("attention", "a head, softmax included", "attend", [2, n, n, head_dim],
              [some, 0, some, some, some, some, some, some, 0, 0, n, n, head_dim, head_dim, 0,
               20000, 19, 100000, 1 << 29, 29])
    return rows + linear_counts(machine_of(form, "linear"), ", turbo")


def measure(arch: str, backend: str = "turbo") -> dict[str, Any]:
    """All of `attn8 bench --isa`: kernels, the layer, and what they are compared with."""
    if backend == "simd":
        raise Attn8Error("the simd kernels are counted beside the turbo ones: without --backend")
    if arch not in isa.ISAS:
        raise Attn8Error(f"no counter for {arch}; there are {', '.join(isa.ISAS)}")
    viper = layer(arch, "viper")
    ours: dict[str, Any] = {}
    if backend == "turbo":
        ours = {"layer": layer(arch, "turbo"), "layer_viper": viper}
        if arch == "xtensawin":
            ours["experimental"] = [*turbo_counts("simd"), layer(arch, "simd")]
    return {
        "isa": arch,
        "method": "counted",
        "backend": backend,
        **(ours or {"layer": viper}),
        "layer_naive": layer_naive(arch),
        "layer_c": layer_in_c(arch),
        "published": published.figures() if arch == "xtensawin" else [],
        "kernels": (turbo_counts(TURBO[arch]) if backend == "turbo" else []) + kernel_counts(arch),
    }


def layer_naive(arch: str) -> dict[str, Any]:
    """The same layer in naive viper: a projection and a head are counted, four and all taken."""
    machine = isa.load(NAIVE_LAYER, arch)
    rng = np.random.default_rng(0)
    s, e, h = SEQ_LEN, EMBED_DIM, NUM_HEADS
    numbers = [*exact_constants(e // h, 0.03, 0.03, 0.03, 0.02).values()]
    operands: list[np.ndarray] = [
        *(rng.integers(-127, 128, n * e).astype(np.int8) for n in (s, e)),
        np.array(numbers, np.int32), EXP2.astype(np.uint16),
        np.zeros(s * e, np.int8), np.zeros(s, np.int32), np.zeros(s, np.uint16),
    ]
    x, w, constants, table, room, scores, weights = map(machine.buffer, operands)
    machine.call("project", x, w, room, s, e, 20000, 25)
    instructions, cycles = 4 * machine.instructions, 4 * machine.cycles
    machine.call("attend", x, x, x, room, s, e, e // h, constants, table, scores, weights)
    instructions += h * machine.instructions
    cycles += h * machine.cycles
    macs = 4 * s * e * e + 2 * s * s * e
    return {
        "name": "MultiHeadAttention, naive viper",
        "shape": [s, e, h],
        "instructions_per_mac": round(instructions / macs, 3),
        "cycles_per_mac": round(cycles / macs, 3),
    }


def layer_in_c(arch: str) -> dict[str, Any] | None:
    """The same layer in C at -O2, where Debian's gcc-riscv64-unknown-elf is; else None."""
    compiler = shutil.which("riscv64-unknown-elf-gcc")
    if arch != "rv32imc" or not compiler:
        return None
    source = Path(__file__).with_name("layer.c")
    with tempfile.TemporaryDirectory() as folder:
        linked, image = Path(folder) / "layer.elf", Path(folder) / "layer.bin"
        command = [compiler, "-march=rv32imc", "-mabi=ilp32", "-O2", "-ffreestanding", "-nostdlib",
                   "-fno-builtin", "-fno-toplevel-reorder", "-Wl,-Ttext=0x100000",
                   "-o", str(linked), str(source)]
        for line in (command, ["riscv64-unknown-elf-objcopy", "-O", "binary", "-j", ".text",
                               str(linked), str(image)]):
            done = subprocess.run(line, capture_output=True, text=True)
            if done.returncode:
                raise Attn8Error(f"{line[0]}: {done.stderr.strip().splitlines()[-1]}")
        machine = isa.MACHINES[arch]({"layer": image.read_bytes()}, [])
    rng = np.random.default_rng(0)
    s, e, h = SEQ_LEN, EMBED_DIM, NUM_HEADS
    x = rng.integers(-127, 128, s * e).astype(np.int8)
    w = rng.integers(-127, 128, 4 * e * e).astype(np.int8)
    constants = exact_constants(e // h, 0.03, 0.03, 0.03, 0.02)
    values = np.array([s, e, h, 20000, 25, *constants.values()], np.int32)
    operands: list[np.ndarray] = [
        x, w, values, EXP2.astype(np.uint16), np.zeros(5 * s * e, np.int8), np.zeros(s, np.int32),
        np.zeros(s, np.uint16),
    ]
    machine.call("layer", *map(machine.buffer, operands))
    macs = 4 * s * e * e + 2 * s * s * e
    return {
        "name": "MultiHeadAttention in C, gcc -O2",
        "shape": [s, e, h],
        "instructions_per_mac": round(machine.instructions / macs, 3),
        "cycles_per_mac": round(machine.cycles / macs, 3),
    }
