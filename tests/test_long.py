"""Long sequences: flash beyond 516 keys, linear and performer to 32,768 tokens and 256 features."""

import numpy as np
import pytest

from attn8_host import cores, modelfile
from attn8_host.boards.virtual import open_virtual
from attn8_host.cores import performer
from attn8_host.cores.flash import Flash, flash_constants
from attn8_host.cores.linear import Linear, linear_constants
from attn8_host.cores.performer import Performer, random_features
from attn8_host.deploy import deploy, push
from attn8_host.model import Model
from attn8_host.numerics import floating
from attn8_host.numerics.scales import quantize
from tests import test_flash_core, test_performer
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
