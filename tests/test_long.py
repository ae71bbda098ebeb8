"""Long sequences: flash, sparse and local_global beyond 516 keys, linear and performer to 32,768
tokens and 256 features.
"""

import numpy as np
import pytest

from attn8_host import cores, masks, modelfile
from attn8_host.boards.virtual import open_virtual
from attn8_host.cores import performer
from attn8_host.cores.exact import Exact, exact_constants
from attn8_host.cores.flash import Flash, flash_constants
from attn8_host.cores.linear import Linear, linear_constants
from attn8_host.cores.local_global import LocalGlobal, local_global_constants
from attn8_host.cores.performer import Performer, random_features
from attn8_host.cores.sparse import Sparse
from attn8_host.deploy import deploy, push
from attn8_host.model import Model
from attn8_host.numerics import floating
from attn8_host.numerics.scales import output_constants, quantize, score_constants
from tests import test_flash_core, test_local_global, test_performer, test_sparse
from tests.conftest import Remote
from tests.test_exact import KINDS, quantized, structured
from tests.test_linear import RUN as LINEAR

TOKENS = 32768


@pytest.fixture(scope="module")
def remote():
    """A board with as much memory as PSRAM has."""
    with open_virtual(heap_size="16M") as board:
        deploy(board)
        board.enter_repl()
        yield Remote(board)


@pytest.mark.parametrize("fill", ["random", "lowest", "highest"])
def test_machine_code_of_flash(machines, fill):
    """Flat and random scores of 1,300 keys; sums are full twice."""
    test_flash_core.run_kernels(machines, np.random.default_rng(3), 1300, 2, 300, False, 1, fill,
                                1e-4, rows=1)


@pytest.mark.parametrize("num_features", [64, 65, 128, 129, 256])
def test_machine_code_of_many_features(machines, num_features):
    """All features at their largest: the sums of attend are next to int32's limit."""
    keywords = test_performer.constants(2, num_features, scales=(1e-4, 1e-4, 0.02, 0.01))
    q = np.full((3, 2), 127, np.int8)
    test_performer.run_kernels(machines, keywords, q, q, np.full((3, 2), 127, np.int8), 0)


@pytest.mark.parametrize("value", [-127, 127])
def test_machine_code_of_performer_with_many_tokens(machines, value):
    keywords = test_performer.constants(2, 3, scales=(1e-4, 1e-4, 0.02, 0.02))
    q = np.full((1300, 2), 127, np.int8)
    test_performer.run_kernels(machines, keywords, q, q, np.full((1300, 2), value, np.int8), 0)


@pytest.mark.parametrize("causal", [False, True])
def test_example_3(remote, causal):
    """Flash over 1,024 tokens in blocks of 128, one of its heads."""
    (q, k, v), scales = quantized(*structured(1, np.random.default_rng(4), 1024, 64))
    constants = flash_constants(64, *scales)
    expected = Flash(**constants, causal=causal)(q, k, v)
    out, _, _ = remote(test_flash_core.RUN, q=q, k=k, v=v, seq_len=1024, head_dim=64,
                       causal=causal, need=False, block=128, constants=constants)
    assert (out == expected.ravel()).all()


def test_example_2(remote):
    """Performer over 4,096 tokens with 256 features, a quarter of one of its heads."""
    q, k, v = structured(1, np.random.default_rng(4), 4096, 16)
    scales = [float(np.abs(x).max()) / 127 for x in (q, k, v)]
    q, k, v = (quantize(x, s) for x, s in zip((q, k, v), scales, strict=True))
    features = random_features(1, 256, 16, 3)
    step = float(np.abs(features).max()) / 127
    exact = performer.floating(q * scales[0], k * scales[1], v * scales[2], False,
                               quantize(features[0], step) * step)
    scale = float(np.abs(exact).max()) / 127
    keywords = performer.performer_constants(16, *scales, scale, features)
    keywords["features"] = keywords["features"][0]
    expected = Performer(**keywords)(q, k, v)
    assert np.abs(expected - exact / scale).max() <= 1.2
    out = remote(test_performer.RUN, q=q, k=k, v=v, seq_len=4096, head_dim=16, causal=False,
                 need=False, block=8, features=keywords.pop("features"), constants=keywords)
    assert (out == expected.ravel()).all()


# Of 600 tokens: windows that two passes can sum; rows that see more, none and all keys
MASKS = {
    "window": lambda n: masks.local_window(n, 5),
    "516 keys": lambda n: masks.Mask(n, [[i % 5, i % 5 + 516] for i in range(n)]),
    "517 keys": lambda n: masks.Mask(n, [[i % 5, i % 5 + 516 + (i == 3)] for i in range(n)]),
    "local_global": lambda n: masks.local_global(n, 3, [0, n - 40]),
    "one row": lambda n: masks.Mask(n, [[0, n] if i == 9 else [] for i in range(n)]),
}


