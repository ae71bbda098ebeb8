"""A forward pass allocates nothing: the heap does not move over 1,000 inferences, with any core."""

import re

import numpy as np
import pytest

from attn8_host.paths import DEVICE
from attn8_host.proof.cases import ATTENTION, MECHANISMS
from attn8_host.proof.verify import PATH, send

# grown(n): the bytes by which n calls of `step` make the heap grow
GROWN = """
import gc
def grown(n):
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    while n:
        step()
        n -= 1
    after = gc.mem_alloc()
    gc.enable()
    return after - before
"""
RUN = GROWN + """
from attn8 import load
model = load(path)
x = model.input
def step():
    model(x)
grown(1)
give(grown(0))
give(grown(1000))
"""


def test_every_core_of_the_device_is_among_them():
    cores = re.findall(r'"(\w+)": "\w+"', (DEVICE / "attn8/cores/__init__.py").read_text())
    assert sorted(cores) == sorted(ATTENTION)


@pytest.mark.parametrize("core", ATTENTION)
def test_a_thousand_inferences(board, remote, core):
    case = next(c for c in MECHANISMS[core](np.random.default_rng(1)) if c.shape["seq_len"] == 5)
    send(board, case)
    without, with_inferences = remote(RUN, path=PATH)
    assert with_inferences == without
