"""How the cores' cost grows with the length of a sequence, in instructions of the chips."""

import re
from array import array

import pytest

from attn8_host import cores, isa
from attn8_host.isa.device import Device
from attn8_host.paths import DEVICE

HEAD_DIM = 16


def instructions(arch: str, name: str, seq_len: int, **options) -> int:
    constants = cores.get(name.lower()).make_constants(HEAD_DIM, 0.03, 0.03, 0.03, 0.02, **options)
    x = array("b", [(i * 37) % 255 - 127 for i in range(seq_len * HEAD_DIM)])
    out = array("b", bytes(len(x)))
    device = Device(arch)
    core = getattr(device.attn8, name)(seq_len, HEAD_DIM, **constants, **options)
    device.tally.counted.clear()
    core(x, x, x, out)
    return sum(device.tally.counted.values())


@pytest.mark.parametrize("arch", isa.ARCHES)
@pytest.mark.parametrize("name, options", [("Linear", {}), ("Sliding", {"window": 16})])
def test_linear_and_sliding_grow_with_the_length(arch, name, options):
    short = instructions(arch, name, 64, **options)
    assert instructions(arch, name, 256, **options) <= 1.1 * 4 * short


@pytest.mark.parametrize("arch", isa.ARCHES)
def test_exact_grows_with_its_square(arch):
    assert instructions(arch, "Exact", 128) > 0.75 * 4**2 * instructions(arch, "Exact", 32)


@pytest.mark.parametrize("arch", isa.ARCHES)
def test_what_the_documentation_says_of_precise_and_flash(arch):
    text = (DEVICE.parent / "docs/mechanisms.md").read_text(encoding="utf-8")
    exact = instructions(arch, "Exact", 64)
    for row, name, options in (("`exact`, `precise`", "Exact", {"precise": True}),
                               ("`flash`", "Flash", {})):
        most = re.search(rf"^\| {row} \|.* at most ([\d.]+) times `exact`", text, re.MULTILINE)
        assert most, row
        times = instructions(arch, name, 64, **options) / exact
        assert float(most[1]) - 0.2 < times <= float(most[1])
