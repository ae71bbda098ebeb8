"""A small classifier with attention over six channels, and a View that keeps what it is told."""

import numpy as np

from attn8_host.model import Model
from attn8_host.quantize.model import quantize_model
from tests.test_stream import CHANNELS, signal

WINDOW, CLASSES, HEADS = 12, 3, 2


def classifier() -> Model:
    rng = np.random.default_rng(7)
    x = np.lib.stride_tricks.sliding_window_view(signal(rng, 300), WINDOW, axis=0)
    windows = np.ascontiguousarray(x.transpose(0, 2, 1)).astype(np.float32)
    weight = rng.normal(size=(16, CHANNELS)) / 3000
    config = {
        "format": "attn8", "version": 1, "name": "watched",
        "input": {"shape": [WINDOW, CHANNELS]},
        "layers": [
            {"type": "dense", "name": "embed", "rows": WINDOW, "in_features": CHANNELS,
             "out_features": 16},
            {"type": "attention", "name": "attn", "seq_len": WINDOW, "embed_dim": 16,
             "num_heads": HEADS, "core": "exact", "causal": False},
            {"type": "mean_pool", "name": "pool", "seq_len": WINDOW, "embed_dim": 16},
            {"type": "dense", "name": "head", "in_features": 16, "out_features": CLASSES,
             "output": "int32"},
        ],
    }  # fmt: skip
    tensors = {f"attn.{part}.weight": rng.normal(size=(16, 16)) / 4
               for part in ("q", "k", "v", "out")}
    tensors |= {f"attn.{part}.bias": np.zeros(16) for part in ("q", "k", "v", "out")}
    tensors |= {
        "embed.weight": weight, "embed.bias": -weight @ windows.mean(axis=(0, 1)),
        "head.weight": rng.normal(size=(CLASSES, 16)), "head.bias": np.zeros(CLASSES),
    }
    return Model(*quantize_model(config, tensors, windows))


class Kept:
    """A View."""

    def __init__(self):
        self.abouts, self.said, self.results = [], [], []

    def about(self, about):
        self.abouts.append(about)

    def status(self, state, text):
        self.said.append((state, text))

    def result(self, seconds, result):
        self.results.append((seconds, result))
