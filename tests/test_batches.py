"""[B, S, E] in one call of a layer, with the memory of one input."""

import numpy as np
import pytest

SETUP = """
import attn8
from attn8 import MultiHeadAttention
one = [0.0] * 64
for i in range(8): one[9 * i] = 1.0
x = array("f", [i * 37 % 41 - 20 for i in range(32)])
given = {part + ".weight": one for part in ("q", "k", "v", "out")}
layer = MultiHeadAttention.from_floats(4, 8, 2, given, x, core=core, **options)
"""
CASES = [("exact", {}), ("flash", {}), ("linear", {}), ("performer", {}), ("micro", {}),
         ("local_global", {"window": 1, "global_indices": [0]}), ("sparse", {"mask": ["causal"]}),
         ("decode", {"causal": True, "cache_len": 4}), ("sliding", {"causal": True, "window": 2})]


@pytest.mark.board("virtual")
@pytest.mark.parametrize(("core", "options"), CASES)
def test_a_batch_is_one_input_after_another(remote, core, options):
    x = np.random.default_rng(3).integers(-127, 128, (5, 4, 8), np.int8)
    found, each = remote(SETUP + """
give(attn8.batch(layer, inputs, array("b", bytes(160))))
every = array("b")
for at in range(0, 160, 32): every.extend(layer(inputs[at : at + 32]))
give(every)
""", inputs=x.ravel(), core=core, options=options)
    assert (found == each).all()
    assert len({row.tobytes() for row in found.reshape(5, 32)}) == 5


def test_layers_of_several_inputs_and_of_other_types(remote):
    found = remote("""
import attn8
from attn8 import Add, ReLU
a, b = array("h", range(12)), array("h", range(100, 112))
give(attn8.batch(Add(4), (a, b), array("h", bytes(24))))
give(attn8.batch(ReLU(3, "int16"), array("h", [-1, 2, -3, 4, -5, 6]), array("h", bytes(12))))
""")
    assert found[0].tolist() == list(range(100, 124, 2))
    assert found[1].tolist() == [0, 2, 0, 4, 0, 6]


def test_sixteen_inputs_take_the_memory_of_one(board, remote):
    x = np.zeros(16 * 32, np.int8)
    grown = remote(SETUP + """
import gc
out = array("b", bytes(len(inputs)))
attn8.batch(layer, inputs[:32], out[:32])
gc.collect()
before = gc.mem_alloc()
attn8.batch(layer, inputs, out)
gc.collect()
give(gc.mem_alloc() - before)
""", inputs=x, core="exact", options={})
    assert grown < 100


@pytest.mark.parametrize(("code", "message"), [
    ("attn8.batch(layer, bytes(64), bytearray(63))", "out: expected 32 int8 values, got 63"),
    ("attn8.batch(layer, bytes(64), bytearray(0))", "out: expected 32 int8 values, got 0"),
    ("attn8.batch(layer, bytes(63), bytearray(64))", "x: expected as many inputs"),
    ("attn8.batch(layer, bytes(66), bytearray(64))", "attn: expected 32 int8 values, got 33"),
    ("attn8.batch(layer, [0] * 64, bytearray(64))", "x: expected an array, got list"),
    ("attn8.batch(layer, bytes(64), bytearray(64), [1, 2])", "lengths: expected a Model"),
    ("attn8.batch(layer, layer.out.out, layer.out.out)", "x: expected memory apart from out"),
    ("attn8.batch(layer, bytes(32), layer.out.out)", "out: expected memory apart from"),
    ("attn8.batch(5, bytes(64), bytearray(64))", "layer: expected a layer or a Model, got int"),
])
def test_bad_input_is_refused(remote, code, message):
    assert remote.refused(code, SETUP, core="exact", options={}).startswith(message)
