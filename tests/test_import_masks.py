"""Imports of modules with masks, lengths and token ids, against what they compute."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import attn8_host  # noqa: E402
from attn8_host import float_model  # noqa: E402
from attn8_host.errors import ModelError  # noqa: E402
from attn8_host.importers.onnx import from_onnx  # noqa: E402
from attn8_host.model import Model  # noqa: E402
from attn8_host.quantize.model import quantize_model  # noqa: E402
from tests.test_import import export  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

N, C, E = 10, 6, 12


def encoder():
    layer = nn.TransformerEncoderLayer(E, 3, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


class Padded(nn.Module):
    """src_key_padding_mask, and what is left of the tokens; True, or 1, where one is padding."""

    def __init__(self, pool, seen=False):
        super().__init__()
        self.embed, self.encoder, self.head = nn.Linear(C, E), encoder(), nn.Linear(E, 3)
        self.pool, self.seen = pool, seen

    def forward(self, x, mask):
        mask = ~mask if self.seen else mask
        x = self.encoder(self.embed(x), src_key_padding_mask=mask)
        if self.pool == "mean":
            kept = (~mask).unsqueeze(-1).to(x.dtype)
            x = (x * kept).sum(1) / kept.sum(1).clamp(min=1)
        elif self.pool == "last":
            x = x[torch.arange(len(x)), (~mask).sum(1) - 1]
        elif self.pool == "first":
            x = x[:, 0]
        return self.head(x)


class Counted(nn.Module):
    """The number of tokens, of which a mask is made."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(C, E), nn.Linear(E, 2)
        self.attn = nn.MultiheadAttention(E, 3, batch_first=True)

    def forward(self, x, length):
        mask = torch.arange(x.shape[1])[None] >= length[:, None]
        x = self.embed(x)
        x = x + self.attn(x, x, x, key_padding_mask=mask, need_weights=False)[0]
        return self.head(x.masked_fill(mask[..., None], 0).sum(1) / length[:, None])


class Text(nn.Module):
    """Token ids and a mask."""

    def __init__(self):
        super().__init__()
        self.tokens, self.position = nn.Embedding(50, E, padding_idx=0), nn.Embedding(N, E)
        self.encoder, self.head = encoder(), nn.Linear(E, 3)

    def forward(self, ids, mask=None):
        x = self.tokens(ids) + self.position(torch.arange(ids.shape[1]))
        return F.softmax(self.head(self.encoder(x, src_key_padding_mask=mask)[:, 0]), -1)


class Decoder(nn.Module):
    """Learned queries of an encoded memory with padding, as a decoder layer asks them."""

    def __init__(self):
        super().__init__()
        self.embed, self.encoder, self.head = nn.Linear(C, E), encoder(), nn.Linear(E, 3)
        self.queries = nn.Parameter(torch.randn(1, 4, E))
        self.attend = nn.MultiheadAttention(E, 3, batch_first=True)

    def forward(self, x, mask):
        memory = self.encoder(self.embed(x), src_key_padding_mask=mask)
        found = self.attend(self.queries, memory, memory, key_padding_mask=mask)[0]
        return self.head((self.queries + found).mean(1))


X, SHOWN = torch.randn(1, N, C), torch.zeros(1, N, dtype=torch.bool)
IDS = torch.arange(N)[None]
CASES = {
    "mean": (Padded("mean"), X, SHOWN, {"attention", "mean_pool"}),
    "seen": (Padded("mean", True), X, ~SHOWN, {"attention", "mean_pool"}),
    "last": (Padded("last"), X, SHOWN, {"attention", "select"}),
    "first": (Padded("first"), X, SHOWN, {"attention"}),
    "tokens": (Padded("all"), X, SHOWN, {"attention"}),
    "counted": (Counted(), X, torch.tensor([N]), {"attention", "mean_pool"}),
    "decoder": (Decoder(), X, SHOWN, {"attention", "cross_attention"}),
    "text": (Text(), IDS, SHOWN, {"attention"}),
}


