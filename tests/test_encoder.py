"""Whole transformer encoders: quantized, run on a board, compared bit for bit and with float."""

from array import array

import numpy as np
import pytest

from attn8_host import float_model, isa, modelfile
from attn8_host.deploy import push
from attn8_host.model import Model
from attn8_host.numerics.scales import quantize
from attn8_host.plan.inference import loaded
from attn8_host.proof.compare import verify
from attn8_host.quantize.model import quantize_model

from .test_zero_allocation import RUN

PATH = "/models/encoder.safetensors"
SEQ_LEN, WIDTH, HIDDEN, HEADS, CLASSES = 16, 32, 64, 4, 5


def linear(rng, name, inputs, outputs, bias=True):
    tensors = {f"{name}.weight": rng.normal(0, inputs**-0.5, (outputs, inputs))}
    return tensors | ({f"{name}.bias": rng.normal(0, 0.1, outputs)} if bias else {})


class Encoder:
    """A float config and its random tensors, as torch.nn.TransformerEncoder computes."""

    def __init__(self, rng, pre, activation="gelu", token=False, norm="layer_norm", bias=True,
                 depth=2, gated=False):
        self.rng, self.pre, self.bias, self.gated = rng, pre, bias, gated
        self.norm_type, self.activation = norm, activation
        self.layers, self.tensors = [], {}
        self.seq_len, self.last = SEQ_LEN, "input"
        self.dense("embed", 6, WIDTH)
        if token:
            self.layer("class_token", "token", seq_len=self.seq_len, embed_dim=WIDTH)
            self.tensors["token.weight"] = rng.normal(0, 1, WIDTH)
            self.seq_len += 1
        self.layer("position", "position", seq_len=self.seq_len, embed_dim=WIDTH)
        self.tensors["position.weight"] = rng.normal(0, 0.5, (self.seq_len, WIDTH))
        for i in range(depth):
            self.block(f"encoder.layers.{i}")
        if pre:
            self.norm("encoder.norm")
        if token:
            self.layer("select", "first", seq_len=self.seq_len, embed_dim=WIDTH, index=0)
        else:
            self.layer("mean_pool", "pool", seq_len=self.seq_len, embed_dim=WIDTH)
        self.layer("dense", "head", in_features=WIDTH, out_features=CLASSES, output="int32")
        self.tensors |= linear(rng, "head", WIDTH, CLASSES)
        self.config = {"format": "attn8", "version": 1, "name": "encoder",
                       "input": {"shape": [SEQ_LEN, 6]}, "layers": self.layers}

    def layer(self, kind, name, inputs=None, **fields):
        entry = {"type": kind, "name": name, **fields}
        if inputs and inputs != [self.last]:
            entry["inputs"] = inputs
        self.layers.append(entry)
        self.last = name

    def dense(self, name, inputs, outputs, source=None):
        fields = {} if self.bias else {"bias": False}
        self.layer("dense", name, source and [source], rows=self.seq_len, in_features=inputs,
                   out_features=outputs, **fields)
        self.tensors |= linear(self.rng, name, inputs, outputs, self.bias)

    def norm(self, name, source=None):
        self.layer(self.norm_type, name, source and [source], features=WIDTH, eps=1e-5)
        self.tensors[f"{name}.weight"] = self.rng.normal(1, 0.2, WIDTH)
        if self.norm_type == "layer_norm":
            self.tensors[f"{name}.bias"] = self.rng.normal(0, 0.2, WIDTH)

    def attention(self, name):
        fields = {} if self.bias else {"bias": False}
        self.layer("attention", name, seq_len=self.seq_len, embed_dim=WIDTH, num_heads=HEADS,
                   core="exact", causal=False, **fields)
        for part in ("q", "k", "v", "out"):
            self.tensors |= linear(self.rng, f"{name}.{part}", WIDTH, WIDTH, self.bias)

    def feed_forward(self, name):
        before = self.last
        self.dense(f"{name}.linear1", WIDTH, HIDDEN)
        fields = {"approximate": "none"} if self.activation == "gelu" else {}
        self.layer(self.activation, f"{name}.activation", **fields)
        if self.gated:
            gate = self.last
            self.dense(f"{name}.up", WIDTH, HIDDEN, before)
            self.layer("multiply", f"{name}.gated", [gate, f"{name}.up"])
        self.dense(f"{name}.linear2", HIDDEN, WIDTH)

    def block(self, name):
        for i, (part, make) in enumerate((("self_attn", self.attention), ("", self.feed_forward))):
            x = self.last
            if self.pre:
                self.norm(f"{name}.norm{i + 1}")
            make(f"{name}.{part}" if part else name)
            self.layer("add", f"{name}.add{i + 1}", [x, self.last])
            if not self.pre:
                self.norm(f"{name}.norm{i + 1}")


VARIANTS = {
    "pre-LN, GELU": {"pre": True},
    "post-LN, GELU": {"pre": False},
    "pre-LN, ReLU, class token": {"pre": True, "activation": "relu", "token": True},
    "post-LN, ReLU, class token": {"pre": False, "activation": "relu", "token": True},
    "RMSNorm, gated SiLU, no biases": {"pre": True, "activation": "silu", "norm": "rms_norm",
                                       "gated": True, "bias": False},
}


