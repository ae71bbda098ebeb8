"""The kernels' own machine code, for ESP32 and ESP32-C3, against the NumPy reference.

The unix port, on which the other tests run, has 64-bit words: what is right there may be wrong on a
chip. Here the code that mpy-cross makes for the chips runs in emulators of their instructions, with
operands at every alignment, canaries around every buffer, and extreme values.
"""

import ast

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from attn8_host import isa
from attn8_host.cores.exact import Exact
from attn8_host.layers.dense import Dense
from attn8_host.layers.mean_pool import MeanPool
from attn8_host.layers.relu import ReLU
from attn8_host.numerics.integers import EXP2
from attn8_host.numerics.scales import output_constants, score_constants
from attn8_host.paths import DEVICE

# Machines are shared between examples; each example frees its buffers first
machine_settings = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

KERNELS = sorted(
    path for folder in ("kernels", "forms/viper")
    for path in (DEVICE / "attn8" / folder).glob("*.py") if path.stem != "__init__"
)

alignment = st.integers(0, 4**6 - 1)  # 0 to 3 for each of six operands, which Call takes in turn
sizes = st.integers(1, 130)


def shapes(*limits):
    """Sizes of some axes: each up to 130 in its turn, the others up to their limits."""
    return st.one_of(
        st.tuples(*(sizes if i == long else st.integers(1, n) for i, n in enumerate(limits)))
        for long in range(len(limits))
    )

fills = st.sampled_from(["random", "lowest", "highest", "opposite", "extremes"])


def int8(rng, fill, *shape):
    """int8 values; -128 is included although the convention is +-127: kernels must not care."""
    if fill == "lowest":
        return np.full(shape, -128, np.int8)
    if fill == "highest":
        return np.full(shape, 127, np.int8)
    if fill == "opposite":
        return np.where(np.arange(np.prod(shape)).reshape(shape) % 2, 127, -128).astype(np.int8)
    if fill == "extremes":
        return rng.choice(np.array([-128, -127, -1, 0, 1, 127], np.int8), shape)
    return rng.integers(-128, 128, shape).astype(np.int8)


class Call:
    """Places operands, calls a kernel, and checks that it wrote nothing around any of them."""

    def __init__(self, machine, offset=0):
        self.machine = machine
        self.offset = offset
        self.buffers = []

    def __call__(self, name, *arguments):
        placed = []
        for argument in arguments:
            placed.append(self.place(argument) if isinstance(argument, np.ndarray) else argument)
        self.machine.call(name, *placed)
        for buffer in self.buffers:
            buffer.check_guards()
        return placed

    def place(self, array):
        # Bytes may lie anywhere; wider elements at multiples of their size, as in an array
        offset = self.offset >> 2 * (len(self.buffers) % 6) & 3
        self.buffers.append(
            self.machine.buffer(array, 4, offset // array.itemsize * array.itemsize)
        )
        return self.buffers[-1]


def dense_operands(rng, fill, rows, inputs, outputs, wide, most_bias=1 << 30, most_shift=45):
    """(x, weights, bias, mult, shift) of any size, and what the layer gives for them."""
    x, w = int8(rng, fill, rows, inputs), int8(rng, fill, outputs, inputs)
    most = min(2**30 - 1 - 16384 * inputs, most_bias)
    bias = rng.integers(-most, most, outputs, endpoint=True).astype(np.int32)
    bias[rng.integers(0, outputs)] = rng.choice([most, -most])
    mult = rng.integers(1 << 14, 1 << 15, outputs).astype(np.int16)
    shift = rng.integers(16, most_shift, outputs, endpoint=True).astype(np.int8)
    reference = Dense(w, bias, *(() if wide else (mult, shift)))(x)
    return x, w, bias, mult, shift, reference


@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 3),
    inputs=sizes,
    outputs=sizes,
    offset=alignment,
    fill=fills,
    wide=st.booleans(),
)
@example(seed=0, rows=1, inputs=4096, outputs=1, offset=0, fill="lowest", wide=True)
def test_matmul(machines, seed, rows, inputs, outputs, offset, fill, wide):
    rng = np.random.default_rng(seed)
    x, w, bias, mult, shift, reference = dense_operands(rng, fill, rows, inputs, outputs, wide)

    call = Call(machines("matmul"), offset)
    packed, packed_bias, *_ = call("pack", w, bias, inputs, outputs)
    assert (packed.read(np.uint8) == (w.ravel().astype(int) + 128)).all()
    out = np.zeros(rows * outputs, np.int32 if wide else np.int8)
    row = np.zeros(inputs, np.uint8)
    *_, out, row, _, _, _, _ = call(
        "matmul", packed, 0, x, packed_bias, mult, shift, out, row, rows, inputs, outputs, int(wide)
    )
    assert (out.read(reference.dtype) == reference.ravel()).all()


