"""Every layer that trains: its gradients against finite differences, PyTorch and the board.

A case is some layers behind a dense layer, whose own gradients need that of their input, and a mean
square. In float64 the gradients equal central differences and autograd's; in Q16.16 they are within
a bound of float64's (see test_train_gradients.py), and the board's are the same words.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest

from attn8_host import layers as types
from attn8_host import modelfile
from attn8_host.deploy import push
from attn8_host.layers.activation import FUNCTIONS, PROVEN
from attn8_host.masks import build
from attn8_host.model import Model as Integers
from attn8_host.numerics.scales import quantize
from attn8_host.paths import DEVICE
from attn8_host.quantize.model import quantize_model
from attn8_host.train import functions, session
from attn8_host.train.arithmetic import ratio
from attn8_host.train.model import Model
from tests.compiled import compiled
from tests.test_train_gradients import RELATIVE, absolute
from tests.test_train_model import MEASURE, upload

TOKENS, WIDTH = 6, 8
SIZE = TOKENS * WIDTH
LENGTHS = {"tokens": TOKENS}
SHAPE = {"seq_len": TOKENS, "embed_dim": WIDTH}
ATTENTION = {"type": "attention", "name": "attn", "num_heads": 2, **SHAPE}
LINEAR = {**ATTENTION, "core": "linear"}
DRAWN = ["random", 0.4, 3]
EACH_HEAD = build(TOKENS, "block_diagonal", 2), build(TOKENS, "global_indices", [2, 4])
LOCAL_GLOBAL = {**ATTENTION, "core": "local_global",
                "options": {"window": 1, "global_indices": [5, 1]}}
POOL = {"type": "mean_pool", "name": "pool", **SHAPE}


@dataclass
class Case:
    """Layers behind "x" [TOKENS, WIDTH], and the same in PyTorch.

    Attributes:
        layers: their entries.
        torch: from torch, the parameters, x and how many tokens count to the last layer's results.
        input: fields of the config's, besides the size.
        ids: of so many, the inputs are token ids [TOKENS], and the first layer is none of its own.
    """

    layers: list
    torch: object
    input: dict = field(default_factory=dict)
    ids: int = 0

    @property
    def config(self):
        if self.ids:
            return {**self._config(self.layers),
                    "input": {"size": TOKENS, "format": "tokens", **self.input}}
        first = {"type": "dense", "name": "x", "rows": TOKENS, "in_features": WIDTH,
                 "out_features": WIDTH}
        return self._config([first, *self.layers])

    def _config(self, layers):
        return {"numbers": "Q16.16", "input": {"size": SIZE, **self.input}, "layers": layers,
                "loss": "mse", "optimizer": {"type": "sgd", "lr": ratio(0.02)}}

    def draw(self, rng):
        """An input; each id comes twice."""
        return np.arange(TOKENS) // 2 + 1 if self.ids else rng.normal(size=SIZE)


def linear(p, name, x):
    out = x @ p[f"{name}.weight"].T
    return out + p[f"{name}.bias"] if f"{name}.bias" in p else out


def softmax(torch, p, q, k, v, shown):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, shown)


def attend(causal=False, lengths=False, name="attn", heads=2, core=softmax):
    """The layer in PyTorch, of x and a memory, by default x.

    core: of torch, the parameters, q, k and v of all heads and which keys each query may see.
    """

    def forward(torch, p, x, length, memory=None):
        memory = x if memory is None else memory
        q, k, v = (linear(p, f"{name}.{part}", t).unflatten(1, (heads, -1)).transpose(0, 1)
                   for part, t in (("q", x), ("k", memory), ("v", memory)))
        shown = torch.ones(len(x), len(memory), dtype=torch.bool)
        if causal:
            shown = shown.tril()
        if lengths:
            shown = shown & (torch.arange(len(memory)) < length)
        out = core(torch, p, q, k, v, shown)
        return linear(p, f"{name}.out", out.transpose(0, 1).flatten(1))

    return forward


def masked(*masks):
    """Of the pairs that one mask shows, or one of each head; a query without keys gives zeros."""

    def core(torch, p, q, k, v, shown):
        seen = shown & torch.tensor(np.stack([mask.dense for mask in masks]))
        some = seen.any(-1, keepdim=True)
        return softmax(torch, p, q, k, v, seen | ~some) * some

    return core


def kernelized(phi, normalize=True):
    """Linear attention by all weights phi(q) @ phi(k).T; relu+1 with the steps of the case."""

    def core(torch, p, q, k, v, shown):
        features = [torch.nn.functional.elu(x) + 1 if phi == "elu+1" else torch.relu(x) for x in
                    (q, k)]
        if phi == "relu+1":
            features = [x + step / 2**24 for x, step in
                        zip(features, (500000, 300000), strict=True)]
        weights = features[0] @ features[1].transpose(1, 2) * shown
        if normalize:
            sums = weights.sum(-1, keepdim=True)
            weights = weights / torch.where(sums > 0, sums, 1)
        return weights @ v

    return core


def blended(torch, p, q, k, v, shown):
    """One key on each side, and the keys 1 and 5."""
    local, distant = (masked(mask)(torch, p, q, k, v, shown) for mask in (
        build(TOKENS, "local_window", 1), build(TOKENS, "global_indices", [1, 5])))
    share = torch.sigmoid(p["attn.core.gate"])[:, None]
    return share * local + (1 - share) * distant


def pooled(torch, p, x, length):
    return x[:length].mean(0)


def after(*parts):
    def forward(torch, p, x, length):
        for part in parts:
            x = part(torch, p, x, length)
        return x

    return forward


def residual(*parts):
    inner = after(*parts)
    return lambda torch, p, x, length: x + inner(torch, p, x, length)


def crossed(torch, p, x, length):
    return attend(lengths=True)(torch, p, x[1:4].flatten()[:12].reshape(3, 4), length, x)


def twice(torch, p, x, length):
    """a and b use x, and so do both sums; the second one passes on what another still needs."""
    a, b = torch.relu(x), linear(p, "b", x)
    first = x + a
    return (first + b) + first


CASES = {
    "attention": Case([ATTENTION], attend()),
    "causal": Case([{**ATTENTION, "causal": True}], attend(causal=True)),
    "causal, recompute": Case([{**ATTENTION, "causal": True, "recompute": True}],
                              attend(causal=True)),
    "lengths": Case([{**ATTENTION, "lengths": True}, {**POOL, "lengths": True}],
                    after(attend(lengths=True), pooled), LENGTHS),
    "lengths, causal, recompute": Case(
        [{**ATTENTION, "lengths": True, "causal": True, "recompute": True},
         {**POOL, "lengths": True}],
        after(attend(causal=True, lengths=True), pooled), LENGTHS),
    "exact16": Case([{**ATTENTION, "core": "exact16", "causal": True, "lengths": True},
                     {**POOL, "lengths": True}],
                    after(attend(causal=True, lengths=True), pooled), LENGTHS),
    "flash": Case([{**ATTENTION, "core": "flash", "options": {"block_size": 4}, "causal": True,
                    "lengths": True}, {**POOL, "lengths": True}],
                  after(attend(causal=True, lengths=True), pooled), LENGTHS),
    "sparse": Case([{**ATTENTION, "core": "sparse", "options": {"mask": DRAWN}}],
                   attend(core=masked(build(TOKENS, *DRAWN)))),
    "sparse, a mask a head": Case(
        [{**ATTENTION, "core": "sparse", "causal": True, "lengths": True, "recompute": True,
          "constants": {"masks": [mask.to_bits().tobytes().hex() for mask in EACH_HEAD]}},
         {**POOL, "lengths": True}],
        after(attend(True, True, core=masked(*EACH_HEAD)), pooled), LENGTHS),
    "local_global": Case([LOCAL_GLOBAL], attend(core=blended)),
    "local_global, causal, lengths, recompute": Case(
        [{**LOCAL_GLOBAL, "causal": True, "lengths": True, "recompute": True},
         {**POOL, "lengths": True}],
        after(attend(True, True, core=blended), pooled), LENGTHS),
    "linear": Case([{**LINEAR, "constants": {"steps": [500000, 300000]}, "lengths": True},
                    {**POOL, "lengths": True}],
                   after(attend(lengths=True, core=kernelized("relu+1")), pooled), LENGTHS),
    "linear, relu": Case([{**LINEAR, "options": {"phi": "relu"}}],
                         attend(core=kernelized("relu"))),
    "linear, causal, elu+1": Case(
        [{**LINEAR, "options": {"phi": "elu+1"}, "causal": True, "lengths": True},
         {**POOL, "lengths": True}],
        after(attend(True, True, core=kernelized("elu+1")), pooled), LENGTHS),
    "linear, causal, sums": Case(
        [{**LINEAR, "options": {"phi": "elu+1", "normalize": False}, "causal": True}],
        attend(True, core=kernelized("elu+1", normalize=False))),
    "wide values": Case([{**ATTENTION, "key_dim": 3, "value_dim": 5, "bias": False}], attend()),
    "wide values, recompute": Case(
        [{**ATTENTION, "key_dim": 3, "value_dim": 5, "recompute": True}], attend()),
    "cross": Case(
        [{"type": "dense", "name": "narrow", "in_features": SIZE, "out_features": 12},
         {"type": "cross_attention", "name": "attn", "seq_len": 3, "embed_dim": 4, "num_heads": 2,
          "key_len": TOKENS, "memory_dim": WIDTH, "lengths": True, "inputs": ["narrow", "x"]}],
        lambda torch, p, x, length: attend(lengths=True)(
            torch, p, linear(p, "narrow", x.flatten()).reshape(3, 4), length, x),
        LENGTHS),
    "residual": Case(
        [ATTENTION, {"type": "add", "name": "sum", "inputs": ["x", "attn"]}], residual(attend())),
    "sums of sums": Case(
        [{"type": "relu", "name": "a"},
         {"type": "dense", "name": "b", "rows": TOKENS, "in_features": WIDTH, "inputs": ["x"],
          "out_features": WIDTH},
         {"type": "add", "name": "first", "inputs": ["x", "a"]},
         {"type": "add", "name": "second", "inputs": ["first", "b"]},
         {"type": "add", "name": "third", "inputs": ["second", "first"]}], twice),
    "twice the same": Case([{"type": "add", "name": "sum", "inputs": ["x", "x"]}],
                           lambda torch, p, x, length: x + x),
}
NORM = {"type": "layer_norm", "name": "norm", "features": WIDTH, "eps": [21475, 31]}  # 1e-5


def normed(kind, width=WIDTH):
    """layer_norm or rms_norm in PyTorch."""

    def forward(torch, p, x, length):
        if kind == "layer_norm":
            return torch.nn.functional.layer_norm(x, [width], p["norm.weight"], p["norm.bias"],
                                                  21475 / 2**31)
        return torch.nn.functional.rms_norm(x, [width], p["norm.weight"], 21475 / 2**31)

    return forward


def function(name, **options):
    return lambda torch, p, x, length: getattr(torch.nn.functional, name)(x, **options)


def encoder(torch, p, x, length):
    """A layer of a pre-LN encoder, and the mean of its tokens."""
    def norm(name, x):
        return torch.nn.functional.layer_norm(x, [WIDTH], p[f"{name}.weight"], p[f"{name}.bias"],
                                              21475 / 2**31)
    x = x + attend(lengths=True)(torch, p, norm("norm1", x), length)
    hidden = torch.nn.functional.gelu(linear(p, "linear1", norm("norm2", x)))
    return (x + linear(p, "linear2", hidden))[:length].mean(0)


def gated(torch, p, x, length):
    return x * torch.nn.functional.silu(linear(p, "gate", x))


def in_rows(name, n, m, **more):
    return {"type": "dense", "name": name, "rows": TOKENS, "in_features": n, "out_features": m,
            **more}


CASES |= {
    "dense": Case([in_rows("y", WIDTH, 3)], lambda torch, p, x, length: linear(p, "y", x)),
    "dense, no bias": Case([in_rows("y", WIDTH, 3, bias=False)],
                           lambda torch, p, x, length: linear(p, "y", x)),
    "mean_pool": Case([POOL], lambda torch, p, x, length: x.mean(0)),
    "layer_norm": Case([NORM], normed("layer_norm")),
    "rms_norm": Case([{**NORM, "type": "rms_norm"}], normed("rms_norm")),
    "norms of three": Case([{**NORM, "features": 3}], lambda torch, p, x, length: normed(
        "layer_norm", 3)(torch, p, x.reshape(-1, 3), length)),
    "gelu": Case([{"type": "gelu", "name": "y", "approximate": "none"}], function("gelu")),
    "gelu, tanh": Case([{"type": "gelu", "name": "y", "approximate": "tanh"}],
                       function("gelu", approximate="tanh")),
    **{name: Case([{"type": name, "name": "y"}], function(name))
       for name in ("silu", "sigmoid", "tanh", "relu")},
    "multiply": Case(
        [in_rows("gate", WIDTH, WIDTH), {"type": "silu", "name": "silu"},
         {"type": "multiply", "name": "y", "inputs": ["x", "silu"]}], gated),
    "encoder": Case(
        [{**NORM, "name": "norm1"}, {**ATTENTION, "lengths": True},
         {"type": "add", "name": "add1", "inputs": ["x", "attn"]}, {**NORM, "name": "norm2"},
         in_rows("linear1", WIDTH, 12), {"type": "gelu", "name": "gelu", "approximate": "none"},
         in_rows("linear2", 12, WIDTH), {"type": "add", "name": "add2",
                                         "inputs": ["add1", "linear2"]},
         {**POOL, "lengths": True}], encoder, LENGTHS),
}
POOLED = {"type": "max_pool", "name": "pool", "length": TOKENS, "channels": WIDTH,
          "kernel_size": 3, "stride": 1, "positions": 6, "padding": 1}
UNFOLD = {"type": "unfold", "name": "windows", "height": 6, "width": 4, "channels": 2,
          "kernel_size": [3, 2], "stride": [2, 1], "positions": [3, 5], "padding": [1, 1]}


def largest(size, stride, padding, positions):
    """Of x [channels, length], so many positions; the last ones may see less."""

    def forward(torch, x):
        return torch.nn.functional.max_pool1d(x, size, stride, padding, ceil_mode=True)[
            :, :positions]

    return forward


def in_lines(torch, p, x, length):
    """The largest of [8 lines, 3 places, 2 channels] in windows over both axes."""
    image = x.reshape(8, 3, 2).permute(2, 0, 1)
    return torch.nn.functional.max_pool2d(image, (3, 2), (2, 1), (1, 0)).permute(1, 2, 0)


def unfolded(torch, p, x, length):
    image = torch.nn.functional.pad(x.reshape(6, 4, 2), (0, 0, 1, 1, 1, 1))
    return image.unfold(0, 3, 2).unfold(1, 2, 1).permute(0, 1, 3, 4, 2)


CASES |= {
    "max_pool": Case([POOLED], lambda torch, p, x, length: largest(3, 1, 1, 6)(torch, x.T).T),
    "max_pool, few": Case(
        [{**POOLED, "kernel_size": 2, "stride": 3, "padding": 0, "positions": 2}],
        lambda torch, p, x, length: largest(2, 3, 0, 2)(torch, x.T).T),
    "max_pool, two axes": Case(
        [{"type": "max_pool", "name": "lines", "rows": 8, "length": 3, "channels": 2,
          "kernel_size": 2, "stride": 1, "positions": 2},
         {"type": "max_pool", "name": "pool", "length": 8, "channels": 4, "kernel_size": 3,
          "stride": 2, "positions": 4, "padding": 1}], in_lines),
    "unfold": Case([UNFOLD], unfolded),
}
FRACTION = 1 / functions.UNIT
GIVEN = {key: round(value * functions.UNIT) for key, value in PROVEN.items()}
BY_NAME = {
    "abs": lambda torch, x: x.abs(),
    "celu": lambda torch, x: torch.nn.functional.celu(x, GIVEN["alpha"] * FRACTION),
    "clip": lambda torch, x: torch.nn.functional.hardtanh(x, -1, 2.5),
    "elu": lambda torch, x: torch.nn.functional.elu(x, GIVEN["alpha"] * FRACTION),
    "hard_sigmoid": lambda torch, x: (0.125 * x + 0.5).clamp(0, 1),
    "hard_swish": lambda torch, x: torch.nn.functional.hardswish(x),
    "leaky_relu": lambda torch, x: torch.nn.functional.leaky_relu(x, 0.125),
    "log_sigmoid": lambda torch, x: torch.nn.functional.logsigmoid(x),
    "mish": lambda torch, x: torch.nn.functional.mish(x),
    "quick_gelu": lambda torch, x: x * torch.sigmoid(GIVEN["factor"] * FRACTION * x),
    "selu": lambda torch, x: torch.nn.functional.selu(x),
    "softplus": lambda torch, x: torch.nn.functional.softplus(x, 2),
    "softsign": lambda torch, x: torch.nn.functional.softsign(x),
    "square": lambda torch, x: x.square(),
}


def by_name(name):
    """Of values three times as large as the layer before gives, so that all pieces are met."""
    given = {key: GIVEN[key] for key in FUNCTIONS[name].parameters}
    layers = [{"type": "add", "name": "two", "inputs": ["x", "x"]},
              {"type": "add", "name": "three", "inputs": ["two", "x"]},
              {"type": "activation", "name": "y", "function": name, **given}]
    return Case(layers, lambda torch, p, x, length: BY_NAME[name](torch, 3 * x))


CASES |= {f"activation, {name}": by_name(name) for name in FUNCTIONS}


def with_token(torch, p, x, length):
    """What attention makes of a class token in front of the tokens that count."""
    x = torch.cat([p["token.weight"][None], x + p["position.weight"]])
    return attend(lengths=True)(torch, p, x, length + 1)[0]


CASES |= {
    "select": Case([{"type": "select", "name": "y", "index": -2, **SHAPE}],
                   lambda torch, p, x, length: x[-2]),
    "the last token": Case([{"type": "select", "name": "y", "index": -1, "lengths": True, **SHAPE}],
                           lambda torch, p, x, length: x[length - 1], LENGTHS),
    "slice": Case([{"type": "slice", "name": "y", "start": 1, "rows": 2, "step": 3, **SHAPE}],
                  lambda torch, p, x, length: x[1::3]),
    "position, class_token": Case(
        [{"type": "position", "name": "position", **SHAPE},
         {"type": "class_token", "name": "token", **SHAPE},
         {**ATTENTION, "seq_len": TOKENS + 1, "lengths": True},
         {"type": "select", "name": "y", "index": 0, **SHAPE, "seq_len": TOKENS + 1}],
        with_token, LENGTHS),
    "concat, features": Case(
        [in_rows("b", WIDTH, 3), {"type": "concat", "name": "y", "rows": TOKENS,
                                  "inputs": ["x", "b"]}],
        lambda torch, p, x, length: torch.cat([x, linear(p, "b", x)], 1)),
    "concat, tokens": Case(
        [{"type": "select", "name": "b", "index": 1, **SHAPE},
         {"type": "concat", "name": "y", "rows": 1, "inputs": ["b", "x"]}],
        lambda torch, p, x, length: torch.cat([x[1:2], x])),
}
CONV = {"type": "conv1d", "name": "conv", "length": TOKENS, "channels": WIDTH, "kernel_size": 3,
        "stride": 1, "filters": 4}


def convolved(stride=1, padding=0, dilation=1, groups=1):
    def forward(torch, p, x, length):
        weight = p["conv.weight"].transpose(1, 2)
        return torch.nn.functional.conv1d(
            x.T, weight, p.get("conv.bias"), stride, padding, dilation, groups).T

    return forward


CASES |= {
    "conv1d": Case([CONV], convolved()),
    "conv1d, padding": Case([{**CONV, "padding": 1, "bias": False}], convolved(padding=1)),
    "conv1d, stride, lengths": Case(
        [{**CONV, "padding": 2, "stride": 2},
         {"type": "mean_pool", "name": "pool", "seq_len": 4, "embed_dim": 4, "lengths": True}],
        lambda torch, p, x, length: convolved(2, 2)(torch, p, x, length)[:3].mean(0), LENGTHS),
    "conv1d, dilation": Case([{**CONV, "padding": 2, "dilation": 2, "stride": 2}],
                             convolved(2, 2, 2)),
    "conv1d, depthwise": Case(
        [{**CONV, "padding": 2, "dilation": 2, "groups": WIDTH, "filters": 2 * WIDTH}],
        convolved(1, 2, 2, WIDTH)),
    "conv1d, one channel": Case(
        [{**CONV, "length": SIZE, "channels": 1, "dilation": 5, "stride": 3, "bias": False}],
        lambda torch, p, x, length: torch.nn.functional.conv1d(
            x.reshape(1, -1), p["conv.weight"][:, None], None, 3, 0, 5).T),
    "softmax": Case([{"type": "softmax", "name": "y", "rows": TOKENS, "columns": WIDTH}],
                    lambda torch, p, x, length: x.softmax(1)),
    "transpose": Case(
        [{"type": "transpose", "name": "turned", "rows": TOKENS, "columns": WIDTH},
         {"type": "dense", "name": "y", "rows": WIDTH, "in_features": TOKENS, "out_features": 3}],
        lambda torch, p, x, length: linear(p, "y", x.T)),
}
EMBEDDING = {"type": "embedding", "name": "words", "seq_len": TOKENS, "vocab_size": 9,
             "embed_dim": WIDTH}


def embedded(torch, p, x, length):
    return torch.nn.functional.embedding(x, p["words.weight"])


CASES |= {
    "tied_head": Case(
        [EMBEDDING, {"type": "relu", "name": "relu"},
         {"type": "tied_head", "name": "y", "rows": TOKENS, "in_features": WIDTH,
          "out_features": 9, "embedding": "words"}],
        lambda torch, p, x, length: embedded(torch, p, x, length).relu() @ p["words.weight"].T,
        ids=9),
    "embedding": Case([EMBEDDING, {**POOL, "lengths": True}], after(embedded, pooled), LENGTHS,
                      ids=9),
}
GROUPED = {"type": "grouped_attention", "name": "attn", "num_heads": 4, "num_kv_heads": 2, **SHAPE}
TURNS = [683565276]  # a radian, as rotary_base says of the first pair


def rotated(torch, x, turns):
    """x [tokens, heads, head_dim], by complex numbers."""
    angle = torch.arange(len(x))[:, None] * torch.tensor(turns, dtype=x.dtype) * 2 * np.pi / 2**32
    pairs = torch.view_as_complex(x.unflatten(2, (-1, 2)).contiguous())
    turns = torch.polar(torch.ones_like(angle), angle)[:, None]
    return torch.view_as_real(pairs * turns).flatten(2)


def grouped(heads, kv, turns=None, norms=False):
    def forward(torch, p, x, length):
        q, k, v = (linear(p, f"attn.{part}", x).unflatten(1, (n, -1))
                   for part, n in (("q", heads), ("k", kv), ("v", kv)))
        if norms:
            q, k = (torch.nn.functional.rms_norm(t, t.shape[2:], p[f"attn.{part}_norm.weight"],
                                                 21475 / 2**31) for part, t in (("q", q), ("k", k)))
        if turns:
            q, k = rotated(torch, q, turns), rotated(torch, k, turns)
        k, v = (t.repeat_interleave(heads // kv, 1) for t in (k, v))
        out = torch.nn.functional.scaled_dot_product_attention(
            *(t.transpose(0, 1) for t in (q, k, v)), is_causal=True)
        return linear(p, "attn.out", out.transpose(0, 1).flatten(1))

    return forward


CASES |= {
    "grouped_attention": Case([GROUPED], grouped(4, 2)),
    "grouped_attention, turns": Case([{**GROUPED, "turns": TURNS, "bias": False}],
                                     grouped(4, 2, TURNS)),
    "grouped_attention, a head for all": Case(
        [{**GROUPED, "num_heads": 2, "num_kv_heads": 1, "turns": [*TURNS, 1 << 20]}],
        grouped(2, 1, [*TURNS, 1 << 20])),
    "normed_attention": Case(
        [{**GROUPED, "type": "normed_attention", "eps": [21475, 31], "turns": TURNS,
          "bias": False}], grouped(4, 2, TURNS, norms=True)),
    "normed_attention, biases": Case(
        [{**GROUPED, "type": "normed_attention", "eps": [21475, 31], "num_kv_heads": 4}],
        grouped(4, 4, norms=True)),
}


@pytest.fixture(scope="module")
def remote(roomy):
    return roomy


LENGTH = 4  # of the inputs that have one
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def drawn(case, seed=0):
    """The parameters, an input and a target."""
    rng = np.random.default_rng(seed)
    tensors = {name: values + rng.normal(size=values.shape) / 10
               for name, values in session.initial(case.config, rng).items()}
    model = Model(case.config, tensors, "float64")
    x = case.draw(rng)
    size = model(model.words(x, LENGTH if case.input else None)).size
    return tensors, x, rng.normal(size=size)


def run(case, tensors, x, target, numbers):
    """The loss, the outputs and every gradient by name, in words, and the model."""
    model = Model(case.config, tensors, numbers)
    loss = model.accumulate(model.words(x, LENGTH if case.input else None), model.f.array(target))
    return loss, {p.name: p.grad for p in model.params}, model


@each_case
def test_gradients_equal_finite_differences(case):
    tensors, x, target = drawn(case)
    _, found, _ = run(case, tensors, x, target, "float64")
    assert found.keys() == tensors.keys()
    rng, step = np.random.default_rng(1), 1e-5
    for name, values in tensors.items():
        for index in rng.choice(values.size, min(values.size, 4), replace=False):
            shifted = []
            for sign in (1, -1):
                changed = values.copy()
                changed.flat[index] += sign * step
                shifted.append(run(case, tensors | {name: changed}, x, target, "float64")[0])
            slope = (shifted[0] - shifted[1]) / (2 * step)
            # The third derivative's share of a central difference, and rounding
            assert abs(found[name].flat[index] - slope) < 1e-7, (name, index)


@each_case
def test_gradients_equal_autograd(case):
    torch = pytest.importorskip("torch")
    tensors, x, target = drawn(case)
    loss, found, _ = run(case, tensors, x, target, "float64")
    leaves = {name: torch.tensor(values, requires_grad=True) for name, values in tensors.items()}
    tokens = torch.tensor(x)
    if not case.ids:
        tokens = linear(leaves, "x", tokens.reshape(TOKENS, WIDTH))
    out = case.torch(torch, leaves, tokens, LENGTH)
    wanted = torch.nn.functional.mse_loss(out.flatten(), torch.tensor(target))
    wanted.backward()
    # Constants of functions have 30 bits
    assert abs(loss - wanted.item()) < 1e-8
    for name, leaf in leaves.items():
        assert np.abs(found[name] - leaf.grad.numpy()).max() < 1e-8, name


@each_case
@pytest.mark.parametrize("seed", range(3))
def test_fixed_point_is_within_the_bound(case, seed):
    tensors, x, target = drawn(case, seed)
    loss, exact, _ = run(case, tensors, x, target, "float64")
    fixed_loss, fixed, model = run(case, tensors, x, target, "Q16.16")
    assert abs(fixed_loss / 2**16 - loss) < RELATIVE * loss + absolute(TOKENS)
    for name, values in exact.items():
        bound = RELATIVE * np.abs(values).max() + absolute(TOKENS)
        assert np.abs(model.f.floats(fixed[name]) - values).max() < bound, name


BOARD = compiled("""
from attn8.train.model import Model
model = None  # that of the case before
model = Model(config, dict(tensors))
give([int(model.accumulate(x, target))])
for p in model.params:
    give(p.grad)
