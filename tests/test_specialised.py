"""Kernels specialised by size: the machine code of both chips, and the board with its 64-bit words.

They must do what the generic ones do, and be taken exactly where their bounds are kept.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from attn8_host import kernels
from attn8_host.boards.virtual import open_virtual
from attn8_host.deploy import deploy
from attn8_host.paths import DEVICE
from attn8_host.quantize import exact_constants, output_constants, score_constants
from attn8_host.reference import Dense, Exact, Linear, MultiHeadAttention, Sparse, masks
from attn8_host.reference.numerics import EXP2, exp2
from tools import isa

from .conftest import Remote
from .test_attention import RUN, named, parameters
from .test_kernels import Call, alignment, dense_operands, fills, int8, run_attention, sizes
from .test_linear import FORMS, forms, run_kernels, run_largest_sums
from .test_linear import constants as linear_constants
from .test_sparse import AtOnce, random_mask, run_longest_sequence
from .test_sparse import heads as run_sparse

compiled = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
OCTAVES = exp2(np.arange(4096))
arches = pytest.mark.parametrize("arch", isa.ARCHES)


def constants(w, bias, mult, shift):
    """What attn8.kernels.lanes.constants makes of them."""
    w, bias, mult, shift = (x.astype(np.int64) for x in (w, bias, mult, shift))
    columns = (mult >> 7, mult & 127, 1 << (shift - 8), shift - 7,
               (2 + (1 << 22)) * bias - (257 + (1 << 29)) * w.sum(axis=1), (1 + (1 << 11)) * bias)
    return np.stack(columns, axis=1).astype(np.int32)


@arches
@compiled
@given(
    seed=st.integers(0, 2**32 - 1), rows=st.integers(3, 11), inputs=st.integers(1, 64),
    outputs=st.integers(2, 130), offset=alignment, fill=fills,
)
@example(seed=0, rows=4, inputs=64, outputs=5, offset=1, fill="extremes")
@example(seed=0, rows=3, inputs=64, outputs=2, offset=0, fill="lowest")
@example(seed=0, rows=5, inputs=64, outputs=3, offset=3, fill="opposite")
@example(seed=0, rows=3, inputs=64, outputs=130, offset=0, fill="lowest")
def test_matmul(arch, seed, rows, inputs, outputs, offset, fill):
    rng = np.random.default_rng(seed)
    x, w = int8(rng, fill, rows, inputs), np.maximum(int8(rng, fill, outputs, inputs), -127)
    most = 2**20 - 513 - 128 * np.abs(w.astype(int)).sum(axis=1).max()
    bias = rng.integers(-most, most, outputs, endpoint=True).astype(np.int32)
    mult = rng.integers(1 << 14, 1 << 15, outputs).astype(np.int16)
    shift = rng.integers(21, 37, outputs).astype(np.int8)
    call = Call(isa.load(kernels.matmul(inputs), arch), offset)
    packed = (w.ravel().astype(int) + 128).astype(np.uint8)
    values = constants(w, bias, mult, shift)
    *_, out, _, _, _, _, _ = call(
        "matmul", packed, 0, x, values, mult, shift, np.zeros(rows * outputs, np.int8),
        np.zeros(inputs, np.uint8), rows, inputs, outputs, 0,
    )
    assert (out.read(np.int8) == Dense(w, bias, mult, shift)(x).ravel()).all()


@arches
@compiled
@given(
    seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 2), inputs=st.integers(1, 64),
    outputs=sizes, offset=alignment, fill=fills, wide=st.booleans(),
)
@example(seed=0, rows=1, inputs=64, outputs=9, offset=0, fill="lowest", wide=True)
@example(seed=0, rows=2, inputs=63, outputs=3, offset=1, fill="opposite", wide=False)
def test_matvec(arch, seed, rows, inputs, outputs, offset, fill, wide):
    rng = np.random.default_rng(seed)
    x, w, bias, mult, shift, reference = dense_operands(rng, fill, rows, inputs, outputs, wide)
    packed = w.astype(np.int64) + 128
    packed_bias = bias + 16384 * inputs - 128 * packed.sum(axis=1)
    values = (2 * packed_bias - packed.sum(axis=1)).astype(np.int32)  # lanes.row_constants
    call = Call(isa.load(kernels.matvec(inputs), arch), offset)
    *_, out, _, _, _, _, _ = call(
        "matmul", packed.astype(np.uint8), 0, x, values, mult, shift, np.zeros_like(reference),
        np.zeros(inputs, np.uint8), rows, inputs, outputs, int(wide),
    )
    assert (out.read(reference.dtype) == reference.ravel()).all()


@arches
@compiled
@given(
    seed=st.integers(0, 2**32 - 1), seq_len=st.integers(3, 130), head_dim=st.integers(1, 64),
    causal=st.booleans(), offset=alignment, fill=fills, scale=st.floats(1e-7, 0.3),
)
@example(seed=0, seq_len=128, head_dim=3, causal=False, offset=1, fill="lowest", scale=1e-4)
@example(seed=0, seq_len=130, head_dim=3, causal=True, offset=2, fill="extremes", scale=1e-4)
@example(seed=0, seq_len=8, head_dim=64, causal=False, offset=0, fill="lowest", scale=1e-4)
def test_attention(arch, seed, seq_len, head_dim, causal, offset, fill, scale):
    rng = np.random.default_rng(seed)
    machine = isa.load(kernels.attention(seq_len, head_dim), arch)
    table = OCTAVES if seq_len >= kernels.OCTAVES_FROM else EXP2
    run_attention(machine, rng, seq_len, head_dim, causal, offset, fill, scale, table)
    assert ("weighted_sum" in machine.functions) == (seq_len <= kernels.MAX_WEIGHTS)


@arches
@compiled
@given(
    seed=st.integers(0, 2**32 - 1), seq_len=sizes, head_dim=st.integers(1, 64),
    form=forms, offset=alignment, fill=fills,
)
@example(seed=0, seq_len=3, head_dim=64, form=("elu+1", True), offset=1, fill="extremes")
@example(seed=0, seq_len=2, head_dim=1, form=("relu", True), offset=2, fill="lowest")
def test_linear(arch, seed, seq_len, head_dim, form, offset, fill):
    rng = np.random.default_rng(seed)
    machine = isa.load(kernels.linear(head_dim), arch)
    run_kernels(machine, rng, seq_len, head_dim, form, offset, fill, generic=generic(arch))


@arches
@pytest.mark.parametrize("fill", ["lowest", "highest", "opposite"])
@pytest.mark.parametrize("head_dim", [1, 4])
def test_linear_at_the_largest_sums(arch, fill, head_dim):
    machine = isa.load(kernels.linear(head_dim), arch)
    run_largest_sums(machine, fill, head_dim, generic(arch))


@arches
@compiled
@given(
    seed=st.integers(0, 2**32 - 1), seq_len=sizes, head_dim=st.integers(1, 64),
    density=st.sampled_from([0, 0.1, 0.5, 1]), run=st.integers(1, 5), offset=alignment, fill=fills,
    scale=st.floats(1e-7, 0.3),
)
@example(seed=0, seq_len=9, head_dim=64, density=1, run=1, offset=1, fill="lowest", scale=1e-4)
@example(seed=1, seq_len=130, head_dim=3, density=1, run=1, offset=2, fill="extremes", scale=1e-4)
@example(seed=2, seq_len=40, head_dim=16, density=0.5, run=1, offset=0, fill="lowest", scale=1e-3)
@example(seed=3, seq_len=40, head_dim=17, density=0.5, run=2, offset=3, fill="opposite", scale=0.1)
@example(seed=4, seq_len=516, head_dim=2, density=1, run=1, offset=0, fill="random", scale=1e-4)
def test_sparse(arch, seed, seq_len, head_dim, density, run, offset, fill, scale):
    rng = np.random.default_rng(seed)
    q, k, v = (int8(rng, fill, seq_len, head_dim) for _ in range(3))
    scores = score_constants(scale, head_dim)
    output = output_constants(float(rng.uniform(0.5, 20)))
    mask = random_mask(rng, seq_len, density, run)
    reference = Sparse(*scores, *output, mask)
    expected = reference(q, k, v)
    attend = at_once(arch, seq_len, head_dim)
    table = OCTAVES if seq_len >= kernels.OCTAVES_FROM else EXP2
    out = run_sparse(attend, mask, q, k, v, scores, *output, reference, offset, table)
    assert (out == expected).all()


@arches
@pytest.mark.parametrize("fill", ["lowest", "highest", "opposite"])
def test_sparse_at_the_longest_sequence(arch, fill):
    run_longest_sequence(at_once(arch, 516, 3), fill, OCTAVES)


def at_once(arch, seq_len, head_dim):
    listing = (DEVICE / "attn8/kernels/sparse.py").read_text()
    machine = isa.load(listing + kernels.sparse(seq_len, head_dim), arch)
    row = head_dim + (head_dim + 1) // 2 * 4
    return AtOnce(machine, lambda keys, _: (keys * row, keys * 4))


def generic(arch):
    return isa.load(DEVICE / "attn8/kernels/linear.py", arch)


SIZES = [  # seq_len, embed_dim, num_heads
    (3, 2, 2), (7, 12, 4), (32, 64, 4), (33, 63, 1), (129, 8, 2),
]  # fmt: skip


@pytest.fixture(scope="module")
def specialised():
    """A virtual board that has the specialised kernels of all SIZES."""
    layers = [
        {"type": "attention", "core": core, "seq_len": s, "embed_dim": e, "num_heads": h}
        for core in ("exact", "linear", "sparse") for s, e, h in SIZES
    ]
    layers.append({"type": "dense", "in_features": 64})
    with open_virtual(heap_size="2M") as board:  # the weights come as text
        deploy(board, config={"layers": layers})
        yield Remote(board)


@pytest.mark.parametrize("seq_len, embed_dim, num_heads", SIZES)
@pytest.mark.parametrize("causal, need", [(False, False), (True, True)])
def test_board_equals_reference(specialised, seq_len, embed_dim, num_heads, causal, need):
    rng = np.random.default_rng(seq_len)
    layers = parameters(rng, embed_dim)
    head_dim = embed_dim // num_heads
    constants = exact_constants(head_dim, 0.03, 0.03, 0.03, 0.02)
    x = rng.integers(-128, 128, (seq_len, embed_dim)).astype(np.int8)
    reference = MultiHeadAttention(num_heads, layers, constants, causal=causal)
    expected = reference(x)
    out, chosen, core, *given_ = specialised(
        RUN + f"give(out)\nfrom attn8.kernels import matmul_{embed_dim} as module\n"
        "give(int(layer.out._matmul is module.matmul))\n"
        "give(layer.cores[0]._kernels.__name__)\n"
        "for t in (layer.q, layer.k, layer.v, layer.heads): give(t)",
        x=x, seq_len=seq_len, embed_dim=embed_dim, num_heads=num_heads, constants=constants,
        causal=causal, need=need, **named(layers),
    )
    assert chosen == 1
    assert core == f"attn8.kernels.attention_{seq_len}_{head_dim}"
    for name, tensor in zip(("q", "k", "v", "heads"), given_, strict=True):
        assert (tensor == reference.outputs[name].ravel()).all(), name
    assert (out == expected.ravel()).all()


RUN_DENSE = """
from attn8.kernels import matmul_64
from attn8.layers.dense import Dense, Linear
layer = Dense(Linear("fc", 64, len(bias), w, bias, mult, shift), 3)
give(layer(x))
give(int(layer._matmul is matmul_64.matmul))
"""


@pytest.mark.parametrize(
    "over, shift, within", [(0, 21, 1), (0, 36, 1), (1, 21, 0), (0, 20, 0), (0, 37, 0)]
)
def test_matmul_is_taken_within_its_bounds(specialised, over, shift, within):
    # At the bound S + bias is +-(2**20 - 513) in all three rows
    x = np.full((3, 64), -128, np.int8)
    w = np.array([[-127], [127]], np.int8).repeat(64, axis=1)
    bias = np.array([1, -1], np.int32) * (2**20 - 513 - 64 * 127 * 128 + over)
    mult, shifts = np.full(2, 16385, np.int16), np.full(2, shift, np.int8)
    out, chosen = specialised(
        RUN_DENSE, x=x.ravel(), w=w.ravel(), bias=bias, mult=mult, shift=shifts
    )
    assert chosen == within
    assert (out == Dense(w, bias, mult, shifts)(x).ravel()).all()


RUN_ROWS = """
from attn8.kernels import matvec_64
from attn8.layers.dense import Dense, Linear
scale = (mult, shift) if len(mult) else ()
layer = Dense(Linear("fc", 64, len(bias), w, bias, *scale), rows)
give(layer(x))
give(int(layer._matmul is matvec_64.matmul))
"""


@pytest.mark.parametrize("rows, wide", [(1, True), (2, False), (3, True)])
@pytest.mark.parametrize("fill", ["random", "lowest"])
def test_matvec_on_the_board(specialised, rows, wide, fill):
    rng = np.random.default_rng(rows)
    x, w = int8(rng, fill, rows, 64), int8(rng, fill, 10, 64)
    most = 2**30 - 1 - 16384 * 64
    bias = rng.integers(-most, most, 10, endpoint=True).astype(np.int32)
    scale = np.full(10, 20000, np.int16)[:0 if wide else 10], np.full(10, 25, np.int8)
    out, chosen = specialised(
        RUN_ROWS, x=x.ravel(), w=w.ravel(), bias=bias, mult=scale[0], shift=scale[1], rows=rows
    )
    assert chosen
    assert (out == Dense(w, bias, *(() if wide else scale))(x).ravel()).all()


RUN_SOFTMAX = """
import gc
from attn8 import Exact
from attn8.kernels import attention
taken = []
while not spare and gc.mem_free() >= 32768:
    taken.append(bytes(4096))
