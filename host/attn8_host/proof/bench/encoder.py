"""Instructions of a whole transformer encoder layer: pre-LN, GELU, as PyTorch has it."""

from array import array
from collections import Counter
from typing import Any

import numpy as np

from ...cores.exact import exact_constants
from ...isa.device import Device, Tally
from ...layers.layer_norm import norm_constants
from ...numerics.scales import requant_constants

SEQ_LEN, EMBED_DIM, NUM_HEADS, HIDDEN = 64, 32, 4, 64
MACS = SEQ_LEN * (4 * EMBED_DIM**2 + 2 * SEQ_LEN * EMBED_DIM + 2 * EMBED_DIM * HIDDEN)
STEP = 1 / 1024  # of the stream
BACKENDS = ("turbo", "viper")


class Encoder:
    """The layers of the device package with random weights; what each of them takes is counted."""

    def __init__(self, attn8: Any, dense: Any, lookup: Any):
        self._rng = np.random.default_rng(0)
        n = SEQ_LEN * EMBED_DIM
        parts = [f"attention.{part}" for part in ("q", "k", "v")]
        tensors = {f"{part}.{key}": values for part in parts
                   for key, values in self._linear(EMBED_DIM, EMBED_DIM, 0.03).items()}
        tensors |= {f"attention.out.{key}": values
                    for key, values in self._linear(EMBED_DIM, EMBED_DIM, STEP).items()}
        constants = exact_constants(EMBED_DIM // NUM_HEADS, 0.03, 0.03, 0.03, 0.02)
        attention = attn8.MultiHeadAttention(SEQ_LEN, EMBED_DIM, NUM_HEADS, tensors, constants,
                                             name="attention", output="int16")

        def feed(name: str, inputs: int, outputs: int, scale: float, output: str) -> Any:
            made = self._linear(outputs, inputs, scale)
            return dense.Dense(dense.Linear(name, inputs, outputs, **made, output=output), SEQ_LEN)

        self._layers = {
            "norm1": self._norm(attn8), "attention": attention, "add1": attn8.Add(n),
            "norm2": self._norm(attn8), "ff1": feed("ff1", EMBED_DIM, HIDDEN, 0.03, "int8"),
            "gelu": lookup.Lookup(SEQ_LEN * HIDDEN, array("b", range(-128, 128))),
            "ff2": feed("ff2", HIDDEN, EMBED_DIM, STEP, "int16"), "add2": attn8.Add(n),
        }
        self._x = array("h", self._rng.normal(0, 1 / STEP, n).astype(np.int16).tobytes())

    def _linear(self, outputs: int, inputs: int, scale: float) -> dict[str, "array[int]"]:
        """Weights whose results have about the scale of what they take, 0.03 a step."""
        weight = self._rng.integers(-127, 128, (outputs, inputs)).astype(np.int8)
        mult, shift = requant_constants(0.03 * inputs**-0.5 / 73 / scale)
        return {"weight": array("b", weight.tobytes()), "bias": array("i", [0] * outputs),
                "mult": array("h", [mult] * outputs), "shift": array("b", [shift] * outputs)}

    def _norm(self, attn8: Any) -> Any:
        ones, zeros = np.ones(EMBED_DIM), np.zeros(EMBED_DIM)
        constants, made = norm_constants(ones, zeros, 1e-5, STEP, 0.03)
        tensors = {part: array("i", values.tobytes()) for part, values in made.items()}
        return attn8.LayerNorm(SEQ_LEN, **tensors, **constants)

    def count(self, tally: Tally) -> dict[str, Counter[str]]:
        """Runs the layer -> machine instructions of each part by kernel, and "around kernels" what
        the interpreter takes, estimated.
        """
        found = {}
        self.cycles = 0
        given: dict[str, Any] = {"x": self._x}

        def run(name: str, *sources: str) -> None:
            layer = self._layers[name]

            def keep(*arguments: Any) -> None:
                given[name] = layer(*arguments)

            tally.count(keep, *(given[source] for source in sources))
            found[name] = tally.counted + Counter({"around kernels": tally.estimated})
            self.cycles += tally.cycles

        run("norm1", "x")
        run("attention", "norm1")
        attention = self._layers["attention"]
        tally.count(attention.out.run, attention.heads)
        found["out"] = Counter(tally.counted)
        found["attention"] -= found["out"]
        run("add1", "x", "attention")
        run("norm2", "add1")
        run("ff1", "norm2")
        run("gelu", "ff1")
        run("ff2", "gelu")
        run("add2", "add1", "ff2")
        return found


def measure(arch: str, backend: str) -> dict[str, Any]:
    """Counts the layer on one architecture, with one word of `forms.backends`.

    Returns:
        `instructions_per_mac`: all, the interpreter's included, over all multiply-accumulates of
        its products; `cycles_per_mac`, what they take by isa.pipeline; `parts`, instructions by
        part, those of the heads by kernel; `per_element`, instructions of machine code for one
        value of those that are no product.
    """
    device = Device(arch, backend)
    encoder = Encoder(device.attn8, device.load("attn8.layers.dense"), device.load("attn8.lookup"))
    found = encoder.count(device.tally)
    parts: Counter[str] = Counter()
    for name, counted in found.items():
        if name == "attention":
            for kernel, instructions in counted.items():
                part = kernel.rpartition(".")[2]
                parts["q, k, v" if part == "matmul" else f"attention, {part}"] += instructions
        else:
            parts[name] += sum(counted.values())
    total = sum(parts.values())
    elements = SEQ_LEN * EMBED_DIM
    return {
        "name": f"encoder layer, {backend}",
        "isa": arch,
        "shape": [SEQ_LEN, EMBED_DIM, NUM_HEADS, HIDDEN],
        "instructions_per_mac": round(total / MACS, 3),
        "cycles_per_mac": round(encoder.cycles / MACS, 3),
        "macs": MACS,
        "parts": dict(parts),
        "per_element": {
            name: round(kernels(found[part]) / size, 2)
            for name, part, size in (("layer_norm", "norm1", elements),
                                     ("gelu", "gelu", SEQ_LEN * HIDDEN), ("add", "add1", elements))
        },
    }


def kernels(counted: Counter[str]) -> int:
    """Instructions of machine code alone."""
    return sum(counted.values()) - counted["around kernels"]
