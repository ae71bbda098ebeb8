"""`attn8 demo`: handwritten digits, classified on a board and proven against NumPy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from safetensors.numpy import load_file

from .. import float_model, modelfile
from ..boards import Board
from ..model import load
from ..numerics import floating
from ..paths import MODELS
from . import run
from .compare import Verification
from .run import RunResult

PATH = MODELS / "digits.safetensors"


@dataclass
class DemoResult(RunResult):
    """What the demo measured; the keys of its JSON."""

    accuracy: float
    float_accuracy: float
    max_lsb_vs_float: float  # head outputs against float64 attention over the same int8 q, k, v
    cosine_vs_float: float  # attention layer's output against the float32 model's, mean
    top1_agreement_vs_float: float


def digits(samples: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Test images, uint8 [samples, 64] of 0 to 16, and what they show, [samples]; None for all."""
    data = load_file(MODELS / "digits_data.safetensors")
    return data["test.images"][:samples], data["test.labels"][:samples]


def demonstrate(
    board: Board, console: Console, images: np.ndarray, labels: np.ndarray
) -> tuple[DemoResult, Verification]:
    """Deploys, streams `digits` and compares."""
    model = load(PATH)
    float_config, float_tensors = modelfile.read(MODELS / "digits_float.safetensors")
    # A pixel p in 0..16 stands for p/16 = 7p * 1/112: exact in int8
    inputs = (images.astype(np.int16) * 7).astype(np.int8)

    measured, result = run.run(board, model, PATH, inputs, console)
    floats = [
        float_model.run(float_config, float_tensors, x * np.float32(model.config["input"]["scale"]))
        for x in inputs
    ]
    top1 = np.array([o["head"].argmax() for o in result.outputs])
    float_top1 = np.array([f["head"].argmax() for f in floats])
    cosines = [
        floating.cosine(o["attn"], f["attn"]) for o, f in zip(result.outputs, floats, strict=True)
    ]
    outcome = DemoResult(
        **measured.as_dict(),
        accuracy=float((top1 == labels).mean()),
        float_accuracy=float((float_top1 == labels).mean()),
        max_lsb_vs_float=max(_lsb_error(model.config, o) for o in result.outputs),
        cosine_vs_float=float(np.mean(cosines)),
        top1_agreement_vs_float=float((top1 == float_top1).mean()),
    )
    return outcome, result


def _lsb_error(config: dict[str, Any], outputs: dict[str, np.ndarray]) -> float:
    """The largest error of the head outputs, in steps of int8, that integer attention adds."""
    entry = next(layer for layer in config["layers"] if layer["type"] == "attention")
    q, k, v = (outputs[f"attn.{part}"].astype(np.float64) for part in ("q", "k", "v"))
    scales = entry["scales"]
    scale = scales["q"] * scales["k"] / np.sqrt(q.shape[-1])
    exact = floating.attention(q, k, v, scale, entry["causal"]) * scales["v"] / scales["heads"]
    return float(np.abs(outputs["attn.heads"] - np.clip(exact, -127, 127)).max())