out = array("b", bytes(len(q)))
core = Exact(32, 16, **constants)
core(q, k, v, out)
give(out)
give(core._kernels.__name__)
give(int(core._softmax is attention.softmax))
taken = None
"""


@pytest.mark.parametrize("octaves, spare, generic", [(16, True, 0), (24, True, 1), (16, False, 1)])
def test_softmax_looks_up_16_octaves_where_there_is_room(specialised, octaves, spare, generic):
    rng = np.random.default_rng(1)
    q, k, v = (rng.integers(-127, 128, (32, 16)).astype(np.int8) for _ in range(3))
    constants = exact_constants(16, 0.03, 0.03, 0.03, 0.02)
    for name, value in zip(("mult", "shift", "limit"), score_constants(0.0005, 16, octaves),
                           strict=True):
        constants["score_" + name] = value
    specialised.board.enter_repl()  # with the whole of its memory
    out, module, chosen = specialised(
        RUN_SOFTMAX, q=q, k=k, v=v, constants=constants, spare=spare
    )
    assert module == "attn8.kernels.attention_32_16"
    assert chosen == generic
    assert (out == Exact(**constants)(q, k, v).ravel()).all()


RUN_LINEAR = """
from attn8 import Linear
out = array("b", bytes(len(q)))
core = Linear(len(q) // head_dim, head_dim, causal=causal, need_weights=True, **constants)
core(q, k, v, out)
give(out)
give(core._kernels.__name__)
for _, _, values in core.outputs: give(values)
"""


@pytest.mark.parametrize("seq_len, head_dim", [(s, e // h) for s, e, h in SIZES])
@pytest.mark.parametrize("causal, form", [(False, FORMS[4]), (True, FORMS[0]), (True, FORMS[3])])
def test_linear_on_the_board_equals_reference(specialised, seq_len, head_dim, causal, form):
    rng = np.random.default_rng(seq_len)
    q, k, v = (rng.integers(-128, 128, (seq_len, head_dim)).astype(np.int8) for _ in range(3))
    keywords = linear_constants(head_dim, *form)
    reference = Linear(**keywords, causal=causal)
    expected = reference(q, k, v)
    out, module, *outputs = specialised(
        RUN_LINEAR, q=q, k=k, v=v, head_dim=head_dim, causal=causal, constants=keywords
    )
    assert module == f"attn8.kernels.linear_{head_dim}"
    assert (out == expected.ravel()).all()
    for got, want in zip(outputs, reference.outputs.values(), strict=True):
        assert (got == want.ravel()).all()


RUN_SPARSE = """
from attn8 import Sparse
out = array("b", bytes(len(q)))
core = Sparse(seq_len, len(q) // seq_len, mask=mask, need_weights=need, **constants)
core(q, k, v, out)
give(out)
give(core._kernels.__name__)
give(int(core._dense is not None))
for _, _, values in core.outputs: give(values)
"""


@pytest.mark.parametrize("seq_len, head_dim", [(s, e // h) for s, e, h in SIZES])
@pytest.mark.parametrize("density, need", [(0.1, False), (0.5, True), (0.75, False), (1, False)])
def test_sparse_on_the_board_equals_reference(specialised, seq_len, head_dim, density, need):
    rng = np.random.default_rng(seq_len)
    q, k, v = (rng.integers(-128, 128, (seq_len, head_dim)).astype(np.int8) for _ in range(3))
    q[0], k[0] = -128, -128
    keywords = exact_constants(head_dim, 0.03, 0.03, 0.03, 0.02)
    mask = masks.Mask.from_dense(rng.random((seq_len, seq_len)) < density)
    reference = Sparse(**keywords, mask=mask)
    expected = reference(q, k, v)
    out, module, dense, *outputs = specialised(
        RUN_SPARSE, q=q, k=k, v=v, seq_len=seq_len, mask=mask.to_bits().ravel(), need=need,
        constants=keywords,
    )
    assert module == f"attn8.kernels.sparse_{seq_len}_{head_dim}"
    assert dense == (mask.density > 0.82)
    assert (out == expected.ravel()).all()
    kept = reference.outputs.values() if need else []
    for got, want in zip(outputs, kept, strict=True):
        assert (got == want.ravel()).all()


def check_choice(specialised, seed, changes, window, within):
    """Whether 32 tokens with these constants take the specialised kernels, and exactness."""
    rng = np.random.default_rng(seed)
    q, k, v = (rng.integers(-127, 128, (32, 16)).astype(np.int8) for _ in range(3))
    keywords = exact_constants(16, 0.03, 0.03, 0.03, 0.02) | changes
    out, module, *_ = specialised(
        RUN_SPARSE, q=q, k=k, v=v, seq_len=32, mask=["local_window", window], need=False,
        constants=keywords,
    )
    assert module == "attn8.kernels.sparse" + "_32_16" * within
    mask = masks.local_window(32, window)
    assert (out == Sparse(**keywords, mask=mask)(q, k, v).ravel()).all()


@pytest.mark.parametrize("shift, within", [(21, 0), (22, 1), (36, 1), (37, 0)])
def test_sparse_is_taken_within_its_bounds(specialised, shift, within):
    check_choice(specialised, shift, {"out_shift": shift}, 3, within)


RUN_TWO_HEADS = """
import gc
from attn8 import Sparse, masks
mask = masks.local_window(32, 5)
Sparse.room(32, 16)  # is asked for before there is to be any
gc.collect()
taken = []
while gc.mem_free() >= 24576:
    taken.append(bytes(4096))
cores = [Sparse(32, 16, mask=mask, **constants)]
taken = None
gc.collect()
cores.append(Sparse(32, 16, mask=mask, buffers=cores[0].buffers, **constants))
for core in cores:
    out = array("b", bytes(len(q)))
    core(q, k, v, out)
    give(out)
    give(core._kernels.__name__)
"""


def test_sparse_heads_of_which_one_has_no_room_for_octaves(specialised):
    rng = np.random.default_rng(1)
    q, k, v = (rng.integers(-127, 128, (32, 16)).astype(np.int8) for _ in range(3))
    keywords = exact_constants(16, 0.03, 0.03, 0.03, 0.02)
    expected = Sparse(**keywords, mask=masks.local_window(32, 5))(q, k, v).ravel()
    specialised.board.enter_repl()  # with the whole of its memory
    found = specialised(RUN_TWO_HEADS, q=q, k=k, v=v, constants=keywords)
    assert found[1::2] == ["attn8.kernels.sparse", "attn8.kernels.sparse_32_16"]
    for out in found[::2]:
        assert (out == expected).all()


@pytest.mark.parametrize("octaves, within", [(16, 1), (24, 0)])
def test_sparse_looks_up_16_octaves(specialised, octaves, within):
    names = ("score_mult", "score_shift", "score_limit")
    changes = dict(zip(names, score_constants(0.0005, 16, octaves), strict=True))
    check_choice(specialised, octaves, changes, 5, within)
