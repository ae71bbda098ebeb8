"""int16 activations with int8 weights: bit-exact on a board, and much nearer to float than int8."""

from array import array

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attn8_host import float_model, isa, layers, modelfile
from attn8_host.cores.exact16 import Exact16, exact16_constants, most
from attn8_host.deploy import push
from attn8_host.errors import ModelError
from attn8_host.layers.dense import Dense
from attn8_host.model import Model
from attn8_host.numerics.scales import narrowing, quantize
from attn8_host.plan.inference import loaded
from attn8_host.proof.compare import verify
from attn8_host.quantize.model import quantize_model

from .test_encoder import PATH, SEQ_LEN, VARIANTS, Encoder
from .test_zero_allocation import RUN


@pytest.fixture(params=VARIANTS, scope="module")
def encoder(request):
    """(float encoder, calibration inputs)."""
    rng = np.random.default_rng(sorted(VARIANTS).index(request.param))
    made = Encoder(rng, **VARIANTS[request.param])
    made.variant = VARIANTS[request.param]
    return made, rng.normal(size=(6, SEQ_LEN, 6))


def with_int8_weights(made):
    """The encoder's tensors, matrices as their int8 weights stand for them."""
    tensors = dict(made.tensors)
    for entry in made.layers:
        parts = {"dense": ("",), "attention": ("q.", "k.", "v.", "out.")}
        for part in parts.get(entry["type"], ()):
            key = f"{entry['name']}.{part}weight"
            scale = np.abs(tensors[key]).max(axis=1, keepdims=True) / 127
            if entry.get("output") == "int32":
                scale = scale.max()
            tensors[key] = np.floor(tensors[key] / scale + 0.5) * scale
    return tensors


def error(made, tensors, inputs, bits):
    """Mean error of the last layer over its range, against floats of the same input."""
    config, integers = quantize_model(made.config, made.tensors, inputs, activation_bits=bits)
    model, scale = Model(config, integers), config["input"]["scale"]
    x = [quantize(sample, scale) for sample in inputs]
    got = np.array([model(sample)["head"].ravel() for sample in x]) * config["layers"][-1]["scale"]
    want = np.array([float_model.run(made.config, tensors, sample * scale)["head"].ravel()
                     for sample in x])
    return np.abs(got - want).mean() / np.ptp(want)


def test_it_is_20_times_nearer_to_float_than_int8(encoder):
    made, inputs = encoder
    tensors = with_int8_weights(made)  # what rounding the weights costs is the same for both
    errors = {bits: error(made, tensors, inputs, bits) for bits in (8, 16)}
    assert errors[16] <= errors[8] / 20, errors
    assert errors[16] <= 2e-4


def test_a_board_computes_the_same_and_allocates_nothing(board, remote, encoder):
    variant, inputs = encoder[0].variant, encoder[1]
    made = Encoder(np.random.default_rng(0), depth=1, **variant)  # two do not fit
    config, tensors = quantize_model(made.config, made.tensors, inputs, activation_bits=16)
    board.enter_repl()
    push(board, PATH, modelfile.pack(config, tensors))
    model = Model(config, tensors, need_weights=False)
    extremes = np.full((2, SEQ_LEN * 6), 127, np.int8)
    extremes[1, ::2] = -127
    x = quantize(inputs[:3], config["input"]["scale"]).reshape(3, -1)
    with board.serve() as client:
        client.load(PATH, need_weights=False)
        found = verify(client, model, np.vstack([x, extremes]))
    assert found.bit_exact, found.mismatched
    board.enter_repl()
    without, with_inferences = remote(RUN, path=PATH)
    assert with_inferences == without


@pytest.mark.parametrize("arch", isa.ARCHES)
@pytest.mark.parametrize("backend", ["viper", "turbo"])
def test_the_machine_code_of_chips_computes_the_same(encoder, arch, backend):
    made, inputs = encoder
    config, tensors = quantize_model(made.config, made.tensors, inputs, activation_bits=16)
    del config["arena"]  # all that is computed is to be there at the end
    model, _, _ = loaded(config, modelfile.pack(config, tensors), arch, backend)
    x = quantize(inputs[0], config["input"]["scale"]).ravel()
    model(array("b", x.tobytes()))
    want = Model(config, tensors, need_weights=False)(x)
    assert [name for name, *_ in model.outputs] == list(want)
    for name, code, values in model.outputs:
        assert (np.array(values, code) == want[name].ravel()).all(), name


sizes = st.integers(1, 40)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 12), inputs=sizes, outputs=sizes,
       output=st.sampled_from(["int8", "int16", "int32"]),
       fill=st.sampled_from(["random", "extremes"]))
