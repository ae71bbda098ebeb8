"""Imports of what users build around attention: pools, gates, patches, masks and class tokens."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import attn8_host  # noqa: E402
from attn8_host import float_model  # noqa: E402
from attn8_host.errors import ModelError  # noqa: E402
from attn8_host.quantize import channels  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

N, C, E = 10, 6, 8
X, SHOWN = torch.randn(1, N, C), torch.zeros(1, N, dtype=torch.bool)
SIGNAL = torch.randn(1, C, 4 * N)


class Parts(nn.Module):
    """A function of its modules and tensors, and the inputs."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def attention():
    return nn.MultiheadAttention(E, 2, batch_first=True)


def tokens(n):
    return nn.Parameter(torch.randn(1, n, E))


def pooled(scores, y):
    return (torch.softmax(scores, 1) * y).sum(1)


def gated(s, x):
    """The convolutions of a Conformer."""
    y = F.glu(s.wide(s.embed(x).transpose(1, 2)), 1)
    return s.narrow(F.silu(s.norm(s.depthwise(y)))).mean(-1)


def typed(s, ids):
    """Embeddings as BERT has them."""
    return s.norm(s.words(ids) + s.places(torch.arange(N)) + s.types(torch.zeros_like(ids)))


CASES = {
    "scored tokens": (X, ["select", "dense", "cross_attention"], Parts(
        lambda s, x: pooled(s.score(y := s.embed(x)), y),
        embed=nn.Linear(C, E), score=nn.Linear(E, 1))),
    "scored by a product": (X, ["dense", "relu", "select", "dense", "cross_attention"], Parts(
        lambda s, x: torch.bmm(s.score(y := s.embed(x).relu()).softmax(1).transpose(1, 2),
                               y).flatten(1),
        embed=nn.Linear(C, E), score=nn.Linear(E, 3))),
    "scored in channels": (SIGNAL, ["transpose", "conv1d", "select", "dense", "cross_attention"],
                           Parts(lambda s, x: (s.score(y := s.conv(x)).softmax(-1) * y).sum(-1),
                                 conv=nn.Conv1d(C, E, 3), score=nn.Conv1d(E, 1, 1))),
    "scored by a layer": (X, ["dense", "dense", "tanh", "concat", "select", "dense",
                              "cross_attention"], Parts(
        lambda s, x: pooled(s.score(torch.tanh(s.hidden(y := s.embed(x)))), y),
        embed=nn.Linear(C, E), hidden=nn.Linear(E, E), score=nn.Linear(E, 1))),
    "keys with positions": (X, ["dense", "dense", "position", "dense", "concat",
                                "cross_attention"], Parts(
        lambda s, x: s.attend(q := (y := s.embed(x)) + s.places, q, y)[0],
        embed=nn.Linear(C, E), places=tokens(N), attend=attention())),
    "gated convolution": (X, ["dense", "dense", "sigmoid", "dense", "multiply", "conv1d", "silu",
                              "dense", "mean_pool"], Parts(
        gated, embed=nn.Linear(C, E), wide=nn.Conv1d(E, 2 * E, 1), norm=nn.BatchNorm1d(E),
        depthwise=nn.Conv1d(E, E, 3, padding=1, groups=E), narrow=nn.Conv1d(E, E, 1))),
    "gate of a token": (X, ["dense", "dense", "sigmoid", "dense", "multiply"], Parts(
        lambda s, x: (y := s.embed(x)) * torch.sigmoid(s.gate(y)),
        embed=nn.Linear(C, E), gate=nn.Linear(E, 1))),
    "unfolded patches": (SIGNAL, ["transpose", "dense"], Parts(
        lambda s, x: s.embed(x.unfold(-1, 8, 8).permute(0, 2, 1, 3).flatten(2)),
        embed=nn.Linear(8 * C, E))),
    "spectrogram": (SIGNAL[:, None], ["transpose", "conv1d"], Parts(
        lambda s, x: s.embed(x / 20 + 2).flatten(2).transpose(1, 2),
        embed=nn.Conv2d(1, E, (C, 4), stride=(C, 4)))),
    "token types": (torch.arange(N)[None], ["embedding", "position", "layer_norm"], Parts(
        typed, words=nn.Embedding(N, E), places=nn.Embedding(N, E), types=nn.Embedding(2, E),
        norm=nn.LayerNorm(E))),
    "tokens behind": (X, ["dense", "select", "dense", "concat", "attention", "select"], Parts(
        lambda s, x: s.attend(*[torch.cat([s.embed(x), s.last], 1)] * 3)[0][:, -1],
        embed=nn.Linear(C, E), last=tokens(1), attend=attention())),
    "sum": (X, ["dense", "relu", "mean_pool", "dense"], Parts(
        lambda s, x: s.head(s.embed(x).relu().sum(1)),
        embed=nn.Linear(C, E), head=nn.Linear(E, 2))),
    "stack": (X, ["dense", "dense", "concat", "transpose", "mean_pool"], Parts(
        lambda s, x: torch.stack([s.one(x), s.two(x)], 1).mean(1),
        one=nn.Linear(C, E), two=nn.Linear(C, E))),
}


