"""Cycles of C and of the vendor's assembly on Xtensa chips, as others published them, for `attn8
bench`: no compiler for these chips is needed here. What they measured is in docs/forms.md.
"""

from math import prod
from typing import Any

DSP = "https://github.com/espressif/esp-dsp/blob/35106fb/docs/en/esp-dsp-benchmarks.rst"
NN = "https://github.com/espressif/esp-nn/blob/0798b58/README.md"
# What, its shape, whose products are as many as its numbers multiply to, cycles in C, and source
FIGURES = [
    ("dot product of int16 in C, ESP-DSP", [256], 3647, DSP),
    ("matmul of int16 in C, ESP-DSP", [16, 16, 16], 83699, DSP),
    ("dot product of int8 in C, ESP-DSP", [64, 64], 58068, DSP),
    ("convolution of int8 in C, ESP-NN, S3", [100, 64, 64], 4642259, NN),
    ("convolution of int8 in C, ESP-NN, S3", [64, 16, 16], 300032, NN),
    ("matvec of int8 in C, ESP-NN, S3", [1, 3, 265], 12290, NN),
]


def figures() -> list[dict[str, Any]]:
    """A row each: name, shape, cycles_per_mac and source."""
    return [{"name": name, "shape": shape, "cycles_per_mac": round(cycles / prod(shape), 3),
             "source": source} for name, shape, cycles, source in FIGURES]
