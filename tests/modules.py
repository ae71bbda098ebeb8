"""Modules as people write them, for the tests of imports: each with an input [1, ...]."""

import math

import torch
from torch import nn
from torch.nn import functional as F

S, E, H = 7, 12, 3


class Encoder(nn.Module):
    """CLS or mean, a learned position, nn.TransformerEncoder, a head."""

    def __init__(self, norm_first=True, activation="gelu", cls=False, conv=False, layers=2):
        super().__init__()
        self.embed = (nn.Conv1d(5, E, 3, padding=1) if conv else nn.Linear(5, E))
        self.cls = nn.Parameter(torch.randn(1, 1, E)) if cls else None
        self.position = nn.Parameter(torch.randn(1, S + cls, E) * 0.3)
        layer = nn.TransformerEncoderLayer(E, H, 20, 0.1, activation, batch_first=True,
                                           norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(E)
        self.head = nn.Linear(E, 4)

    def forward(self, x):
        if isinstance(self.embed, nn.Conv1d):
            x = self.embed(x.transpose(1, 2)).transpose(1, 2)
        else:
            x = self.embed(x)
        if self.cls is not None:
            x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1)
        x = self.norm(self.encoder(x + self.position))
        return self.head(x[:, 0] if self.cls is not None else x.mean(dim=1))


class Fused(nn.Module):
    """Attention by hand: one projection for q, k and v, F.scaled_dot_product_attention."""

    def __init__(self, causal=True, bias=False):
        super().__init__()
        self.qkv, self.proj = nn.Linear(E, 3 * E, bias=bias), nn.Linear(E, E, bias=bias)
        self.causal = causal

    def forward(self, x):
        b, s, e = x.shape
        q, k, v = self.qkv(x).reshape(b, s, 3, H, e // H).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.proj(x.transpose(1, 2).reshape(b, s, e))


class Softmax(nn.Module):
    """Attention by hand: three projections, softmax, a causal mask in a buffer."""

    def __init__(self, scale=True):
        super().__init__()
        self.q_proj, self.k_proj = nn.Linear(E, E), nn.Linear(E, E, bias=False)
        self.v_proj, self.out_proj = nn.Linear(E, E), nn.Linear(E, E)
        self.register_buffer("mask", torch.tril(torch.ones(20, 20)).view(1, 1, 20, 20))
        self.scale = 1 / math.sqrt(E // H) if scale else 0.7

    def forward(self, x):
        b, s, e = x.shape
        q, k, v = (f(x).view(b, s, H, e // H).transpose(1, 2)
                   for f in (self.q_proj, self.k_proj, self.v_proj))
        scores = (q @ k.transpose(-2, -1)) * self.scale
        scores = scores.masked_fill(self.mask[:, :, :s, :s] == 0, float("-inf"))
        out = F.softmax(scores, dim=-1) @ v
        return self.out_proj(out.transpose(1, 2).contiguous().view(b, s, e))


class Narrow(nn.Module):
    """Keys and values of a width of their own, in einsum, without a projection behind."""

    def __init__(self, key=2, value=3, heads=2):
        super().__init__()
        self.q, self.k = nn.Linear(E, heads * key), nn.Linear(E, heads * key)
        self.v, self.heads = nn.Linear(E, heads * value), heads

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)) for f in (self.q, self.k, self.v))
        weights = torch.einsum("bshd,bthd->bhst", q, k).mul(0.4).softmax(-1)
        return torch.einsum("bhst,bthd->bshd", weights, v).flatten(-2)


class Grouped(nn.Module):
    """Several heads share keys and values."""

    def __init__(self):
        super().__init__()
        self.q, self.kv, self.out = nn.Linear(E, E), nn.Linear(E, 2 * 4), nn.Linear(E, E)

    def forward(self, x):
        q = self.q(x).unflatten(-1, (3, 4)).transpose(1, 2)
        k, v = (y.unflatten(-1, (1, 4)).transpose(1, 2) for y in self.kv(x).chunk(2, -1))
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return self.out(y.transpose(1, 2).flatten(2))


class RMS(nn.Module):
    """RMSNorm and a gated feed-forward, as in Llama."""

    def __init__(self, own=False):
        super().__init__()
        self.norm, self.own = nn.RMSNorm(E), own
        self.attn = Fused()
        self.norm2 = nn.RMSNorm(E, eps=1e-6)
        self.gate, self.up = nn.Linear(E, 20, bias=False), nn.Linear(E, 20, bias=False)
        self.down = nn.Linear(20, E, bias=False)

    def _norm(self, norm, x):
        if self.own:
            return norm.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))
        return norm(x)

    def forward(self, x):
        x = x + self.attn(self._norm(self.norm, x))
        y = self._norm(self.norm2, x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Convolutions(nn.Module):
    """Conv1d, BatchNorm1d, depthwise, causal, and a pool, on [1, channels, length]."""

    def __init__(self):
        super().__init__()
        self.parts = nn.Sequential(
            nn.Conv1d(3, 8, 5, stride=2, padding=2, bias=False), nn.BatchNorm1d(8), nn.ReLU(),
            nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(8, 8, 3, groups=8), nn.GELU("tanh"),
            nn.Conv1d(8, 6, 2, dilation=2, padding="same"), nn.BatchNorm1d(6), nn.SiLU(),
            nn.Dropout(0.5), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 4))
        for part in self.parts:
            if isinstance(part, nn.BatchNorm1d):
                nn.init.normal_(part.running_mean)
                nn.init.uniform_(part.running_var, 0.5, 2)
                nn.init.normal_(part.weight)
                nn.init.normal_(part.bias)

    def forward(self, x):
        return self.parts(x)


