"""`attn8 bench --isa`: instructions of the kernels' real machine code, counted one by one.

A whole layer is counted by running the device's own Python under CPython, with each of its viper
functions replaced by its machine code in an instruction emulator. What MicroPython's interpreter
spends around the kernels is estimated, from the costs that were measured of its calls.
"""

import builtins
import gc
import importlib
import shutil
import subprocess
import sys
import tempfile
import types
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ... import forms as turbo
from ... import isa
from ...cores.exact import exact_constants
from ...errors import Attn8Error
from ...numerics.integers import EXP2
from ...paths import DEVICE

# The layer's forms in what measure() gives, here and in on_board
LAYERS = ("layer", "layer_viper", "layer_naive", "layer_plain", "layer_c")
NAIVE_LAYER = Path(__file__).with_name("layer_naive.upy")
SEQ_LEN, EMBED_DIM, NUM_HEADS = 32, 64, 4
LABELS = {"simd": "simd (experimental)"}  # no chip has run it yet
# Machine instructions on an ESP32: of a viper call, of each of its arguments, of a Python call
VIPER_CALL, INT_ARGUMENT, BUFFER_ARGUMENT, PYTHON_CALL = 180, 48, 95, 905


def turbo_machine(arch: str, module: str = "turbo"):
    """An emulator with a module of turbo kernels, a key of turbo.MODULES, or "simd"."""
    machine = isa.machine_of(isa.mpy.read(turbo.build(arch, module)), arch, "")
    if module == "simd":
        machine.configid0 = isa.xtensa_simd.CONFIGID0
    return machine


@dataclass
class Tally:
    """What a run executed."""

    counted: Counter = field(default_factory=Counter)  # machine instructions by kernel
    calls: int = 0  # of kernels
    estimated: int = 0  # instructions of MicroPython's interpreter
    # What kernels took and returned by their sizes, where one call is to stand for all like it
    known: dict[tuple, tuple[int, int]] | None = None

    @property
    def instructions(self) -> int:
        return sum(self.counted.values()) + self.estimated

    def count(self, function: Callable, *arguments: object) -> None:
        """Calls a function of the device package and counts this call alone."""
        self.counted.clear()
        self.calls = self.estimated = 0

        def profile(frame, event, _):
            if event == "call" and str(DEVICE) in frame.f_code.co_filename:
                self.estimated += PYTHON_CALL

        sys.setprofile(profile)
        try:
            function(*arguments)
        finally:
            sys.setprofile(None)