@pytest.mark.parametrize("name", CASES)
def test_what_users_build(name):
    x, types, module = CASES[name]
    with torch.no_grad():
        for each in module.modules():
            if isinstance(each, nn.BatchNorm1d):
                each.running_mean.normal_()
    config, tensors = attn8_host.from_torch(module, x, output=0)
    assert [entry["type"] for entry in config["layers"]] == types
    rng = np.random.default_rng(3)
    for _ in range(2):
        sample = rng.integers(0, N, x.shape) if name == "token types" else rng.normal(size=x.shape)
        given = torch.from_numpy(sample) if name == "token types" else torch.Tensor(sample)
        with torch.no_grad():
            wanted = module.eval()(given)
        wanted = wanted[0] if isinstance(wanted, tuple) else wanted
        found = list(float_model.run(config, tensors, sample[0].reshape(
            config["input"]["shape"])).values())[-1]
        assert np.abs(found.ravel() - wanted.numpy().ravel()).max() < 1e-4


def test_scores_heed_a_mask():
    module = Parts(lambda s, x, mask: pooled(s.score(x).masked_fill(mask[..., None], -1e9), x),
                   score=nn.Linear(C, 1))
    config, tensors = attn8_host.from_torch(module, (X, SHOWN))
    sample = X[0].numpy()
    found = list(float_model.run(config, tensors, sample, 4).values())[-1]
    wanted = module(X, torch.arange(N)[None] >= 4).detach().numpy()
    assert np.abs(found.ravel() - wanted.ravel()).max() < 1e-5


def test_a_mask_that_the_module_makes_is_refused():
    module = Parts(lambda s, ids: s.attend(*[s.words(ids)] * 3, key_padding_mask=ids == 0)[0],
                   words=nn.Embedding(N, E), attend=attention())
    with pytest.raises(ModelError, match=r"; a mask has to be an input of its own, \(x, mask\)$"):
        attn8_host.from_torch(module, torch.arange(N)[None], output=0)


MEAN, SPREAD = torch.tensor([0, 0, 9.8, 0, 0, 101325.0]), torch.tensor([1, 1, 1, 57, 57, 1200.0])
FRONTS = {
    "standardized": Parts(lambda s, x: s.embed((x - s.mean) / s.spread), mean=MEAN, spread=SPREAD,
                          embed=nn.Linear(C, E)),
    "patches": Parts(lambda s, x: s.embed(((x - s.mean) / s.spread).reshape(1, N // 2, 2 * C)),
                     mean=MEAN, spread=SPREAD, embed=nn.Linear(2 * C, E)),
    "convolution": Parts(lambda s, x: s.conv(((x - s.mean) / s.spread).transpose(1, 2)),
                         mean=MEAN, spread=SPREAD, conv=nn.Conv1d(C, E, 3)),
    "padded convolution": Parts(lambda s, x: s.conv(((x - s.mean) / s.spread).transpose(1, 2)),
                                mean=MEAN, spread=SPREAD, conv=nn.Conv1d(C, E, 3, padding=1)),
    "a memory": Parts(lambda s, x: s.attend(s.query, s.embed(x), s.embed(x))[0],
                      query=tokens(2), embed=nn.Linear(C, E), attend=attention()),
}


@pytest.mark.parametrize("name", FRONTS)
def test_channels_of_a_first_layer_have_scales_of_their_own(name):
    config, tensors = attn8_host.from_torch(FRONTS[name], X, output=0)
    x = np.random.default_rng(5).normal(size=(20, N, C)) * SPREAD.numpy() + MEAN.numpy()
    found = channels.measure(config, tensors, x.astype(np.float32), "absmax")
    assert found.folded and found.axis == 1 and found.offsets[5] > 90000 and not found.warnings
    scales, offsets = (np.broadcast_to(each, (N, C)) for each in (found.scales, found.offsets))
    folded = channels.fold(config, tensors, scales, offsets)
    biased = {**config, "layers": [{**entry, "bias": True} if "bias" in entry else entry
                                   for entry in config["layers"]]}
    last = config["layers"][-1]["name"]
    first = (x[0] - offsets) / scales
    wanted = float_model.run(config, tensors, x[0])[last]
    assert np.allclose(float_model.run(biased, folded, first)[last], wanted, atol=1e-4)


@pytest.mark.parametrize("end", ["log_softmax", "argmax", "softmax argmax"])
@pytest.mark.parametrize("onnx", [False, True])
def test_logits_stand_for_what_is_decided_at_the_end(end, onnx, caplog, tmp_path):
    ends = {"log_softmax": lambda x: F.log_softmax(x, -1), "argmax": lambda x: x.argmax(-1),
            "softmax argmax": lambda x: F.softmax(x, -1).argmax(-1)}
    module = Parts(lambda s, x: ends[end](s.head(x.flatten(1))), head=nn.Linear(N * C, 5)).eval()
    if onnx:
        pytest.importorskip("onnx")
        from attn8_host.importers.onnx import from_onnx

        torch.onnx.export(module, (X,), tmp_path / "m.onnx", dynamo=False)
        config, tensors = from_onnx(tmp_path / "m.onnx")
    else:
        config, tensors = attn8_host.from_torch(module, X)
    assert [entry["type"] for entry in config["layers"]] == ["dense"]
    assert "is left out; head gives the logits" in caplog.text
    logits = float_model.run(config, tensors, X[0].numpy())["head"]
    wanted = module.head(X.flatten(1)).detach().numpy()
    assert np.abs(logits - wanted).max() < 1e-5


def test_a_decision_in_the_middle_is_refused():
    module = Parts(lambda s, x: s.head(F.log_softmax(s.embed(x), -1)), embed=nn.Linear(C, E),
                   head=nn.Linear(E, 2))
    with pytest.raises(ModelError, match="log_softmax is only known at the end, where"):
        attn8_host.from_torch(module, X)