class Flattened(nn.Module):
    """BatchNorm1d on the input, a convolution of one channel, all positions to a Linear."""

    def __init__(self):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm1d(1), nn.Conv1d(1, 4, 5, 2)
        self.head = nn.Linear(4 * 14, 3)
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x):
        return self.head(torch.tanh(self.conv(self.norm(x))).flatten(1))


class Mixer(nn.Module):
    """A Linear over the tokens, then one over the channels; LayerScale."""

    def __init__(self):
        super().__init__()
        self.norm, self.tokens = nn.LayerNorm(E, 1e-3), nn.Linear(S, S)
        self.channels, self.scale = nn.Linear(E, E), nn.Parameter(torch.rand(E))

    def forward(self, x):
        x = x + self.tokens(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return x - 0.5 * self.scale * torch.sigmoid(self.channels(x))


class Decomposed(nn.Module):
    """LayerNorm, GELU and softmax written out."""

    def __init__(self):
        super().__init__()
        self.g, self.b = nn.Parameter(torch.rand(E)), nn.Parameter(torch.rand(E))
        self.up, self.down = nn.Linear(E, 16), nn.Linear(16, E)

    def forward(self, x):
        centred = x - x.mean(-1, keepdim=True)
        y = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5) * self.g + self.b
        y = self.up(y)
        y = self.down(0.5 * y * (1 + torch.erf(y / math.sqrt(2))))
        scores = y @ y.transpose(-1, -2) / 3
        e = torch.exp(scores - scores.amax(-1, keepdim=True))
        return x + (e / e.sum(-1, keepdim=True)) @ y


class Sinusoid(nn.Module):
    """A sinusoidal position in a buffer, time first, a causal mask from torch."""

    def __init__(self):
        super().__init__()
        t = torch.arange(30)[:, None] / 10000 ** (torch.arange(0, E, 2) / E)
        self.register_buffer("table", torch.stack([t.sin(), t.cos()], -1).flatten(1)[:, None])
        self.layer = nn.TransformerEncoderLayer(E, H, 16, activation=F.relu)

    def forward(self, x):
        x = x * math.sqrt(E) + self.table[: len(x)]
        mask = nn.Transformer.generate_square_subsequent_mask(len(x))
        return self.layer(x, src_mask=mask, is_causal=True)[-1]


class Cross(nn.Module):
    """Queries of each token to a convolution's fewer ones, kdim and vdim of what they come from."""

    def __init__(self):
        super().__init__()
        self.embed, self.conv = nn.Linear(E, E), nn.Conv1d(E, 10, 2, 2)
        self.attn = nn.MultiheadAttention(E, H, kdim=10, vdim=10, batch_first=True)

    def forward(self, x):
        memory = self.conv(x.transpose(1, 2)).transpose(1, 2)
        y = self.embed(x)
        return y + self.attn(y, memory, memory, need_weights=False)[0]


class Queries(nn.Module):
    """Learned queries in a decoder layer."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.TransformerDecoderLayer(E, H, 16, batch_first=True)
        self.queries, self.head = nn.Parameter(torch.randn(1, 3, E)), nn.Linear(E, 2)

    def forward(self, x):
        return self.head(self.decoder(self.queries.expand(len(x), -1, -1), x).mean(1))


class Widths(nn.Module):
    """kdim and vdim of projections of the same tokens; heads of other widths, projected."""

    def __init__(self):
        super().__init__()
        self.keys, self.values = nn.Linear(E, 10), nn.Linear(E, 7)
        self.attn = nn.MultiheadAttention(E, H, kdim=10, vdim=7, batch_first=True)
        self.narrow, self.out = Narrow(2, 5, 2), nn.Linear(10, E)

    def forward(self, x):
        x = x + self.attn(x, self.keys(x), self.values(x), need_weights=False)[0]
        return x + self.out(self.narrow(x))


class Joined(nn.Module):
    """Two convolutions side by side, a GLU, a part of the tokens, CLS and mean, two heads."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv1d(5, 6, 3, padding=1), nn.Conv1d(5, 6, 5, padding=2)
        self.gate, self.head = nn.Linear(12, 16), nn.Linear(16, 3)
        self.other = nn.Linear(8, 2)

    def forward(self, x):
        x = x.transpose(1, 2)
        x = torch.cat([F.relu(self.a(x)), F.gelu(self.b(x))], 1).transpose(1, 2)
        x = F.glu(self.gate(x))
        y = x[:, 1:6:2]
        return self.other(y), self.head(torch.cat([x[:, 0], y.mean(1)], -1))