@example(seed=0, rows=1, inputs=4096, outputs=2, output="int16", fill="extremes")
@example(seed=0, rows=1, inputs=129, outputs=1, output="int32", fill="extremes")
def test_dense(remote, seed, rows, inputs, outputs, output, fill):
    rng = np.random.default_rng(seed)
    x = rng.integers(-32768, 32768, (rows, inputs)).astype(np.int16)
    weight = rng.integers(-128, 128, (outputs, inputs)).astype(np.int8)
    if fill == "extremes":
        weight = np.where(rng.integers(0, 2, weight.shape), 127, -128).astype(np.int8)
        x[0] = np.where(weight[0] > 0, 32767, -32768)
    bias = rng.choice(np.array([-(1 << 29), 12345, 1 << 29]), outputs).astype(np.int32)
    requant = {} if output == "int32" else {
        "mult": rng.integers(1 << 14, 1 << 15, outputs).astype(np.int16),
        "shift": rng.integers(16, 46, outputs).astype(np.int8),
    }
    out = remote(
        "from attn8.dense16 import Dense16, Linear16\n"
        f"linear = Linear16('d', inputs, outputs, weight, bias, {', '.join(requant)}"
        f"{'' if output == 'int32' else ', output=output'})\n"
        "give(Dense16(linear, rows)(x))",
        x=x, weight=weight, bias=bias, rows=rows, inputs=inputs, outputs=outputs, output=output,
        **requant,
    )
    reference = Dense(weight, bias, **requant)
    reference.format = output
    assert (out == reference(x).ravel()).all()


def test_sums_stay_in_int32():
    for inputs in (1, 128, 129, 4096):
        weight = np.full((1, inputs), -127, np.int8)
        down = narrowing(weight)
        assert 127 * inputs * (32768 >> down) <= 1 << 29
        assert down == 0 or 127 * inputs * (32768 >> down - 1) > 1 << 29


@pytest.mark.parametrize("keys, head_dim", [(1, 1), (5, 3), (516, 1), (33, 64), (7, 130)])
def test_extreme_attention(board, remote, keys, head_dim):
    board.enter_repl()  # with all of the memory
    rng = np.random.default_rng(keys)
    largest = most(head_dim)
    q, k, v = (rng.choice(np.array([-n, n - 1, n]), (keys, head_dim)).astype(np.int16)
               for n in (largest["q"], largest["k"], largest["v"]))
    for octaves in (2.0**-28, 2.0**-20, 2.0**-15.1):
        constants = exact16_constants(head_dim, octaves * head_dim**0.5 / np.log2(np.e), 1, 1, 1)
        out = remote(
            "from attn8.cores.exact16 import Exact16\n"
            "out = array('h', bytes(2 * len(q)))\n"
            "give(Exact16(keys, head_dim, *constants, block_rows=2)(q, k, v, out))",
            q=q, k=k, v=v, keys=keys, head_dim=head_dim, constants=list(constants.values()),
        )
        assert (out == Exact16(**constants)(q, k, v).ravel()).all()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("Dense(Linear16('d', 2, 1, w, b))", "linear: expected Linear, got Linear16"),
        ("Dense16(Linear16('d', 2, 1, w, b))(h)", "d: expected 2 values, got 3"),
        ("Dense16(Linear16('d', 2, 1, w, b))(bytes(2))", "d: expected array('h'), got bytes"),
        ("Linear16('d', 2, 1, w, array('i', [1 << 30]))",
         "d.bias: expected -536870912 to 536870912, got 1073741824"),
        ("Linear16('d', 2, 1, w, b, output='int16')", "missing tensor d.mult"),
        ("Exact16(1, 3, 16384, 30, 1 << 29, 20)(array('h', [0, 32767, 0]), h, h, o)",
         "q: expected -13377 to 13377, got 32767"),
        ("Exact16(1, 3, 16384, 30, 1 << 29, 20)(h, h, h, h)",
         "q: expected memory apart from out"),
        ("Exact16(1, 3, 1, 30, 1 << 29, 20)", "score.mult: expected 16384 to 32767, got 1"),
        ("ReLU(3, 'int16')(bytes(6))", "relu: expected array('h'), got bytes"),
        ("Interpolate(3, h)", "lookup.table: expected 513 values, got 3"),
        ("Multiply(3, 16384, 20, format='int32')",
         "multiply.format: expected int8 or int16, got int32"),
    ],
)
def test_wrong_calls_are_refused_in_one_line(remote, code, message):
    setup = (
        "from array import array\n"
        "from attn8 import Dense, Multiply, ReLU\n"
        "from attn8.cores.exact16 import Exact16\n"
        "from attn8.dense16 import Dense16, Linear16\n"
        "from attn8.lookup import Interpolate\n"
        "h, o, w, b = array('h', bytes(6)), array('h', bytes(6)), bytearray(2), array('i', [0])"
    )
    assert remote.refused(code, setup) == message


def entry(made, name):
    return next(layer for layer in made.config["layers"] if layer["name"] == name)


