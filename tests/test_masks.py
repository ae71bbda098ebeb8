"""Masks: the board against the reference, and both against each pair's own definition."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attn8_host import masks
from attn8_host.masks import hnsw


def test_local_window_row_by_row():
    # The published check
    mask = masks.local_window(5, 1)
    assert mask.visualize() == "██···\n███··\n·███·\n··███\n···██\n"
    assert [mask.can_attend(0, j) for j in range(3)] == [True, True, False]
    assert [mask.can_attend(2, j) for j in range(5)] == [False, True, True, True, False]


def test_global_indices_row_by_row():
    # The published check
    assert masks.global_indices(5, [0, 2]).visualize() == "█·█··\n" * 5


def test_hnsw_layers_of_the_published_example():
    mask = hnsw.from_hnsw_layers(4, [[0, 1, 2, 3], [0, 2], [0]])
    assert mask.dense[0].all()
    assert mask.can_attend(1, 0) and mask.can_attend(1, 2)
    layers = [[0, 1, 2, 3, 4, 5, 6, 7], [0, 2, 4, 6], [0, 4]]
    assert hnsw.global_indices(layers) == [0, 2, 4, 6]


def test_the_board_shows_what_the_reference_shows(remote):
    lines = """
from attn8 import masks
from attn8.masks import hnsw
scores = array("i", range(64))
for mask in (masks.local_window(8, 1), masks.full(130), masks.random(60, 0.4, 7)):
    give(mask.visualize())
    give((mask.num_positions, mask.max_positions))
    give(str(mask.density)[:6])
    give(str(mask.sparsity)[:6])
    give([mask.can_attend(3, j) for j in range(8)])