class Activations(nn.Module):
    """Each of the functions that have a name, behind a Linear."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(5, E)
        self.parts = nn.ModuleList([
            nn.LeakyReLU(0.2), nn.ELU(0.7), nn.SELU(), nn.CELU(0.6), nn.Hardswish(),
            nn.Hardsigmoid(), nn.ReLU6(), nn.Hardtanh(-0.5, 2), nn.PReLU(), nn.Mish(),
            nn.Softplus(2), nn.Softsign(), nn.LogSigmoid()])
        self.products = nn.ModuleList([nn.Linear(E, E) for _ in self.parts])

    def forward(self, x):
        x = self.embed(x)
        for part, product in zip(self.parts, self.products, strict=True):
            x = part(2 * product(x))
        x = x.abs()
        return (x * torch.sigmoid(1.702 * x)).square()


class Pools(nn.Module):
    """Pools of a signal [1, channels, length], and a convolution in groups."""

    def __init__(self):
        super().__init__()
        self.parts = nn.Sequential(
            nn.Conv1d(3, 8, 3), nn.ReLU(), nn.MaxPool1d(3, 2, 1), nn.Conv1d(8, 6, 3, groups=2),
            nn.MaxPool1d(2, ceil_mode=True), nn.Conv1d(6, 6, 2), nn.AvgPool1d(3, 1, 1),
            nn.AdaptiveMaxPool1d(3), nn.Conv1d(6, 5, 2), nn.AdaptiveMaxPool1d(1), nn.Flatten(),
            nn.Linear(5, 4))

    def forward(self, x):
        return self.parts(x)


class Groups(nn.Module):
    """Norms of groups of channels, and of each."""

    def __init__(self):
        super().__init__()
        self.parts = nn.Sequential(
            nn.Conv1d(3, 8, 3), nn.GroupNorm(4, 8), nn.ReLU(), nn.Conv1d(8, 6, 3),
            nn.GroupNorm(1, 6), nn.Conv1d(6, 4, 2), nn.InstanceNorm1d(4, affine=True))
        for part in self.parts:
            if isinstance(part, (nn.GroupNorm, nn.InstanceNorm1d)):
                nn.init.uniform_(part.weight, 0.5, 2)
                nn.init.normal_(part.bias)

    def forward(self, x):
        return self.parts(x)


class Image(nn.Module):
    """Tokens of an image: patches, as ViT has them, or those of a compact transformer."""

    def __init__(self, patches):
        super().__init__()
        self.register_buffer("mean", torch.rand(3, 1, 1) if patches else None)
        self.parts = nn.Sequential(nn.Conv2d(3, E, (4, 3), (4, 3))) if patches else nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.Conv2d(6, E, 1), nn.AvgPool2d(2, 1))
        self.head = nn.Linear(E, 4)

    def forward(self, x):
        x = self.parts(x if self.mean is None else x - self.mean)
        return self.head(x.flatten(2).transpose(1, 2)).amax(1)


def cases():
    """name: (module, input)."""
    x, sensor = torch.randn(1, S, E), torch.randn(1, S, 5)
    made = {
        **{f"encoder {'pre' if first else 'post'} {act}":
           (Encoder(first, act), sensor) for first in (True, False) for act in ("relu", "gelu")},
        "encoder cls": (Encoder(False, cls=True), sensor),
        "encoder conv": (Encoder(conv=True), sensor),
        "fused": (Fused(), x), "fused bias": (Fused(False, True), x),
        "softmax": (Softmax(), x), "softmax scale": (Softmax(False), x),
        "narrow": (Narrow(), x), "wide": (Narrow(8, 5, 2), x), "grouped": (Grouped(), x),
        "rms": (RMS(), x), "own rms": (RMS(True), x),
        "convolutions": (Convolutions(), torch.randn(1, 3, 31)),
        "flattened": (Flattened(), torch.randn(1, 1, 31)),
        "cross": (Cross(), x), "queries": (Queries(), x), "widths": (Widths(), x),
        "mixer": (Mixer(), x), "decomposed": (Decomposed(), x),
        "activations": (Activations(), sensor),
        "pools": (Pools(), torch.randn(1, 3, 31)),
        "groups": (Groups(), torch.randn(1, 3, 13)),
        "patches": (Image(True), torch.randn(1, 3, 8, 9)),
        "compact": (Image(False), torch.randn(1, 3, 7, 8)),
        "sinusoid": (Sinusoid(), torch.randn(S, 1, E)),
    }
    return made