@pytest.mark.parametrize(("name", "seq_len"),
                         [*((name, 600) for name in MASKS), ("517 keys", 1024)])
def test_sparse_beyond_516_tokens(remote, name, seq_len):
    mask = MASKS[name](seq_len)
    check_sparse(remote, mask, mask.to_bits().ravel(), seq_len)


def test_sparse_of_2048_tokens(remote):
    """The mask has more spans than uint16 counts, though they are smaller than its bits."""
    check_sparse(remote, masks.strided(2048, 0, 33), ["strided", 0, 33], 2048)


def check_sparse(remote, mask, given, seq_len):
    (q, k, v), scales = quantized(*structured(1, np.random.default_rng(4), seq_len, 8))
    constants = exact_constants(8, *scales)
    reference = Sparse(**constants, mask=mask)
    expected = reference(q, k, v)
    longest = int(mask.dense.sum(axis=1).max())
    if longest <= 516:
        assert (expected == Exact(**constants)(q, k, v, ~mask.dense)).all()
    out, core = remote(test_sparse.RUN + "give(type(core).__name__)", q=q, k=k, v=v,
                       seq_len=seq_len, head_dim=8, mask=given, causal=False, need=False, block=8,
                       constants=constants)
    assert core == ("Listed" if longest <= 516 else "Flash")
    assert (out == expected.ravel()).all()


def test_sparse_in_one_pass_takes_causal_and_masks_of_a_call(remote):
    """Keys that are padding, then pairs, then none again; with all intermediates."""
    rng = np.random.default_rng(4)
    (q, k, v), scales = quantized(*structured(1, rng, 600, 4))
    constants = exact_constants(4, *scales)
    dense = rng.random((600, 600)) < 0.05
    dense[570:] = True
    mask = masks.Mask.from_dense(dense)
    reference = Sparse(**constants, mask=mask, causal=True)
    keys, pairs = ((rng.random(shape) < 0.5).astype(np.int8) for shape in (600, (600, 600)))
    found = remote("""
from attn8 import Sparse
out = array("b", bytes(len(q)))
core = Sparse(600, 4, mask=bits, causal=True, need_weights=True, **constants)
for mask in keys, pairs, None:
    core(q, k, v, out, mask)
    give(out)
    for name, code, values in core.outputs:
        give(values)
""", q=q, k=k, v=v, constants=constants, bits=mask.to_bits().ravel(), keys=keys, pairs=pairs)
    wanted = []
    for mask in keys, pairs, None:
        wanted += [reference(q, k, v, mask), *reference.outputs.values()]
    assert list(reference.outputs) == ["octaves", "sums"]
    for values, want in zip(found, wanted, strict=True):
        assert (values == want.ravel()).all()


@pytest.mark.parametrize("form", test_sparse.FORMS)
def test_machine_code_of_sparse_with_many_tokens(machines, on_device, form):
    """Pairs at both ends of 1,024 tokens."""
    rng = np.random.default_rng(1)
    q, k, v = rng.integers(-127, 128, (3, 1024, 5), np.int8)
    score, output = score_constants(1e-3, 5), output_constants(3.0)
    mask = masks.Mask(1024, [[i % 7, i % 7 + 2, 1022, 1024] for i in range(1024)])
    reference = Sparse(*score, *output, mask)
    expected = reference(q, k, v)
    attend = test_sparse.FORMS[form](machines, on_device)
    out = test_sparse.heads(attend, mask, q, k, v, score, *output, reference, 0)
    assert (out == expected).all()


@pytest.mark.parametrize(("window", "count"), [(300, 4), (2, 517), (300, 600)])
@pytest.mark.parametrize("causal", [False, True])
def test_local_global_beyond_516_keys(remote, window, count, causal):
    """Of a window, of global tokens and of both; without a mask and with both kinds."""
    rng = np.random.default_rng(4)
    window *= 1 + causal
    q, k, v = rng.integers(-127, 128, (3, 650, 4), np.int8)
    constants, gate = test_local_global.constants(rng, 4)
    indices = sorted(rng.choice(650, count, replace=False).tolist())
    reference = LocalGlobal(gate, window, indices, **constants, causal=causal)
    keys, pairs = ((rng.random(shape) < 0.5).astype(np.int8) for shape in (650, (650, 650)))
    found = remote("""
from attn8 import LocalGlobal
out = array("b", bytes(len(q)))
core = LocalGlobal(650, 4, gate, window, indices, causal=causal, need_weights=True, **constants)
for mask in None, keys, pairs:
    core(q, k, v, out, mask)
    give(out)
    for name, code, values in core.outputs:
        if name != "local_weights":
            give(values)
""", q=q, k=k, v=v, gate=gate, window=window, indices=indices, causal=causal,
                   constants=constants, keys=keys, pairs=pairs)
    wanted = []
    for mask in None, keys, pairs:
        out = reference(q, k, v, mask)
        wanted += [out, reference.outputs["local_sums"], reference.outputs["global_sums"]]
    for values, want in zip(found, wanted, strict=True):
        assert (values == want.ravel()).all()