@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1),
    seq_len=sizes,
    head_dim=sizes,
    causal=st.booleans(),
    offset=alignment,
    fill=fills,
    scale=st.floats(1e-7, 0.3),
)
@example(seed=0, seq_len=130, head_dim=130, causal=True, offset=1, fill="extremes", scale=1e-4)
def test_attention(machines, seed, seq_len, head_dim, causal, offset, fill, scale):
    rng = np.random.default_rng(seed)
    run_attention(machines("attention"), rng, seq_len, head_dim, causal, offset, fill, scale)


def run_attention(machine, rng, seq_len, head_dim, causal, offset, fill, scale, table=EXP2):
    """The first and the last rows of one head, through each kernel in turn."""
    q, k, v = (int8(rng, fill, seq_len, head_dim) for _ in range(3))
    mult, shift, limit = score_constants(scale, head_dim)
    num, out_shift = output_constants(float(rng.uniform(0.5, 20)))
    reference = Exact(mult, shift, limit, num, out_shift, causal)
    expected = reference(q, k, v)

    call = Call(machine, offset)
    size = seq_len * head_dim
    _, keys, key_sums, *_ = call(
        "pack_keys", k, np.zeros(size, np.uint8), np.zeros(seq_len, np.int32), seq_len, head_dim
    )
    _, values, *_ = call("pack_values", v, np.zeros(size, np.uint8), seq_len, head_dim)
    assert (values.read(np.uint8) == (v.T.astype(int) + 128).ravel()).all()
    out, query = call.place(np.zeros(size, np.int8)), call.place(q)
    row, table = call.place(np.zeros(head_dim, np.uint8)), call.place(table.astype(np.uint16))
    rows = min(int(rng.integers(3, 6)), seq_len)
    for first in {0, seq_len - rows}:
        scores = call.place(np.full(rows * seq_len, 77, np.int32))
        weights = call.place(np.full(rows * seq_len, 77, np.uint16))
        sums = call.place(np.zeros(rows, np.int32))
        call("scores", keys, 0, query, key_sums, scores, row, first, rows, seq_len, head_dim,
             int(causal))
        call("softmax", scores, 0, weights, sums, table, first, rows, seq_len, int(causal), mult,
             shift, limit)
        part = slice(first, first + rows)
        assert (scores.read(np.int32).reshape(rows, -1) == reference.scores[part]).all()
        assert (weights.read(np.uint16).reshape(rows, -1) == reference.weights[part]).all()
        assert (sums.read(np.int32) == reference.sums[part]).all()
        if "weighted_sum" in machine.functions:
            call("weighted_sum", values, 0, weights, sums, out, first, rows, seq_len, seq_len,
                 head_dim, num, out_shift)
            got = out.read(np.int8).reshape(expected.shape)
            assert (got[part] == expected[part]).all()


@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 4), keys=sizes, head_dim=sizes,
    causal=st.booleans(), padded=st.sampled_from([0, 0.3, 1]), offset=alignment, fill=fills,
    scale=st.floats(1e-7, 0.3),
)
@example(seed=1, rows=1, keys=512, head_dim=2, causal=False, padded=0, offset=0, fill="highest",
         scale=0.1)
def test_masked_keys_and_the_second_pass(
    machines, seed, rows, keys, head_dim, causal, padded, offset, fill, scale
):
    rng = np.random.default_rng(seed)
    keys = rows if causal else keys
    q, k = int8(rng, fill, rows, head_dim), int8(rng, fill, keys, head_dim)
    v = int8(rng, fill, keys, head_dim)
    mask = (rng.random(keys) < padded).astype(np.int8)
    mult, shift, limit = score_constants(scale, head_dim, 24)
    num, out_shift = output_constants(float(rng.uniform(0.5, 20)))
    reference = Exact(mult, shift, limit, num, out_shift, causal, precise=True)
    expected = reference(q, k, v, mask)

    call = Call(machines("attention"), offset)
    scores = q.astype(np.int32) @ k.T.astype(np.int32)
    if causal:
        scores[np.triu_indices(rows, 1)] = -(1 << 30)
    scores, *_ = call("mask_keys", scores, mask, rows, keys)
    scores = scores.read(np.int32)
    assert (scores == reference.scores.ravel()).all()
    table = EXP2.astype(np.uint16)
    weights, sums = np.full(rows * keys, 77, np.uint16), np.full(rows, 77, np.int32)
    _, _, weights, sums, *_ = call("softmax", scores, 0, weights, sums, table, 0, rows, keys,
                                   int(causal), mult, shift, limit)
    assert (weights.read(np.uint16) == reference.weights.ravel()).all()
    assert (sums.read(np.int32) == reference.sums).all()

    call = Call(machines("refine"), offset)
    fine, fine_sums = np.full(rows * keys, 77, np.int32), np.full(rows, 77, np.int32)
    _, _, _, fine, fine_sums, *_ = call(
        "refine", scores, 0, reference.sums, fine, fine_sums, table, 0, rows, keys, int(causal),
        mult, shift, limit,
    )
    assert (fine.read(np.int32) == reference.fine_weights.ravel()).all()
    assert (fine_sums.read(np.int32) == reference.fine_sums).all()
    packed = (v.T.astype(int) + 128).astype(np.uint8).ravel()
    *_, out, _, _, _, _, _, _ = call(
        "fine_weighted_sum", packed, 0, fine, fine_sums, np.zeros(q.size, np.int8), 0, rows, keys,
        head_dim, num, out_shift,
    )
    assert (out.read(np.int8) == expected.ravel()).all()