model.step()
for p in model.params:
    give(p.value)
give([model.f.overflows])
""")
SPREADS = {"Q16.16": 1, "Q24.8": 1, "Q8.8": 1, "Q16.16 that saturates": 5000}


@each_case
@pytest.mark.parametrize("numbers", SPREADS)
def test_the_board_has_the_same_words(remote, case, numbers):
    tensors, x, target = drawn(case)
    spread, numbers = SPREADS[numbers], numbers.split()[0]
    x, target = x if case.ids else x * spread, target * spread
    if case.ids:
        tensors = {name: values * spread for name, values in tensors.items()}
    model = Model({**case.config, "numbers": numbers}, tensors)
    words = model.words(x, LENGTH if case.input else None)
    loss = model.accumulate(words, model.f.array(target))
    wanted = [np.array([loss]), *(p.grad for p in model.params)]
    model.step()
    wanted += [*(p.value for p in model.params), np.array([model.f.overflows])]
    remote("tensors = {}")
    upload(remote, tensors, model.f)
    found = remote(BOARD, config={**case.config, "numbers": numbers}, x=words.astype(np.int32),
                   target=model.f.array(target).astype(np.int32))
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert (np.array(one) == other.ravel()).all()
    assert spread == 1 or model.f.overflows


DOUBLES = compiled("""
from attn8.train.model import Model
model = Model(config, dict(tensors))
give(array("d", [model.accumulate(x, target)]))
for p in model.params:
    give(p.grad)