@pytest.mark.parametrize("count", [516, 517])
def test_global_tokens_may_become_more(remote, count):
    """And fewer again, of a core that is there."""
    rng = np.random.default_rng(4)
    q, k, v = rng.integers(-127, 128, (3, 600, 4), np.int8)
    constants, gate = test_local_global.constants(rng, 4)
    found = remote("""
from attn8 import LocalGlobal
out = array("b", bytes(len(q)))
core = LocalGlobal(600, 4, gate, 2, [0], **constants)
for n in (count, 3):
    core.update_global_indices(range(n))
    give(core(q, k, v, out))
""", q=q, k=k, v=v, gate=gate, count=count, constants=constants)
    for out, n in zip(found, (count, 3), strict=True):
        expected = LocalGlobal(gate, 2, range(n), **constants)(q, k, v)
        assert (out == expected.ravel()).all()


@pytest.mark.parametrize("call", [
    'Sparse(600, 4, mask=["full"], **constants)',
    "LocalGlobal(600, 4, gate, 300, [0], **constants)",
    "LocalGlobal(600, 4, gate, 1, range(517), **constants)",
])
def test_one_pass_allocates_nothing(remote, call):
    constants, gate = test_local_global.constants(np.random.default_rng(4), 4)
    assert remote.needs_no_heap("core(x, x, x, out, mask)", """
from attn8 import LocalGlobal, Sparse
core = eval(call)
out = array("b", bytes(len(x)))
""", x=np.random.default_rng(0).integers(-127, 128, 2400).astype(np.int8), call=call, gate=gate,
                                mask=np.eye(1, 600, dtype=np.int8)[0], constants=constants)


@pytest.mark.parametrize("call", [
    'Sparse(600, 4, mask=["full"], **constants)',
    "LocalGlobal(600, 4, gate, 300, [0], **constants)",
])
def test_scores_too_steep_for_one_pass_are_refused(remote, call):
    constants, gate = test_local_global.constants(np.random.default_rng(4), 4)
    steep = dict(zip(("score_mult", "score_shift", "score_limit"), score_constants(2.0, 4),
                     strict=True))
    said = remote.refused("from attn8 import LocalGlobal, Sparse\neval(call)", call=call,
                          gate=gate, constants=constants | steep)
    assert said.startswith("score_mult: expected 0 to ")


@pytest.mark.parametrize("seq_len", [517, 1024])
def test_sparse_and_local_global_are_close_to_float(seq_len):
    for kind in KINDS:
        (q, k, v), scales = quantized(*structured(kind, np.random.default_rng(5), seq_len, 16))
        exact = floating.attention(*(x.astype(float) for x in (q, k, v)),
                                   scales[0] * scales[1] / 4)
        wanted = np.clip(exact * scales[2] / scales[3], -127, 127)
        out = Sparse(**exact_constants(16, *scales), mask=["full"])(q, k, v)
        assert np.abs(out - wanted).max() <= 0.8, kind
        keywords = local_global_constants(16, *scales, np.zeros((1, 16)), seq_len, range(seq_len))
        keywords["gate"] = keywords["gate"][0]
        out = LocalGlobal(**keywords, window=seq_len, global_indices=range(seq_len))(q, k, v)
        assert np.abs(out - wanted).max() <= 0.8, kind


@pytest.mark.parametrize("seq_len", [517, 1300])
def test_flash_is_close_to_float(seq_len):
    for kind in KINDS:
        (q, k, v), scales = quantized(*structured(kind, np.random.default_rng(5), seq_len, 16))
        out = Flash(**flash_constants(16, *scales))(q, k, v)
        exact = floating.attention(*(x.astype(float) for x in (q, k, v)),
                                   scales[0] * scales[1] / 4)
        wanted = np.clip(exact * scales[2] / scales[3], -127, 127)
        assert np.abs(out - wanted).max() <= 0.8, kind