give(masks.local_window(8, 1).apply_to_scores(scores))
give(masks.local_window(8, 1).to_attention_mask())
give(hnsw.global_indices([[0, 1, 2, 3], [1, 3], [2]]))
"""
    given = remote(lines)
    expected = [masks.local_window(8, 1), masks.full(130), masks.random(60, 0.4, 7)]
    for n, mask in enumerate(expected):
        picture, positions, density, sparsity, seen = given[5 * n : 5 * n + 5]
        assert picture == mask.visualize()
        assert len(picture.splitlines()) == min(20, mask.seq_len)
        assert max(map(len, picture.splitlines())) == min(20, mask.seq_len)
        assert positions == (mask.num_positions, mask.max_positions)
        assert float(density) == pytest.approx(mask.density, abs=1e-4)
        assert float(sparsity) == pytest.approx(mask.sparsity, abs=1e-4)
        assert seen == [mask.can_attend(3, j) for j in range(8)]
    scores, additive, indices = given[15:]
    assert (scores == expected[0].apply_to_scores(np.arange(64).reshape(8, 8)).ravel()).all()
    assert (additive == expected[0].to_attention_mask().ravel()).all()
    assert indices == hnsw.global_indices([[0, 1, 2, 3], [1, 3], [2]])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), seq_len=st.integers(1, 70), runs=st.integers(1, 30))
def test_bits_travel_to_the_board_and_back(remote, seed, seq_len, runs):
    rng = np.random.default_rng(seed)
    dense = rng.integers(0, 2, (seq_len, seq_len)).repeat(runs, axis=1)[:, :seq_len].astype(bool)
    mask = masks.Mask.from_dense(dense)
    bits, storage = remote(
        "from attn8.masks import Mask\nmask = Mask.from_bits(seq_len, bits)\n"
        "give(array('B', mask.to_bits()))\n"
        "give((len(mask.spans), len(mask.bits or ())))",
        seq_len=seq_len, bits=mask.to_bits().ravel(),
    )
    assert (bits == mask.to_bits().ravel()).all()
    assert (masks.Mask.from_bits(seq_len, bits).dense == dense).all()
    # In spans until they take more bytes than bits would
    stride = (seq_len + 7) // 8
    boundaries = np.cumsum([len(mask.row(i)) for i in range(seq_len)])
    small = (2 * boundaries <= stride * np.arange(1, seq_len + 1)).all()
    assert storage == ((boundaries[-1], 0) if small else (0, seq_len * stride))


BAD = [
    ("Mask(0, [])", "seq_len: expected 1 to 4096, got 0"),
    ("Mask(4097, [])", "seq_len: expected 1 to 4096, got 4097"),
    ("Mask(2, [(0, 1)])", "mask: expected 2 rows, got"),
    ("Mask(2, [(0, 1)] * 3)", "mask: expected 2 rows, got"),
    ("Mask(2, [(0, 1), (1, 0)])", "mask: row 1: expected rising boundaries up to 2, got [1, 0]"),
    ("Mask(2, [(0, 3), ()])", "mask: row 0: expected rising boundaries up to 2, got [0, 3]"),
    ("Mask(2, [(-1, 1), ()])", "mask: row 0: expected rising boundaries up to 2, got [-1, 1]"),
    ("Mask(2, [(0, 1, 1, 2), ()])", "mask: row 0: expected rising boundaries up to 2, got"),
    ("Mask(2, [(1,), ()])", "mask: row 0: expected an end to each start, got [1]"),
    ("Mask.from_keys(3, [(2, 1), (), ()])", "keys: expected each once, rising, got 1 after 2"),
    ("Mask.from_keys(3, [(1, 1), (), ()])", "keys: expected each once, rising, got 1 after 1"),
    ("Mask.from_keys(3, [(3,), (), ()])", "mask: row 0: expected rising boundaries up to 3, got"),
    ("Mask.from_bits(3, zeros[:2])", "bits: expected 3 int8 values, got 2"),
    ("Mask.from_bits(3, zeros[:3] + 8)", "mask: row 0: expected rising boundaries up to 3, got"),
    ("local_window(5, -1)", "window: expected 0 to 32768, got -1"),
    ("global_indices(5, [0, 5])", "mask: row 0: expected rising boundaries up to 5, got"),
    ("global_indices(5, [2, 0])", "keys: expected each once, rising, got 0 after 2"),
    ("block_diagonal(5, 0)", "block_size: expected 1 to 32768, got 0"),
    ("strided(5, 1, 0)", "stride: expected 1 to 32768, got 0"),
    ("random(5, 1.5, 1)", "level: expected 0 to 1, got 1.5"),
    ("random(5, 0.5, 0)", "seed: expected 1 to 4294967295, got 0"),
    ("full(5).union(full(6))", "mask: expected one of seq_len 5, got 6"),
    ("full(5).intersection(full(4))", "mask: expected one of seq_len 5, got 4"),
    ("full(5).can_attend(5, 0)", "query: expected 0 to 4, got 5"),
    ("full(5).can_attend(0, -1)", "key: expected 0 to 4, got -1"),
    ("hnsw.from_hnsw_layers(3, [[0, 3]])", "node: expected 0 to 2, got 3"),
    ("hnsw.from_hnsw_layers(3, [[1, 0]])", "keys: expected each once, rising, got 0 after 1"),
    ("hnsw.from_hnsw_edges(3, [(0, -1)])", "node: expected 0 to 2, got -1"),
]


@pytest.mark.parametrize("code, message", BAD)
def test_bad_masks_are_refused_on_board_and_host_alike(remote, code, message):
    zeros = np.zeros(8, np.uint8)
    names = {name: getattr(masks, name) for name in masks.__all__}
    with pytest.raises(ValueError) as caught:
        eval(code, {**names, "hnsw": hnsw, "zeros": zeros})
    on_board = code.replace("zeros[:3] + 8", "array('B', b'\\x08\\0\\0')")
    said = remote.refused(
        on_board, f"from attn8.masks import {', '.join(masks.__all__)}, hnsw", zeros=zeros
    )
    assert said.startswith(message)
    assert str(caught.value).startswith(message)


# Runs on the board and here: what the n-th random mask is, from one generator of integers. One in
# twenty is no mask: unsorted, with duplicates, out of range, or with a row too many.
GENERATE = """
class Draw:
    def __init__(self, seed):
        self.x = seed * 2654435761 % 4294967296 or 1
    def __call__(self, n):
        self.x ^= (self.x << 13) & 0xFFFFFFFF
        self.x ^= self.x >> 17
        self.x ^= (self.x << 5) & 0xFFFFFFFF
        return self.x % n

def rising(draw, n):
    out = []
    at = draw(4) - (draw(300) == 0)
    while at < n and draw(9):
        out.append(at)
        at += 1 + draw(4) - 2 * (draw(200) == 0)
    return out