@pytest.fixture(params=VARIANTS, scope="module")
def encoder(request):
    """(float encoder, calibration inputs, int8 config, int8 tensors)."""
    rng = np.random.default_rng(sorted(VARIANTS).index(request.param))
    made = Encoder(rng, **VARIANTS[request.param])
    inputs = rng.normal(size=(12, SEQ_LEN, 6))
    return made, inputs, *quantize_model(made.config, made.tensors, inputs)


def test_it_is_close_to_float(encoder):
    made, inputs, config, tensors = encoder
    model = Model(config, tensors)
    scales = {entry["name"]: entry["scale"] for entry in config["layers"]}
    ends = [entry["name"] for entry in made.layers if entry["type"] == "add"] + ["head"]
    got = [model(quantize(x, config["input"]["scale"])) for x in inputs]
    want = [float_model.run(made.config, made.tensors, x) for x in inputs]
    for name in ends:
        real = np.array([outputs[name].ravel() for outputs in want])
        made_of = np.array([outputs[name].ravel() * scales[name] for outputs in got])
        error = np.abs(made_of - real).mean() / np.ptp(real)
        assert error <= 0.01, (name, error)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("pre", [True, False], ids=["pre-LN", "post-LN"])
def test_the_float_form_is_torchs(pre, activation):
    torch = pytest.importorskip("torch")
    made = Encoder(np.random.default_rng(3), pre, activation)
    layer = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, 0, activation, norm_first=pre,
                                             batch_first=True, dtype=torch.float64)
    encoder = torch.nn.TransformerEncoder(
        layer, 2, torch.nn.LayerNorm(WIDTH, dtype=torch.float64) if pre else None,
        enable_nested_tensor=False,
    ).eval()
    state = {}
    for name, tensor in made.tensors.items():
        if name.startswith("encoder."):
            state[name.removeprefix("encoder.").replace("self_attn.out", "self_attn.out_proj")] = (
                torch.tensor(tensor))
    for i in range(2):
        for part in ("weight", "bias"):
            parts = [state.pop(f"layers.{i}.self_attn.{p}.{part}") for p in ("q", "k", "v")]
            state[f"layers.{i}.self_attn.in_proj_{part}"] = torch.cat(parts)
    encoder.load_state_dict(state)
    found = float_model.run(made.config, made.tensors, np.random.default_rng(4).normal(
        size=(SEQ_LEN, 6)))
    with torch.no_grad():
        want = encoder(torch.tensor(found["position"])[None])[0].numpy()
    last = "encoder.norm" if pre else "encoder.layers.1.norm2"
    assert np.abs(found[last] - want).max() < 1e-12


def test_the_residual_stream_is_int16_with_one_scale(encoder):
    _, inputs, config, tensors = encoder
    found = Model(config, tensors)(quantize(inputs[0], config["input"]["scale"]))
    scales = {entry["name"]: entry["scale"] for entry in config["layers"]}
    adds = [entry for entry in config["layers"] if entry["type"] == "add"]
    assert len(adds) == 4
    for entry in adds:
        assert len({scales[name] for name in (entry["name"], *entry["inputs"])}) == 1
        assert all(found[name].dtype == np.int16 for name in (entry["name"], *entry["inputs"]))
        assert np.abs(found[entry["name"]]).max() < 32767
    peak = max(np.abs(found[entry["name"]]).max() for entry in adds)
    assert peak >= 1 << 12  # of one input: 14 bits are those of all calibration inputs


def test_a_board_computes_the_same_and_allocates_nothing(board, remote, encoder):
    _, inputs, config, tensors = encoder
    board.enter_repl()
    push(board, PATH, modelfile.pack(config, tensors))
    model = Model(config, tensors, need_weights=False)  # there is no room for them
    extremes = np.full((2, SEQ_LEN * 6), 127, np.int8)
    extremes[1, ::2] = -127
    x = quantize(inputs[:4], config["input"]["scale"]).reshape(4, -1)
    with board.serve() as client:
        client.load(PATH, need_weights=False)
        found = verify(client, model, np.vstack([x, extremes]))
    assert found.bit_exact, found.mismatched
    board.enter_repl()  # with all of the memory
    without, with_inferences = remote(RUN, path=PATH)
    assert with_inferences == without


@pytest.mark.parametrize("arch", isa.ARCHES)
@pytest.mark.parametrize("backend", ["viper", "turbo"])
def test_the_machine_code_of_chips_computes_the_same(encoder, arch, backend):
    _, inputs, config, tensors = encoder
    reference = Model(config, tensors, need_weights=False)
    model, _, _ = loaded(config, modelfile.pack(config, tensors), arch, backend)
    x = quantize(inputs[0], config["input"]["scale"]).ravel()
    want = reference(x)
    assert [name for name, *_ in model.outputs] == list(want)
    model.begin(array("b", x.tobytes()))
    first = 0
    for i, end in enumerate(model.ends):  # layers share memory
        model.run(i, i + 1)
        for name, code, values in model.outputs[first:end]:
            assert (np.array(values, code) == want[name].ravel()).all(), name
        first = end
    assert first == len(want)