@contextmanager
def device(arch: str, backend: str = "viper") -> Iterator[tuple[types.ModuleType, Tally]]:
    """The device package in CPython, its kernels in an emulator: (attn8, the running tally).

    Args:
        arch: "xtensawin" or "rv32imc".
        backend: with "turbo" it is to find the turbo kernels too, with "simd" those as well.
    """
    in_machine_code = {"turbo": [*turbo.MODULES], "simd": ["simd", *turbo.MODULES]}.get(backend, [])
    tally = Tally()
    machines: dict = {}
    sources: dict[str, str] = {}

    def viper(function: Callable) -> Callable:
        module, name = function.__module__, function.__name__
        if module not in sources:
            path = Path(sys.modules[module].__file__ or "")
            sources[module] = path.read_text()

        def call(*arguments):
            if module not in machines:
                machines[module] = isa.load(sources[module], arch)
            return run(machines[module], module, name, arguments)

        return call

    def run(machine, module: str, name: str, arguments: tuple) -> int:
        ints = [a for a in arguments if isinstance(a, int)]
        tally.calls += 1
        tally.estimated += VIPER_CALL + INT_ARGUMENT * len(ints)
        tally.estimated += BUFFER_ARGUMENT * (len(arguments) - len(ints))
        kernel = f"{module.rpartition('.')[2]}.{name}"
        call = (kernel, *ints)
        if tally.known is None or call not in tally.known:
            found = execute(machine, name, arguments), machine.instructions
            if tally.known is not None:
                tally.known[call] = found
        else:
            found = tally.known[call]
        tally.counted[kernel] += found[1]
        return found[0]

    def execute(machine, name: str, arguments: tuple) -> int:
        machine.reset()
        views = [None if isinstance(a, int) else memoryview(a).cast("B") for a in arguments]
        buffers = [None if view is None else machine.buffer(view) for view in views]
        placed = [a if b is None else b for a, b in zip(arguments, buffers, strict=True)]
        result = machine.call(name, *placed)
        for view, buffer in zip(views, buffers, strict=True):
            if view is not None and buffer is not None:
                buffer.check_guards()
                if not view.readonly:
                    view[:] = buffer.read().tobytes()
        return result

    def turbo_module(name: str) -> types.ModuleType:
        machine = turbo_machine(arch, name)
        module = types.ModuleType(f"attn8.kernels.{name}")
        for kernel in machine.functions:
            # What turbo kernels return is unsigned, or nothing
            setattr(module, kernel, lambda *arguments, kernel=kernel: run(
                machine, module.__name__, kernel, arguments) & 0xFFFFFFFF)
        sys.modules[module.__name__] = module
        return module

    def present(name: str):
        return turbo_module(name) if name in in_machine_code else None

    pointers = ("ptr8", "ptr16", "ptr32")
    before = _take_device_modules()
    stub = types.ModuleType("micropython")
    stub.viper = viper  # type: ignore[attr-defined]
    stub.native = lambda function: function  # type: ignore[attr-defined]
    sys.modules["micropython"] = stub
    addresses = types.ModuleType("uctypes")
    addresses.addressof = lambda buffer: buffer  # type: ignore[attr-defined]
    addresses.bytearray_at = (  # type: ignore[attr-defined]
        lambda buffer, size: memoryview(buffer).cast("B")[:size])
    sys.modules["uctypes"] = addresses
    objects = types.ModuleType("attn8.kernels.objects")
    objects.typecode = _counted(tally, 1, 0, _typecode)  # type: ignore[attr-defined]
    objects.overlap = _counted(tally, 2, 2, _overlap)  # type: ignore[attr-defined]
    sys.modules[objects.__name__] = objects
    sys.path.insert(0, str(DEVICE))
    for pointer in pointers:
        setattr(builtins, pointer, int)
    gc.mem_free = lambda: 1 << 30  # type: ignore[attr-defined]
    gc.threshold = lambda *amount: -1  # type: ignore[attr-defined]
    try:
        package = importlib.import_module("attn8")
        importlib.import_module("attn8.kernels").__dict__["_present"] = present
        yield package, tally
    finally:
        for pointer in pointers:
            delattr(builtins, pointer)
        del gc.mem_free, gc.threshold  # type: ignore[attr-defined]
        sys.path.remove(str(DEVICE))
        _take_device_modules()
        sys.modules.update(before)


def _counted(tally: Tally, buffers: int, ints: int, function: Callable) -> Callable:
    """What stands in for a viper function that reads MicroPython's objects."""

    def call(*arguments):
        tally.estimated += VIPER_CALL + BUFFER_ARGUMENT * buffers + INT_ARGUMENT * ints
        return function(*arguments)

    return call


def _typecode(x: object) -> int:
    if isinstance(x, (bytes, bytearray)):
        return ord("B") | (128 if isinstance(x, bytearray) else 0)
    if isinstance(x, array):
        return ord(x.typecode) | 128
    if isinstance(x, memoryview):
        return ord(x.format) | (0 if x.readonly else 128)
    return 0


def _overlap(a, size: int, b, other_size: int) -> int:
    return int(np.shares_memory(*(np.frombuffer(x, np.uint8) for x in (a, b))))


def _take_device_modules() -> dict[str, types.ModuleType]:
    """Takes what a run with other kernels may have imported out of sys.modules."""
    names = [n for n in sys.modules if n.partition(".")[0] in ("attn8", "micropython", "uctypes")]
    return {name: sys.modules.pop(name) for name in names}