def leaf(draw, n):
    name = ("full", "causal", "local_window", "global_indices", "local_global", "block_diagonal",
            "strided", "random", "rows", "keys", "layers", "edges", "adaptive")[draw(13)]
    if name == "local_window":
        return name, (n, draw(n + 2))
    if name == "global_indices":
        return name, (n, rising(draw, n))
    if name == "local_global":
        return name, (n, draw(4), rising(draw, n))
    if name == "block_diagonal":
        return name, (n, 1 + draw(n + 2))
    if name == "strided":
        return name, (n, draw(3), 1 + draw(n))
    if name == "random":
        return name, (n, draw(1001) / 1000, 1 + draw(1000000))
    if name == "rows":
        rows = [rising(draw, n + 1) for _ in range(n + (draw(50) == 0))]
        return name, (n, [row if draw(100) == 0 else row[: len(row) // 2 * 2] for row in rows])
    if name == "keys":
        return name, (n, [rising(draw, n) for _ in range(n)])
    if name == "layers":
        return name, (n, [rising(draw, n) for _ in range(draw(4))])
    if name == "edges":
        return name, (n, [(draw(n), draw(n)) for _ in range(draw(2 * n))])
    if name == "adaptive":
        return name, (n, draw(3), [(draw(n), draw(n)) for _ in range(draw(n))])
    return name, (n,)

def case(seed):
    draw = Draw(seed)
    n = 1 + draw(24)
    a = leaf(draw, n)
    way = draw(4)
    return a, way, leaf(draw, n) if way > 1 else None
"""

EVALUATE = """
def build(leaf):
    name, args = leaf
    return {"rows": masks.Mask, "keys": masks.Mask.from_keys, "layers": hnsw.from_hnsw_layers,
            "edges": hnsw.from_hnsw_edges, "adaptive": hnsw.adaptive}.get(
            name, getattr(masks, name, None))(*args)

def evaluate(seed):
    a, way, b = case(seed)
    try:
        a = build(a)
        return (a, a.complement, a.union, a.intersection)[way]() if way == 1 else (
            a if way == 0 else (a.union, a.intersection)[way - 2](build(b)))
    except ValueError:
        return None
"""

ON_BOARD = """
from binascii import crc32
from attn8 import masks
from attn8.masks import hnsw
give(array("i", [-1 if mask is None else crc32(mask.to_bits()) & 0x3FFFFFFF
                 for mask in map(evaluate, range(first, last))]))
"""


def by_definition(leaf):
    """The matrix of bool, pair by pair; None for what is no mask."""
    name, (n, *args) = leaf
    i, j = np.arange(n)[:, None], np.arange(n)[None, :]

    def listed(keys):
        valid = all(0 <= key < n for key in keys) and sorted(set(keys)) == list(keys)
        return np.isin(j, keys) if valid else None

    def window(w):
        return abs(i - j) <= w

    def edges(pairs):
        dense = np.zeros((n, n), bool)
        for a, b in pairs:
            dense[a, b] = dense[b, a] = True
        return dense

    if name == "full":
        return i + j >= 0
    if name == "causal":
        return j <= i
    if name == "local_window":
        return window(*args)
    if name == "global_indices":
        keys = listed(*args)
        return None if keys is None else keys & (i >= 0)
    if name == "local_global":
        keys = listed(args[1])
        return None if keys is None else keys | window(args[0])
    if name == "block_diagonal":
        return i // args[0] == j // args[0]
    if name == "strided":
        return window(args[0]) | (j % args[1] == 0)
    if name == "random":
        # Only what the draws have in common: how many keys a row sees
        dense = masks.random(n, *args).dense
        assert (dense.sum(axis=1) == round(args[0] * 1000) * n // 1000).all()
        return dense
    if name == "edges":
        return edges(*args)
    if name == "adaptive":
        return window(args[0]) | edges(args[1])
    lists = args[0]
    if name == "rows":
        rising = all(sorted(set(row)) == row and len(row) % 2 == 0 for row in lists)
        if not rising or len(lists) != n or any(row and (row[0] < 0 or row[-1] > n)
                                                for row in lists):
            return None
        return np.array([[sum(at <= key for at in row) % 2 for key in range(n)] for row in lists],
                        bool)
    rows = [listed(keys) for keys in lists]
    if any(row is None for row in rows):
        return None
    if name == "keys":
        return np.concatenate(rows)
    levels = np.array([[key in keys for key in range(n)] for keys in lists], bool).reshape(-1, n)
    dense = np.zeros((n, n), bool)
    for level, here in enumerate(levels):
        dense |= here[:, None] & levels[level:].any(axis=0)
    return dense


def digest(dense):
    packed = np.packbits(dense, axis=1, bitorder="little")
    return zlib.crc32(packed.tobytes()) & 0x3FFFFFFF


def test_random_masks(remote, pytestconfig):
    # Board, reference and definition agree; --masks 100000 takes two minutes
    names = {"masks": masks, "hnsw": hnsw}
    exec(GENERATE + EVALUATE, names)
    count, batch = pytestconfig.getoption("--masks"), 1000
    refused = 0
    for first in range(1, count + 1, batch):
        last = min(first + batch, count + 1)
        on_board = remote(GENERATE + EVALUATE + ON_BOARD, first=first, last=last)
        for seed, found in zip(range(first, last), on_board, strict=True):
            a, way, b = names["case"](seed)
            parts = [by_definition(leaf) for leaf in (a, b) if leaf is not None]
            mask = names["evaluate"](seed)
            if any(part is None for part in parts):
                assert mask is None and found == -1, (seed, a, way, b)
                refused += 1
                continue
            dense = parts[0]
            if way == 1:
                dense = ~dense
            elif way > 1:
                dense = parts[0] | parts[1] if way == 2 else parts[0] & parts[1]
            assert (mask.dense == dense).all(), (seed, a, way, b)
            assert found == digest(dense), (seed, a, way, b)
    assert 0.02 * count < refused < 0.1 * count
