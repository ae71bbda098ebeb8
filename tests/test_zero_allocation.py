"""A forward pass allocates nothing: the heap does not move over 1,000 inferences, with any core."""

import numpy as np
import pytest

from attn8_host import cores
from attn8_host.proof.cases import attention_cases
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


@pytest.mark.parametrize("core", cores.all_cores())
def test_a_thousand_inferences(board, remote, core):
    cases = attention_cases(core, np.random.default_rng(1))
    case = next(c for c in cases if c.shape["seq_len"] == 5)
    send(board, case)
    without, with_inferences = remote(RUN, path=PATH)
    assert with_inferences == without
