"""llama2.c's run.c and runq.c, from a checkout of its source, beside a model of text of ours.

Both compute a token with the weights of one random checkpoint of the same sizes, software floats
and picolibc's mathematics; what run.c gives is what our float model gives.
"""

import math
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ... import float_model, isa
from ...errors import Attn8Error
from ...importers import llama2c
from ...layers.grouped_attention import kv_heads
from ...model import Model
from ...plan.inference import POSITION, predict
from .count import layer_naive

ARCH = "rv32imc"
COMPILER = "riscv64-unknown-elf-gcc"
SOURCE = Path(__file__).with_name("llama2c.c")
SCRIPT = ("SECTIONS { .text 0x100000 : "
          "{ *(.text.entry) *(.text*) *(.*rodata*) *(.*data*) *(.*bss*) } }")
# What run.c includes of a system, for functions that forward() does not call
MMAN = """#define PROT_READ 0
#define MAP_PRIVATE 0
#define MAP_FAILED 0
void *mmap(void *, unsigned, int, int, int, int);
int munmap(void *, unsigned);
"""
PLAIN = 38  # times that plain MicroPython takes of naive viper, the least that was timed of it
MOST = 1e-3  # difference of the logits of run.c from ours in floats, as shares of the largest


def build(checkout: Path, file: str, group: int) -> bytes:
    """The machine code of forward() in run.c or runq.c, gcc -O2.

    Args:
        group: values of a group of runq.c, which a checkpoint says.

    Raises:
        Attn8Error: there is no compiler, no such checkout, or it does not compile.
    """
    if not shutil.which(COMPILER):
        raise Attn8Error(f"{COMPILER} is missing: install it (Debian: gcc-riscv64-unknown-elf, "
                         "picolibc-riscv64-unknown-elf)")
    if not (checkout / file).is_file():
        raise Attn8Error(f"{checkout}: expected a checkout of github.com/karpathy/llama2.c")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sys").mkdir()
        (folder / "sys/mman.h").write_text(MMAN)
        text = (checkout / file).read_text()
        (folder / file).write_text(text.replace("int GS = 0;", f"int GS = {group};"))
        (folder / "script.ld").write_text(SCRIPT)
        linked, image = folder / "run.elf", folder / "run.bin"
        compile_ = [COMPILER, "--specs=picolibc.specs", "-march=rv32imc", "-mabi=ilp32", "-O2",
                    "-w", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections",
                    "-nostartfiles", f'-DSOURCE="{folder / file}"', "-I", str(folder),
                    "-Wl,-e,entry", "-T", str(folder / "script.ld"), "-o", str(linked),
                    str(SOURCE), "-lm"]
        copy = ["riscv64-unknown-elf-objcopy", "-O", "binary", "-j", ".text", str(linked),
                str(image)]
        for line in (compile_, copy):
            done = subprocess.run(line, capture_output=True, text=True)
            if done.returncode:
                raise Attn8Error(f"{line[0]}: {done.stderr.strip().splitlines()[-1]}")
        return image.read_bytes()


def sizes_of(model: Model) -> dict[str, int]:
    """Those of a model of text, as a checkpoint of llama2.c names them."""
    entries = {entry["name"]: entry for entry in model.config["layers"]}
    blocks = [entry for entry in entries.values() if entry["type"] == "grouped_attention"]
    if not blocks or "layers.0.w1" not in entries or entries["head"]["type"] != "tied_head":
        raise Attn8Error(f"{model.name}: expected a model of llama2.c with a tied head")
    return {"dim": blocks[0]["embed_dim"], "hidden_dim": entries["layers.0.w1"]["out_features"],
            "layers": len(blocks), "heads": blocks[0]["num_heads"],
            "kv_heads": kv_heads(blocks[0]), "vocab_size": entries["words"]["vocab_size"],
            "context": blocks[0]["seq_len"]}