@pytest.mark.parametrize("seq_len", [517, 2057])
@pytest.mark.parametrize(("name", "options"), [
    ("flash", {}), ("linear", {}), ("linear", {"phi": "relu"}), ("linear", {"phi": "elu+1"}),
    ("performer", {"num_features": 8}), ("performer", {"num_features": 100}),
])
def test_an_average_of_127_is_127(name, options, seq_len):
    core = cores.get(name)
    given = dict(options)
    parameters = core.parameters(np.random.default_rng(1), 1, 4, given)
    constants, made = core.quantize(4, dict.fromkeys(("q", "k", "v", "heads"), 0.05), given,
                                    parameters)
    heads = {key: values[0] for key, values in made.items()}
    q = np.zeros((seq_len, 4), np.int8)
    if options.get("phi") == "relu":  # which gives 0 a weight of 0
        q += 1
    reference = core.reference(**constants, **given, **heads)
    assert (reference(q, q, np.full((seq_len, 4), 127, np.int8)) == 127).all()


def test_linear_takes_32768_tokens(remote):
    """In one pass; ELU + 1 has the largest sums."""
    q, k, v = np.random.default_rng(6).integers(-127, 128, (3, TOKENS, 2), np.int8)
    constants = linear_constants(2, 0.02, 0.03, 0.02, 0.002, "elu+1") | {"phi": "elu+1"}
    expected = Linear(**constants)(q, k, v)
    out = remote(LINEAR, q=q, k=k, v=v, seq_len=TOKENS, head_dim=2, causal=False, need=False,
                 block=8, constants=constants)
    assert (out == expected.ravel()).all()
    features = [np.where(x > 0, x + 1, np.exp(np.minimum(x, 0))) for x in (q * 0.02, k * 0.03)]
    exact = features[0] @ (features[1].T @ v) / (features[0] @ features[1].sum(axis=0))[:, None]
    assert np.abs(out.reshape(exact.shape) - np.clip(exact * 10, -127, 127)).max() <= 1


def test_performer_takes_32768_tokens(remote):
    q, k, v = np.random.default_rng(6).integers(-127, 128, (3, TOKENS, 2), np.int8)
    keywords = test_performer.constants(2, 5, scales=(0.02, 0.02, 0.02, 0.002))
    expected = Performer(**keywords)(q, k, v)
    features = keywords.pop("features")
    out = remote(test_performer.RUN, q=q, k=k, v=v, seq_len=TOKENS, head_dim=2, causal=False,
                 need=False, block=8, constants=keywords, features=features)
    assert (out == expected.ravel()).all()


def test_steps_beyond_512_tokens_are_the_causal_pass(remote):
    q, k, v = np.random.default_rng(6).integers(-127, 128, (3, 1100, 2), np.int8)
    keywords = test_performer.constants(2, 5, scales=(1e-3, 1e-3, 0.02, 0.01))
    expected = Performer(**keywords, causal=True)(q, k, v)
    out = remote("""
from attn8 import Performer
core = Performer(1100, 2, features, causal=True, **constants)
out = array("b")
one = array("b", bytes(2))
for t in range(0, 2200, 2):
    out.extend(core.step(q[t : t + 2], k[t : t + 2], v[t : t + 2], one))
give(out)
""", q=q, k=k, v=v, features=keywords.pop("features"), constants=keywords)
    assert (out == expected.ravel()).all()


@pytest.mark.parametrize(("seq_len", "rounds"), [(2056, 0), (2057, 1), (20000, 4)])
def test_tables_of_elu_get_coarser(remote, seq_len, rounds):
    constants = linear_constants(1, 0.02, 0.02, 0.02, 4.0, "elu+1", False) | {
        "phi": "elu+1", "normalize": False}
    reference = Linear(**constants)
    assert reference._keys_table(seq_len)[1] == rounds
    q = np.random.default_rng(2).integers(-127, 128, (3, seq_len, 1), np.int8)
    out = remote(LINEAR.replace("need_weights=need, block_rows=block, ", ""), q=q[0].ravel(),
                 k=q[1].ravel(), v=q[2].ravel(), seq_len=seq_len, head_dim=1, causal=False,
                 constants=constants)
    assert (out == reference(*q).ravel()).all()


def test_inputs_of_more_than_32768_values(remote):
    config = {"format": "attn8", "version": 1, "name": "long", "input": {"shape": [50, 1000]},
              "layers": [{"type": "relu", "name": "r"}]}
    push(remote.board, "/models/long.safetensors", modelfile.pack(config, {}))
    x = np.random.default_rng(3).integers(-127, 128, (50, 1000), np.int8)
    out = remote("from attn8 import load\n"
                 "give(load('/models/long.safetensors')(x))", x=x.ravel())
    assert (out == Model(config, {})(x)["r"].ravel()).all()