def make_layer(attn8: types.ModuleType, seq_len: int, embed_dim: int, num_heads: int):
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
          num_heads: int = NUM_HEADS) -> dict:
    """Counts one MultiHeadAttention with the exact core.

    `backend` is "turbo", "simd" or "viper".
    """
    with device(arch, backend) as (attn8, tally):
        made, x = make_layer(attn8, seq_len, embed_dim, num_heads)
        tally.count(made, x)
    macs = 4 * seq_len * embed_dim**2 + 2 * seq_len**2 * embed_dim
    return {
        "name": f"MultiHeadAttention, {LABELS.get(backend, backend)}",
        "shape": [seq_len, embed_dim, num_heads],
        "instructions_per_mac": round(tally.instructions / macs, 3),
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


def kernel_counts(arch: str) -> list[dict]:
    """Each viper kernel on its own, on random operands."""
    rng = np.random.default_rng(0)
    rows = []

    def count(name: str, source: str | Path, call: str, shape: list[int], arguments: list,
              per: str = "mac") -> None:
        machine = isa.load(source, arch)
        placed = [machine.buffer(a) if isinstance(a, np.ndarray) else a for a in arguments]
        machine.call(call, *placed)
        work = int(np.prod(shape))
        rows.append({
            "name": name, "shape": shape,
            f"instructions_per_{per}": round(machine.instructions / work, 3),
        })

    def int8(*shape: int) -> np.ndarray:
        return rng.integers(-127, 128, shape).astype(np.int8)

    def words(n: int) -> np.ndarray:
        return np.zeros(n, np.int32)

    viper = DEVICE / "attn8/kernels"
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


def linear_counts(machine, form: str) -> list[dict]:
    """Linear attention over one head: its two products, and a streaming step with all it takes."""
    rng = np.random.default_rng(0)
    n, d = 32, 16

    def room(size: int, dtype: type) -> object:
        return machine.buffer(np.zeros(size, dtype))

    def run(name: str, *arguments) -> int:
        machine.call(name, *arguments)
        return machine.instructions

    k, v = (machine.buffer(rng.integers(-127, 128, n * d).astype(np.int8)) for _ in range(2))
    table = machine.buffer(np.maximum(np.arange(256) - 128, 1).astype(np.uint16))
    state, kv, z, sums = (room(size, np.int32) for size in (d * d, d * d, d, n))
    phi, row, out = room(n * d, np.uint16), room(d, np.uint16), room(n * d, np.int8)

    def products(tokens: int) -> tuple[int, int, int, int]:
        return (
            run("accumulate", state, 0, row, k, v, table, z, 0, tokens, d),
            run("shrink", state, 0, z, kv, d, d, (2**31 - 1) // (128 * d)),
            run("features", k, table, phi, 0, tokens, d),
            run("attend", kv, 0, phi, z, sums, out, 0, tokens, d, d, 2, 0, 1 << 29, 29),
        )

    accumulate, _, _, attend = products(n)
    return [
        {"name": name + form, "shape": [macs, d, d],
         "instructions_per_mac": round(work / (macs * d * d), 3)}
        for name, macs, work in (
            ("linear, K'^T V", n, accumulate),
            ("linear, Q' KV", n, attend),
            ("linear, one token", 2, sum(products(1))),
        )
    ]


def turbo_counts(arch: str, module: str = "turbo") -> list[dict]:
    """The turbo kernels on their own; how many instructions they run depends on the sizes alone.

    With the module "simd" those that have vector instructions, and no others. Those of sparse
    attention are counted by bench.density.
    """
    machine = turbo_machine(arch, module)
    simd = module == "simd"
    rows = []

    def count(name: str, call: str, shape: list[int], arguments: list, per: str = "mac") -> None:
        machine.reset()
        placed = [machine.buffer(a) if isinstance(a, np.ndarray) else a for a in arguments]
        machine.call(call, *placed)
        work = int(np.prod(shape))
        label = f"{name.partition(',')[0]}, {LABELS['simd']}" if simd else f"{name}, turbo"
        rows.append({
            "name": label, "shape": shape,
            f"instructions_per_{per}": round(machine.instructions / work, 3),
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
        count(name, "matmul", [rows_of_x, outputs, inputs],
              [room(outputs * inputs), 0, room(rows_of_x * inputs), constants, 0, 0, out,
               room(inputs), rows_of_x, inputs, outputs, wide])
    n, head_dim = 32, 16
    some = room(n * n)
    sums = np.ones(n, np.int32)
    count("scores", "scores", [n, n, head_dim],
          [some, 0, some, 0, some, some, 0, n, n, head_dim, 0])
    if simd:
        return rows
    count("weights x V", "weighted_sum", [n, n, head_dim],
          [some, 0, some, sums, some, 0, n, n, n, head_dim, 1 << 29, 29])
    count("softmax", "softmax", [n, n],
          [some, 0, some, sums, some, 0, n, n, 0, 20000, 19, 100000], "score")
    return rows + linear_counts(turbo_machine(arch, "turbo_linear"), ", turbo")


def measure(arch: str, backend: str = "turbo") -> dict:
    """All of `attn8 bench --isa`: kernels, the layer, and what they are compared with."""
    if backend == "simd":
        raise Attn8Error("the simd kernels are counted beside the turbo ones: without --backend")
    if arch not in isa.ARCHES:
        raise Attn8Error(f"no counter for {arch}; there are {', '.join(isa.ARCHES)}")
    viper = layer(arch, "viper")
    ours: dict = {}
    if backend == "turbo":
        ours = {"layer": layer(arch, "turbo"), "layer_viper": viper}
        if arch == "xtensawin":
            ours["experimental"] = [*turbo_counts(arch, "simd"), layer(arch, "simd")]
    return {
        "isa": arch,
        "method": "counted",
        "backend": backend,
        **(ours or {"layer": viper}),
        "layer_naive": layer_naive(arch),
        "layer_c": layer_in_c(arch),
        "kernels": (turbo_counts(arch) if backend == "turbo" else []) + kernel_counts(arch),
    }


def layer_naive(arch: str) -> dict:
    """The same layer in naive viper: a projection and a head are counted, four and all taken."""
    machine = isa.load(NAIVE_LAYER, arch)
    rng = np.random.default_rng(0)
    s, e, h = SEQ_LEN, EMBED_DIM, NUM_HEADS
    x, w = (rng.integers(-127, 128, n * e).astype(np.int8) for n in (s, e))
    constants = np.array([*exact_constants(e // h, 0.03, 0.03, 0.03, 0.02).values()], np.int32)
    x, w, constants, table, room, scores, weights = (
        machine.buffer(a) for a in (x, w, constants, EXP2.astype(np.uint16),
                                    np.zeros(s * e, np.int8), np.zeros(s, np.int32),
                                    np.zeros(s, np.uint16))
    )
    machine.call("project", x, w, room, s, e, 20000, 25)
    instructions = 4 * machine.instructions
    machine.call("attend", x, x, x, room, s, e, e // h, constants, table, scores, weights)
    instructions += h * machine.instructions
    macs = 4 * s * e * e + 2 * s * s * e
    return {
        "name": "MultiHeadAttention, naive viper",
        "shape": [s, e, h],
        "instructions_per_mac": round(instructions / macs, 3),
    }


def layer_in_c(arch: str) -> dict | None:
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
    room = [np.zeros(5 * s * e, np.int8), np.zeros(s, np.int32), np.zeros(s, np.uint16)]
    machine.call("layer", *(machine.buffer(a) for a in (x, w, values, EXP2.astype(np.uint16),
                                                        *room)))
    macs = 4 * s * e * e + 2 * s * s * e
    return {
        "name": "MultiHeadAttention in C, gcc -O2",
        "shape": [s, e, h],
        "instructions_per_mac": round(machine.instructions / macs, 3),
    }
