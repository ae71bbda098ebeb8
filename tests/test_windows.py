"""Pools and windows of images: the board against the reference, and what both refuse."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attn8_host.errors import ModelError
from attn8_host.layers import max_pool, unfold
from attn8_host.layers.max_pool import Windows, largest
from attn8_host.layers.unfold import unfolded
from tests.compiled import compiled


@st.composite
def axis(draw, most=12):
    """Windows over an axis, each of which sees something."""
    length, size, stride = (draw(st.integers(1, most)) for _ in range(3))
    padding = draw(st.integers(0, size - 1))
    positions = draw(st.integers(1, (length + padding - 1) // stride + 1))
    return Windows(length, size, stride, positions, padding)


def values(rng, shape, form):
    most = 128 if form == "int8" else 32768
    return rng.integers(-most, most, shape).astype(form)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), seen=axis(), rows=st.integers(1, 4),
       channels=st.integers(1, 6), form=st.sampled_from(["int8", "int16"]))
def test_max_pool(remote, seed, seen, rows, channels, form):
    x = values(np.random.default_rng(seed), (rows, seen.length, channels), form)
    out = remote(
        "from attn8 import MaxPool\n"
        "give(MaxPool(length, channels, size, stride, positions, padding, rows, form)(x))",
        x=x, length=seen.length, channels=channels, size=seen.kernel_size, stride=seen.stride,
        positions=seen.positions, padding=seen.padding, rows=rows, form=form)
    assert (out == largest(x, seen).ravel()).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=axis(7), width=axis(7), channels=st.integers(1, 3),
       form=st.sampled_from(["int8", "int16"]))
def test_unfold(remote, seed, height, width, channels, form):
    x = values(np.random.default_rng(seed), (height.length, width.length, channels), form)
    both = {key: [getattr(height, key), getattr(width, key)]
            for key in ("kernel_size", "stride", "positions", "padding")}
    out = remote(
        "from attn8 import Unfold\n"
        f"give(Unfold(({height.length}, {width.length}), channels, {both['kernel_size']}, "
        f"{both['stride']}, {both['positions']}, {both['padding']}, form)(x))",
        x=x, channels=channels, form=form)
    assert (out == unfolded(x, height, width).ravel()).all()


POOL = {"length": 8, "channels": 2, "kernel_size": 3, "stride": 2, "positions": 4, "padding": 1}
UNFOLD = {"height": 6, "width": 5, "channels": 2, "kernel_size": [3, 2], "stride": [2, 1],
          "positions": [3, 4], "padding": [1, 0]}
REFUSED = [
    ("max_pool", POOL, {"padding": 3}, "y.padding: expected 0 to 2, got 3"),
    ("max_pool", POOL, {"positions": 6}, "y.positions: expected 1 to 5, got 6"),
    ("max_pool", POOL, {"stride": 0}, "y.stride: expected .*1 to 32768, got 0"),
    ("unfold", UNFOLD, {"padding": [1, 2]}, r"y.padding\[1\]: expected 0 to 1, got 2"),
    ("unfold", UNFOLD, {"positions": [5, 4]}, r"y.positions\[0\]: expected 1 to 4, got 5"),
    ("unfold", UNFOLD, {"kernel_size": [3]}, "y.kernel_size: expected two whole numbers"),
    ("unfold", UNFOLD, {"channels": 4096}, "y.kernel_size: expected 1 to 4096"),
]


@pytest.mark.parametrize("kind, fields, change, line", REFUSED)
def test_both_sides_refuse_the_same(remote, kind, fields, change, line):
    entry = {"type": kind, "name": "y", **fields, **change}
    with pytest.raises(ModelError, match=line):
        (max_pool if kind == "max_pool" else unfold).TYPE.check(entry)
    size = np.prod([entry[key] for key in ("length", "height", "width", "channels")
                    if key in entry])
    said = remote.refused(
        compiled(f"module.build(Entry({entry}, {{}}, []), ('int8', {size}), False)"),
        compiled(f"from attn8.entry import Entry\nfrom attn8.layers import {kind} as module"))
    assert re.match(line, said)