def gated():
    """(config, tensors, inputs) of convolutions, one of which gates the other, and their mean."""
    rng = np.random.default_rng(4)
    entries = [
        {"type": "conv1d", "name": "a", "length": 9, "channels": 2, "kernel_size": 3, "stride": 2,
         "filters": 6, "padding": 1},
        {"type": "conv1d", "name": "b", "length": 5, "channels": 6, "kernel_size": 3, "stride": 1,
         "filters": 6, "padding": 1},
        {"type": "sigmoid", "name": "gate"},
        {"type": "multiply", "name": "gated", "inputs": ["a", "gate"]},
        {"type": "mean_pool", "name": "pool", "seq_len": 5, "embed_dim": 6},
        {"type": "dense", "name": "head", "in_features": 6, "out_features": 3, "output": "int32"},
    ]
    tensors = {"a.weight": rng.normal(size=(6, 3, 2)), "a.bias": rng.normal(size=6),
               "b.weight": rng.normal(size=(6, 3, 6)), "b.bias": rng.normal(size=6),
               "head.weight": rng.normal(size=(3, 6)), "head.bias": rng.normal(size=3)}
    config = {"format": "attn8", "version": 1, "name": "gated",
              "input": {"shape": [9, 2]}, "layers": entries}
    return config, tensors, rng.normal(size=(9, 9, 2))


def test_convolutions_and_gates_in_the_arena(board):
    floats, parameters, inputs = gated()
    config, tensors = quantize_model(floats, parameters, inputs, activation_bits=16)
    formats = {layer["name"]: layer.get("output", "int8") for layer in config["layers"]}
    assert formats["a"] == formats["b"] == formats["gate"] == formats["gated"] == "int16"
    model = Model(config, tensors, need_weights=False)
    fed = model.feed(inputs)
    scale = config["layers"][-1]["scale"]
    want = np.array([float_model.run(floats, parameters, x)["head"].ravel() for x in inputs])
    got = np.array([model(x)["head"].ravel() for x in fed]) * scale
    assert np.abs(got - want).max() <= 0.02 * np.ptp(want)
    board.enter_repl()
    push(board, PATH, modelfile.pack(config, tensors))
    with board.serve() as client:
        client.load(PATH, need_weights=False)
        found = verify(client, model, fed.reshape(len(fed), -1))
    assert found.bit_exact, found.mismatched


def test_one_layer_alone():
    rng = np.random.default_rng(0)
    made = Encoder(rng, True)
    entry(made, "encoder.layers.0.linear1")["activation_bits"] = 16
    config, tensors = quantize_model(made.config, made.tensors, rng.normal(size=(3, SEQ_LEN, 6)))
    formats = {layer["name"]: layer.get("output", "int8") for layer in config["layers"]}
    assert formats["encoder.layers.0.norm2"] == "int16"
    assert formats["encoder.layers.1.norm2"] == formats["encoder.layers.0.linear1"] == "int8"
    assert not any("activation_bits" in layer for layer in config["layers"])
    Model(config, tensors)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("encoder.layers.0.self_attn", {"core": "linear"},
         "encoder.layers.0.self_attn.activation_bits: the core linear computes in int8 only; take "
         'exact, or give it "activation_bits": 8'),
        ("encoder.layers.0.norm1", {"activation_bits": 16},
         "encoder.layers.0.norm1.activation_bits: layer_norm takes what it is given"),
        ("embed", {"activation_bits": 12}, "embed.activation_bits: expected 8 or 16, got 12"),
        ("encoder.layers.0.self_attn", {"options": {"precise": True}},
         "encoder.layers.0.self_attn.options: unknown field precise"),
    ],
)
def test_what_cannot_be_int16_is_refused_by_name(name, change, message):
    rng = np.random.default_rng(0)
    made = Encoder(rng, True)
    entry(made, name).update(change)
    with pytest.raises(ModelError) as refused:
        modelfile.check_config(made.config)
        quantize_model(made.config, made.tensors, rng.normal(size=(2, SEQ_LEN, 6)),
                       activation_bits=16)
    assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key_dim": 2, "value_dim": 2},
         "attn.key_dim: core exact16 takes heads of embed_dim / num_heads, got 2; take exact, with "
         '"activation_bits": 8'),
        ({"key_dim": 2}, "attn.value_dim: core exact16 takes heads of one width, 2, got 4"),
        ({"type": "cross_attention", "key_len": 5, "memory_dim": 8, "inputs": ["x", "input"]},
         "attn.activation_bits: a cross_attention computes in int8 only; give it "
         '"activation_bits": 8'),
    ],
)
def test_attention_that_cannot_be_int16_can_be_int8(change, message):
    rng = np.random.default_rng(0)
    attention = {"type": "attention", "name": "attn", "seq_len": 5, "embed_dim": 8, "num_heads": 2,
                 "core": "exact", "causal": False, **change}
    entries = [{"type": "tanh", "name": "x"}, attention]
    tensors = {f"attn.{part}": rng.normal(size=tensor.shape)
               for part, tensor in layers.get(attention["type"]).float_tensors(attention).items()}
    config = {"format": "attn8", "version": 1, "name": "m", "input": {"shape": [40]},
              "layers": entries}
    inputs = rng.normal(size=(2, 40))
    with pytest.raises(ModelError) as refused:
        quantize_model(config, tensors, inputs, activation_bits=16)
    assert message in str(refused.value) and "\n" not in str(refused.value)
    attention["activation_bits"] = 8
    made = quantize_model(config, tensors, inputs, activation_bits=16)
    assert Model(*made)(Model(*made).feed(inputs)[0])["attn"].dtype == np.int8
