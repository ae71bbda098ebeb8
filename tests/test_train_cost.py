"""What training costs is what the formulas say; whole layers are right on both chips."""

from array import array

import numpy as np
import pytest

from attn8_host import isa
from attn8_host.cores.exact import TrainableExact
from attn8_host.layers.attention import TrainableMultiHeadAttention as MultiHeadAttention
from attn8_host.layers.dense import TrainableDense as Dense
from attn8_host.train import arithmetic as formats
from tools import train_cost

SHAPE = (5, 12, 3)  # seq_len, embed_dim, num_heads


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("arch", isa.ARCHES)
def test_attention_on_the_chips(arch, recompute):
    meter = train_cost.Meter(arch)
    attention, device_formats = train_cost.device(meter)
    device_format = device_formats.get("Q16.16")
    layer = attention.MultiHeadAttention(device_format, "attn", *SHAPE, recompute)
    rng = np.random.default_rng(0)
    f = formats.get("Q16.16")
    seq_len, embed_dim, num_heads = SHAPE
    linears = []
    params = iter(layer.collect_params())
    for part in ("q", "k", "v", "out"):
        weight = f.array(rng.normal(size=(embed_dim, embed_dim)) / 3)
        bias = f.array(rng.normal(size=embed_dim))
        for values in (weight, bias):
            next(params).value = array("i", values.ravel().tolist())
        linears.append(Dense(f, part, weight, bias))
    reference = MultiHeadAttention(f, *linears, TrainableExact(
        f, "attn", num_heads, embed_dim // num_heads, recompute=recompute))
    x, grad = (f.array(rng.normal(size=(seq_len, embed_dim))) for _ in range(2))
    out = layer(array("i", x.ravel().tolist()))
    assert (np.array(out) == reference(x).ravel()).all()
    dx = layer.backward(array("i", grad.ravel().tolist()))
    assert (np.array(dx) == reference.backward(grad).ravel()).all()
    held = sum(len(values) for values in arrays(layer)) + len(device_format.operands)
    assert held == train_cost.words(*SHAPE, recompute)
    for p, expected in zip(layer.collect_params(), reference.collect_params(), strict=True):
        assert (np.array(p.grad) == expected.grad.ravel()).all(), p.name
    assert device_format.overflows == f.overflows == 0


def arrays(layer):
    """The word arrays that a layer, its projections and their parameters hold."""
    held = {id(v): v for each in (layer, layer.core) for v in vars(each).values()
            if isinstance(v, array)}
    for part in (layer.q, layer.k, layer.v, layer.out):
        held |= {id(v): v for v in (part.out, part.dx)}
        held |= {id(v): v for p in part.collect_params() for v in (p.value, p.grad)}
    return held.values()


@pytest.mark.parametrize("arch", isa.ISAS)
def test_instructions_per_mac(arch):
    meter = train_cost.Meter(arch)
    attention, device_formats = train_cost.device(meter)
    f = device_formats.get("Q16.16")
    layer = attention.MultiHeadAttention(f, "attn", 16, 32, 4)
    x = f.zeros(16 * 32)
    for p in layer.collect_params():
        p.value = f.zeros(p.size)
    forward, backward = {"xtensawin": (8.2, 6.6), "rv32imc": (9.1, 7.6),
                         "esp32s2": (8.9, 9.1)}[arch]  # fmt: skip
    assert np.divide(*meter.measure(layer, x)) < forward
    assert np.divide(*meter.measure(layer.backward, x)) < backward
