"""A whole transformer encoder layer, with its norms in front or behind: cases of `attn8 verify`."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import float_model
from ..layers.base import INPUT_SCALE
from ..numerics.scales import quantize
from ..quantize.model import quantize_model
from .cases import Case

SEQ_LEN, WIDTH, HIDDEN, HEADS = 16, 32, 64, 4
SAMPLES = 8  # that it is calibrated with; the first ones are compared
COMPARED = 4
MEAN_ERROR = 0.01  # of the range, at most


def entries(pre: bool) -> list[dict[str, Any]]:
    """The layers of torch.nn.TransformerEncoderLayer behind a matrix, with a GELU."""
    def norm(name: str) -> dict[str, Any]:
        return {"type": "layer_norm", "name": name, "features": WIDTH, "eps": 1e-5}

    def dense(name: str, n: int, m: int) -> dict[str, Any]:
        return {"type": "dense", "name": name, "rows": SEQ_LEN, "in_features": n,
                "out_features": m}

    attention = {"type": "attention", "name": "attn", "seq_len": SEQ_LEN, "embed_dim": WIDTH,
                 "num_heads": HEADS, "core": "exact", "causal": False}
    between = {"type": "add", "name": "add1", "inputs": ["x", "attn"]}
    forward = [dense("linear1", WIDTH, HIDDEN),
               {"type": "gelu", "name": "gelu", "approximate": "none"},
               dense("linear2", HIDDEN, WIDTH)]
    last = {"type": "add", "name": "add2", "inputs": ["add1" if pre else "norm1", "linear2"]}
    if pre:
        return [dense("x", WIDTH, WIDTH), norm("norm1"), attention, between, norm("norm2"),
                *forward, last]
    return [dense("x", WIDTH, WIDTH), attention, between, norm("norm1"), *forward, last,
            norm("norm2")]


def encoder_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Both kinds, with random weights; quantized as any model is, and compared with floats."""
    for variant in ("pre", "post"):
        layers = entries(variant == "pre")
        tensors = {}
        matrices = {"x": (WIDTH, WIDTH), "linear1": (HIDDEN, WIDTH), "linear2": (WIDTH, HIDDEN)}
        matrices |= {f"attn.{part}": (WIDTH, WIDTH) for part in ("q", "k", "v", "out")}
        for name, shape in matrices.items():
            tensors[f"{name}.weight"] = rng.normal(0, shape[1] ** -0.5, shape)
            tensors[f"{name}.bias"] = rng.normal(0, 0.1, shape[0])
        for name in ("norm1", "norm2"):
            tensors[f"{name}.weight"] = rng.normal(1, 0.2, WIDTH)
            tensors[f"{name}.bias"] = rng.normal(0, 0.2, WIDTH)
        config = {"format": "attn8", "version": 1, "name": "encoder", "layers": layers,
                  "input": {"shape": [SEQ_LEN, WIDTH], "scale": INPUT_SCALE}}
        yield _case(variant, config, tensors, rng.normal(size=(SAMPLES, SEQ_LEN, WIDTH)))


def _case(
    variant: str, config: dict[str, Any], tensors: dict[str, np.ndarray], samples: np.ndarray
) -> Case:
    made, integers = quantize_model(config, tensors, samples)
    run = float_model.prepare(config, tensors)
    last, scale = config["layers"][-1]["name"], made["layers"][-1]["scale"]
    step = max(float(np.abs(run(x)[last]).max()) for x in samples) / 127

    def floats(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        want = run(outputs["input"].reshape(SEQ_LEN, WIDTH) * INPUT_SCALE)[last]
        return outputs[last].ravel() * scale / step, want.ravel() / step

    given = quantize(samples[:COMPARED], INPUT_SCALE).reshape(COMPARED, -1)
    return Case("encoder", variant, {"seq_len": SEQ_LEN, "embed_dim": WIDTH, "num_heads": HEADS},
                made, integers, given, floats, most_mean_error=MEAN_ERROR)