""")


@each_case
def test_floats_train_as_float64_does(remote, case):
    """The board's doubles, but for the order in which sums are added up."""
    tensors, x, target = drawn(case)
    loss, grads, model = run(case, tensors, x, target, "float64")
    remote("tensors = {}")
    for name, values in tensors.items():
        remote("tensors[name] = values", name=name, values=values.ravel())
    found = remote(DOUBLES, config={**case.config, "numbers": "double"}, target=target,
                   x=model.words(x, LENGTH if case.input else None).astype(np.float64))
    assert found[0][0] == pytest.approx(loss, rel=1e-12)
    for one, (name, other) in zip(found[1:], grads.items(), strict=True):
        assert np.abs(one - other.ravel()).max() < 1e-12 * max(1, np.abs(other).max()), name


STEP = compiled("""
from attn8.train.model import Model
model = Model(config, dict(tensors))
model.accumulate(x, target)
def step():
    model.accumulate(x, target)
    model.step()
""")


@each_case
def test_a_step_allocates_nothing(remote, case):
    tensors, x, target = drawn(case)
    model = Model(case.config, tensors)
    remote("tensors = {}")
    upload(remote, tensors, model.f)
    words = model.words(x, LENGTH if case.input else None)
    without, with_steps = remote(
        STEP + MEASURE, config=case.config, x=words.astype(np.int32),
        target=model.f.array(target).astype(np.int32))
    assert with_steps == without