def given(mask, length):
    """The mask, or the number, of a length."""
    if mask.dim() == 1:
        return torch.tensor([length])
    return torch.where(torch.arange(N)[None] < length, mask, ~mask)


def samples(x, count):
    rng = np.random.default_rng(5)
    if x.is_floating_point():
        return [rng.normal(size=x.shape[1:]).astype(np.float32) for _ in range(count)]
    return [rng.integers(0, 50, x.shape[1:]) for _ in range(count)]


def held(config, tensors, name):
    """The float form with a length is the module with the mask of that length."""
    module, x, mask, heeding = CASES[name]
    assert config["input"]["lengths"] is True
    assert {entry["type"] for entry in config["layers"] if entry.get("lengths")} == heeding
    for length, sample in zip((1, 4, 9, N), samples(x, 4), strict=True):
        found = list(float_model.run(config, tensors, sample, length).values())[-1]
        with torch.no_grad():
            wanted = module.eval()(torch.from_numpy(sample)[None], given(mask, length))[0].numpy()
        if name == "tokens":
            found, wanted = found[:length], wanted[:length]
        assert np.abs(found.ravel() - wanted.ravel()).max() < 1e-4


@pytest.fixture(autouse=True)
def slow_path():
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(fast)


@pytest.mark.parametrize("name", CASES)
def test_a_mask_becomes_lengths(name):
    module, x, mask, _ = CASES[name]
    held(*attn8_host.from_torch(module, (x, mask)), name)


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "script"])
@pytest.mark.parametrize("name", ["mean", "seen", "last", "counted", "decoder", "text"])
def test_a_mask_of_a_file_becomes_lengths(name, dynamo, tmp_path):
    if dynamo:
        pytest.importorskip("onnxscript")
    module, x, mask, _ = CASES[name]
    held(*from_onnx(export(module, (x, mask), tmp_path, dynamo)), name)


def test_token_ids(tmp_path):
    module = Text()
    for config, tensors in (attn8_host.from_torch(module, IDS),
                            from_onnx(export(module, (IDS,), tmp_path))):
        assert config["input"] == {"shape": [N], "format": "tokens"}
        assert config["layers"][0]["type"] == "embedding"
        for sample in samples(IDS, 3):
            found = list(float_model.run(config, tensors, sample).values())[-1]
            with torch.no_grad():
                wanted = module.eval()(torch.from_numpy(sample)[None])[0].numpy()
            assert np.abs(found.ravel() - wanted).max() < 1e-4


@pytest.mark.parametrize("name", ["mean", "last", "decoder", "text"])
def test_what_has_lengths_can_be_quantized(name):
    module, x, mask, _ = CASES[name]
    config, tensors = attn8_host.from_torch(module, (x, mask))
    made, integers = quantize_model(config, tensors, np.stack(samples(x, 20)))
    assert Model(made, integers).config["input"]["lengths"] is True


class Added(nn.Module):
    """A mask that is no mask."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(C, 3)

    def forward(self, x, mask):
        return self.head(x).mean(1) + mask.to(x.dtype).sum(1, keepdim=True)


class Numbers(nn.Module):
    """Token ids as if they were values."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(N, 3)

    def forward(self, ids):
        return self.head(ids.to(self.head.weight.dtype))


@pytest.mark.parametrize("module, example, message", [
    (Added(), (X, SHOWN), "the mask: what it does is not that attention, a mean or the last"),
    (Padded("mean"), (X, given(SHOWN, 4)), "example: expected a mask [1, 10] that shows all"),
    (Counted(), (X, torch.tensor([4])), "example: expected the full length [10], got [4]"),
    (Numbers(), IDS, "head: takes token ids [10] as numbers; only an embedding takes them"),
])
def test_what_is_no_mask_is_refused(module, example, message):
    with pytest.raises(ModelError) as caught:
        attn8_host.from_torch(module, example)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