def weights(sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Random ones by their names in run.c, in the order of a legacy checkpoint."""
    rng = np.random.default_rng(0)
    n, e, h = sizes["layers"], sizes["dim"], sizes["hidden_dim"]
    kv = e // sizes["heads"] * sizes["kv_heads"]
    shapes = {"q_tokens": (sizes["vocab_size"], e), "rms_att_weight": (n, e), "wq": (n, e, e),
              "wk": (n, kv, e), "wv": (n, kv, e), "wo": (n, e, e), "rms_ffn_weight": (n, e),
              "w1": (n, h, e), "w2": (n, e, h), "w3": (n, h, e), "rms_final_weight": (e,)}
    return {key: (rng.normal(0, shape[-1] ** -0.5, shape) + key.startswith("rms")).astype("<f4")
            for key, shape in shapes.items()}


def grouped(made: dict[str, np.ndarray], group: int) -> bytes:
    """The weights as memory_map_weights of runq.c takes them: int8 in groups, each with a scale."""
    norms = ("rms_att_weight", "rms_ffn_weight", "rms_final_weight")
    data = [made[key].tobytes() for key in norms]
    for key, values in made.items():
        if key not in norms:
            for matrix in values.reshape(-1, *values.shape[-2:]):
                rows = matrix.reshape(-1, group)
                scale = np.maximum(np.abs(rows).max(axis=1, keepdims=True) / 127, 1e-9)
                data += [np.rint(rows / scale).astype(np.int8).tobytes(),
                         scale.astype("<f4").tobytes()]
    return b"".join(data)


def measure(model: Model, checkout: Path) -> list[dict[str, Any]]:
    """A token at POSITION: instructions and cycles of run.c, of runq.c and of ours.

    Raises:
        Attn8Error: as `build`, or run.c gives other logits than our float model.
    """
    sizes = sizes_of(model)
    tokens = np.arange(POSITION) * 31 % sizes["vocab_size"]
    made = weights(sizes)
    header = struct.pack("<7i", *(sizes[key] for key in llama2c.NAMES))
    tables = bytes(4 * sizes["context"] * (sizes["dim"] // sizes["heads"]))
    floats = b"".join(values.tobytes() for values in made.values())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.bin"
        path.write_bytes(header + floats + tables)
        outputs = float_model.run(*llama2c.read(path, POSITION), tokens)
    kv = sizes["dim"] // sizes["heads"] * sizes["kv_heads"]
    caches = np.zeros((2, sizes["layers"], sizes["context"], kv), np.float32)
    for i in range(sizes["layers"]):
        k, v = (outputs[f"layers.{i}.attention.{part}"] for part in "kv")
        caches[0, i, :POSITION] = k
        caches[1, i, :POSITION] = v.transpose(1, 0, 2).reshape(POSITION, kv)
    caches[:, :, POSITION - 1] = 0  # this token's are not there yet
    want = outputs["head"][-1]
    group = math.gcd(64, sizes["dim"], sizes["hidden_dim"])
    results = []
    for file, data in (("run.c", floats), ("runq.c", grouped(made, group))):
        machine = isa.MACHINES[ARCH]({"forward": build(checkout, file, group)}, [])
        room = machine.buffer(np.zeros(1 << 20, np.uint8))
        placed = [machine.buffer(each) for each in (
            np.frombuffer(header, np.int32), np.frombuffer(data, np.uint8))]
        keys, values = (machine.buffer(cache) for cache in caches)
        machine.call("forward", 0, *placed, room, keys, values)
        address = machine.call("forward", 1, int(tokens[-1]), POSITION - 1, room)
        logits = np.frombuffer(machine.read_memory(address, 4 * len(want)), np.float32)
        difference = float(np.abs(logits - want).max() / np.abs(want).max())
        if file == "run.c" and not difference <= MOST:
            raise Attn8Error(f"{file}: its logits differ from our float model's by "
                             f"{difference:.2g}, more than {MOST:g}")
        results.append({"name": f"llama2.c's {file}, gcc -O2", "instructions": machine.instructions,
                        "cycles": machine.cycles, "difference": difference})
    instructions, cycles = predict(model.config, model.tensors, ARCH, "turbo")
    results.append({"name": "attn8", "instructions": instructions, "cycles": cycles})
    # The naive layer's for as many products, and how much longer its source takes without types
    naive = layer_naive(ARCH)["instructions_per_mac"]
    results.append({"name": "plain MicroPython, by estimate", "cycles": None,
                    "instructions": int(PLAIN * naive * products(sizes))})
    return results


def products(sizes: dict[str, int]) -> int:
    """Of a token at POSITION: with all weights, and of queries with keys and weights with values.
    """
    e, kv = sizes["dim"], sizes["dim"] // sizes["heads"] * sizes["kv_heads"]
    block = 2 * e * e + 2 * e * kv + 3 * e * sizes["hidden_dim"] + 2 * e * POSITION
    return sizes["layers"] * block + sizes["vocab_size"] * e