REQUANTIZE = compiled("""
from attn8.train.model import Model
from attn8.train.ranges import Ranges
from attn8.train.requantize import Requantizer
model = Model(config, tensors)
ranges = Ranges(model)
for i in range(0, len(x), model.input_size):
    model(x[i : i + model.input_size])
Requantizer(model.layers, model.f, ranges.end(), path).write()
""")
# Of a pre-LN encoder, with gates, functions and norms of all kinds
WHOLE = [
    {**CONV, "padding": 1, "filters": WIDTH}, in_rows("start", WIDTH, WIDTH),
    {"type": "position", "name": "x", **SHAPE},
    {**NORM, "name": "norm1", "eps": 1e-5},
    {**ATTENTION, "core": "exact", "causal": False, "lengths": True},
    {"type": "add", "name": "add1", "inputs": ["x", "attn"]},
    {**NORM, "type": "rms_norm", "name": "norm2", "eps": 1e-5},
    in_rows("linear1", WIDTH, 12), {"type": "gelu", "name": "gelu", "approximate": "none"},
    in_rows("gate", WIDTH, 12, inputs=["norm2"]), {"type": "silu", "name": "silu"},
    {"type": "multiply", "name": "gated", "inputs": ["gelu", "silu"]},
    in_rows("linear2", 12, WIDTH), {"type": "add", "name": "add2", "inputs": ["add1", "linear2"]},
    {"type": "sigmoid", "name": "sigmoid"}, {"type": "tanh", "name": "tanh"},
    {"type": "gelu", "name": "last", "approximate": "tanh"}, {**POOL, "lengths": True},
    {"type": "dense", "name": "head", "in_features": WIDTH, "out_features": 3, "output": "int32"},
]


