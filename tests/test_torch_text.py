"""Decoders of PyTorch as models of text: nn.TransformerEncoder with a causal mask, and one by hand.
"""

import json

import numpy as np
import pytest

from attn8_host import from_torch, modelfile
from attn8_host.cli import main
from attn8_host.errors import ModelError
from attn8_host.model import load
from attn8_host.paths import MODELS
from attn8_host.text import encoded, steps
from attn8_host.tokenizer import Tokenizer

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

VOCAB, CONTEXT, E = 280, 14, 16


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(VOCAB, E), nn.Embedding(CONTEXT, E)
        layer = nn.TransformerEncoderLayer(E, 4, 24, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(E), enable_nested_tensor=False)
        self.head = nn.Linear(E, VOCAB)

    def forward(self, ids):
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1], dtype=x.dtype)
        return self.head(self.encoder(x, mask, is_causal=True))


class Block(nn.Module):
    def __init__(self, causal):
        super().__init__()
        self.causal = causal
        self.norm, self.norm2 = nn.RMSNorm(E, 1e-5), nn.RMSNorm(E, 1e-5)
        self.qkv, self.out = nn.Linear(E, 3 * E, bias=False), nn.Linear(E, E, bias=False)
        self.up, self.down = nn.Linear(E, 32), nn.Linear(32, E)

    def forward(self, x):
        q, k, v = (each.unflatten(-1, (2, -1)).transpose(1, 2)
                   for each in self.qkv(self.norm(x)).chunk(3, -1))
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(heads.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class ByHand(nn.Module):
    def __init__(self, causal=True):
        super().__init__()
        self.words = nn.Embedding(VOCAB, E)
        self.places = nn.Parameter(torch.randn(CONTEXT, E) * 0.3)
        self.blocks = nn.Sequential(Block(causal), Block(causal))
        self.head = nn.Linear(E, VOCAB, bias=False)

    def forward(self, ids):
        return self.head(self.blocks(self.words(ids) + self.places))


@pytest.fixture(scope="module")
def tokenizer():
    found = load(MODELS / "stories.safetensors", False).tokenizer
    return Tokenizer(found.pieces[:VOCAB], found.ranks[:VOCAB])


IDS = torch.arange(CONTEXT)[None]


@pytest.mark.parametrize("make", [Encoder, ByHand])
def test_a_decoder_imports_quantizes_and_writes(tmp_path, tokenizer, make):
    torch.manual_seed(5)
    module = make()
    config, tensors = from_torch(module, IDS, name="decoder", tokenizer=tokenizer)
    assert [entry["type"] for entry in config["layers"]].count("grouped_attention") == 2
    floats, made, report = (tmp_path / name for name in ("float.safetensors", "int8.safetensors",
                                                         "report.json"))
    modelfile.write(floats, config, tensors)
    assert main(["quantize", str(floats), "--output", str(made)]) == 0
    model = load(made, False)
    with torch.no_grad():
        want = module.eval()(IDS)[0].numpy()
    scale, x = model.config["layers"][-1]["scale"], IDS[0].numpy().astype(np.int16)
    got = model(x)[model.output] * scale
    assert np.abs(got - want).mean() <= 0.01 * np.ptp(want)
    assert main(["generate", str(made), "--prompt", "a", "--temperature", "0.8", "--float",
                 str(floats), "--board", "virtual", "--json", str(report)]) == 0
    found, ids = json.loads(report.read_text()), encoded(model, "a")
    tokens = [token for token, _ in steps(model, ids, None, 0.8)]
    assert found["tokens"] == tokens and found["bit_exact"] and len(tokens) > 4


def test_what_is_no_decoder_is_refused(tokenizer):
    def refused(words, module, example=IDS):
        with pytest.raises(ModelError) as found:
            from_torch(module, example, tokenizer=tokenizer)
        assert words in str(found.value) and "\n" not in str(found.value)

    refused("this attention sees those that are to come; give it a causal mask", ByHand(False))
    refused("expected logits of each token", nn.Sequential(nn.Embedding(VOCAB, E), nn.Linear(E, 4)))
    refused("it is for models of token ids without lengths", nn.Linear(4, 4), torch.zeros(1, 3, 4))
    refused("it has 280 pieces, the first layer takes 90 tokens",
            nn.Sequential(nn.Embedding(90, E), nn.Linear(E, 90)))
