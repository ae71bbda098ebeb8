"""How the cores' cost grows with the length of a sequence, in instructions of the chips."""

from array import array

import pytest

from attn8_host.bench.isa import device
from attn8_host.quantize import CONSTANTS
from tools import isa

HEAD_DIM = 16
OPTIONS = {"Sliding": {"window": 16}}


def instructions(arch: str, name: str, seq_len: int) -> int:
    options = OPTIONS.get(name, {})
    constants = CONSTANTS[name.lower()](HEAD_DIM, 0.03, 0.03, 0.03, 0.02, **options)
    x = array("b", [(i * 37) % 255 - 127 for i in range(seq_len * HEAD_DIM)])
    out = array("b", bytes(len(x)))
    with device(arch, {}) as (attn8, tally):
        core = getattr(attn8, name)(seq_len, HEAD_DIM, **constants, **options)
        tally.counted.clear()
        core(x, x, x, out)
    return sum(tally.counted.values())


@pytest.mark.parametrize("arch", isa.ARCHES)
@pytest.mark.parametrize("name", ["Linear", "Sliding"])
def test_linear_and_sliding_grow_with_the_length(arch, name):
    assert instructions(arch, name, 256) <= 1.1 * 4 * instructions(arch, name, 64)


@pytest.mark.parametrize("arch", isa.ARCHES)
def test_exact_grows_with_its_square(arch):
    assert instructions(arch, "Exact", 128) > 0.75 * 4**2 * instructions(arch, "Exact", 32)