@pytest.mark.parametrize("bits", [8, 16])
def test_the_board_makes_the_int8_model_that_it_came_from(remote, tmp_path, bits):
    """From int8 to words and back, with ranges of the same inputs."""
    rng = np.random.default_rng(6)
    config = {"format": "attn8", "version": 1, "name": "whole", "layers": WHOLE,
              "input": {"shape": [TOKENS, WIDTH], "lengths": True}}
    floats = {f"{entry['name']}.{part}": rng.normal(0, tensor.shape[-1] ** -0.5, tensor.shape)
              for entry in WHOLE
              for part, tensor in types.get(entry["type"]).float_tensors(entry).items()}
    floats["linear1.weight"][0] *= 1e-4  # of int16, its bias asks for a coarser scale
    x = rng.normal(size=(12, TOKENS, WIDTH))
    before, integers = quantize_model(config, floats, x, [TOKENS] * len(x), activation_bits=bits)
    signals = Integers(before, integers).signals
    entries, words, scales, last = [], {}, {"input": before["input"]["scale"]}, {}
    for entry, sources in zip(before["layers"], modelfile.inputs(before), strict=True):
        kind, name = types.get(entry["type"]), entry["name"]
        own = modelfile.parts(entry, kind.tensors(entry), integers)
        if kind.computes:
            entry = kind.retrainable(entry, signals[sources[0]])
        fields, found = kind.retrained(entry, own, [scales[each] for each in sources])
        scales[name] = entry.get("scale", scales[sources[0]])
        last[name] = name if fields else last[sources[0]]
        if fields:
            fields["inputs"] = [last.get(source, "input") for source in sources]
            entries.append(fields)
        words |= {f"{name}.{part}": values for part, values in found.items()}
    training = {"numbers": "Q16.16", "input": {"size": SIZE, **LENGTHS}, "layers": entries,
                "loss": "mse", "optimizer": {"type": "sgd", "lr": ratio(0.02)}}
    model, path = Model(training, words), "/models/whole.safetensors"
    push(remote.board, path, modelfile.pack(before, integers))
    remote("tensors = {}")
    upload(remote, words, model.f)
    given = np.concatenate([model.words(each, TOKENS) for each in x])
    remote(REQUANTIZE, config=training, path=path, x=given.astype(np.int32))
    made = tmp_path / "made.safetensors"
    made.write_bytes(remote.board.read_file(path))
    after, found = modelfile.read(made)
    Integers(after, found)
    for entry, other in zip(before["layers"], after["layers"], strict=True):
        assert other["scale"] == pytest.approx(entry["scale"], rel=0.05), entry["name"]
    for name, values in integers.items():
        if name.endswith("weight") and values.dtype == np.int8:
            first = int(name == "linear1.weight")  # words are no finer than its steps
            assert np.abs(values.astype(int) - found[name])[first:].max() <= 1, name
            assert (values == found[name])[first:].mean() > 0.98, name
    outputs = [Integers(*pair)(quantize(x[0], before["input"]["scale"]), 4)["head"]
               * pair[0]["layers"][-1]["scale"]
               for pair in ((before, integers), (after, found))]
    assert np.abs(outputs[1] - outputs[0]).max() < 0.05 * np.abs(outputs[0]).max()


def test_every_layer_is_among_them():
    found = {path.stem for path in (DEVICE / "attn8/train/layers").glob("[!_]*.py")}
    # What frozen layers give, in a file, has tests of its own (test_train_fit)
    elsewhere = {"features", "front", "self_attention_1d"}
    tested = {entry["type"] for case in CASES.values() for entry in case.config["layers"]}
    assert found == tested | elsewhere
    for name, kind in types.types().items():  # and what trains in one half does in the other
        trains = type(kind).trainable is not types.base.LayerType.trainable
        assert trains == (name in found), name