@pytest.mark.parametrize("fill", ["lowest", "highest", "opposite"])
def test_attention_at_the_longest_sequence(machines, fill):
    # 516 keys of equal score: the largest sums there are, beyond int32 while they are offset
    machine = machines("attention")
    keys, head_dim = 516, 2
    weights = np.full((1, keys), 32768, np.uint16)
    v = int8(np.random.default_rng(1), fill, keys, head_dim)
    v = np.maximum(v, -127)
    sums = weights.sum(axis=1).astype(np.int32)
    call = Call(machine)
    _, values, *_ = call("pack_values", v, np.zeros(v.size, np.uint8), keys, head_dim)
    out = machine.buffer(np.zeros(head_dim, np.int8))
    call("weighted_sum", values, 0, weights, sums, out, 0, 1, keys, keys, head_dim, 1 << 29,
         29)
    mean = v.astype(int).sum(axis=0) / keys
    assert (out.read(np.int8) == np.floor(mean + 0.5)).all()


@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1), rows=sizes, columns=sizes, offset=alignment, fill=fills,
)
def test_mean_pool(machines, seed, rows, columns, offset, fill):
    rng = np.random.default_rng(seed)
    x = int8(rng, fill, rows, columns)
    mult, shift = int(rng.integers(1 << 14, 1 << 15)), int(rng.integers(16, 46))
    out = np.zeros(columns, np.int8)
    call = Call(machines("pointwise"), offset)
    _, _, out, *_ = call("mean_pool", x, 0, out, rows, columns, mult, shift)
    assert (out.read(np.int8) == MeanPool(mult, shift)(x)).all()


@machine_settings
@given(seed=st.integers(0, 2**32 - 1), size=sizes, offset=alignment, fill=fills)
def test_relu(machines, seed, size, offset, fill):
    x = int8(np.random.default_rng(seed), fill, size)
    call = Call(machines("pointwise"), offset)
    _, out, _ = call("relu", x, np.zeros(size, np.int8), size)
    assert (out.read(np.int8) == ReLU()(x)).all()


@machine_settings
@given(
    n=st.integers(1, 4), more=st.integers(0, 3), m=sizes, size=sizes, offset=alignment,
)
@example(n=4, more=0, m=3, size=16, offset=0)
def test_swap_axes(machines, n, more, m, size, offset):
    x = np.random.default_rng(0).integers(-128, 128, (n, m, size)).astype(np.int8)
    want = np.full((m, n + more, size), 5, np.int8)
    call = Call(machines("swap_axes"), offset)
    _, out, *_ = call("swap_axes", x, want.ravel(), n, m, size, n + more)
    want[:, :n] = x.transpose(1, 0, 2)
    assert (out.read(np.int8) == want.ravel()).all()


def test_a_wrong_kernel_is_noticed():
    # The comparison must be able to fail: one changed operator in the source
    source = (DEVICE / "attn8/kernels/pointwise.py").read_text()
    machine = isa.load(source.replace("if b & 128:", "if b & 64:"), "xtensawin")
    x = np.array([-128, -1, 0, 1, 127], np.int8)
    call = Call(machine)
    _, out, _ = call("relu", x, np.zeros(5, np.int8), 5)
    assert (out.read(np.int8) != ReLU()(x)).any()


@pytest.mark.parametrize("arch", isa.ARCHES)
@pytest.mark.parametrize("path", [
    pytest.param(path, id=path.stem, marks=[pytest.mark.xfail(
        reason="JSON is read in one loop of 3 KB, which a chip compiles by deploy --source alone",
        strict=True)] * (path.stem == "grammar"))
    for path in KERNELS
])
def test_functions_stay_below_what_old_compilers_get_wrong(arch, path):
    # MicroPython 1.23 on a chip emits a wrong branch around a loop body of over 2 KB
    sizes = isa.load(path, arch).functions
    for name, size in sizes.items():
        if size >= 2048:
            loops = loop_sizes(path.read_text(), name, arch)
            assert max(loops) < 2048, (name, loops)


def loop_sizes(source, name, arch):
    """Bytes of each of a function's outermost loops and conditions: what it is smaller without."""
    def without(place=None):
        tree = ast.parse(source)
        [function] = [node for node in tree.body
                      if isinstance(node, ast.FunctionDef) and node.name == name]
        if place is not None:
            function.body[place] = ast.Pass()
        return isa.load(ast.unparse(tree) + "\n", arch).functions[name]

    [body] = [node.body for node in ast.parse(source).body
              if isinstance(node, ast.FunctionDef) and node.name == name]
    whole = without()
    return [whole - without(i) for i, node in enumerate(body)
            if isinstance(node, (ast.While, ast.For, ast.If))]
