"""`attn8 demo`: a model that comes along, run on a board and proven against NumPy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from rich.console import Console

from .. import discover, float_model, inputs, modelfile
from ..boards import Board
from ..model import load
from ..numerics import floating
from ..paths import MODELS
from . import run
from .compare import Verification
from .run import RunResult


@dataclass
class Data:
    """Inputs as a sensor gives them, float32 [n, ...]; their classes [n]; and how many tokens of
    each count, where they are not all of one length."""

    inputs: np.ndarray
    labels: np.ndarray
    lengths: list[int] | None = None

    def first(self, samples: int | None) -> "Data":
        """So many of them; None for all."""
        lengths = None if self.lengths is None else self.lengths[:samples]
        return Data(self.inputs[:samples], self.labels[:samples], lengths)


@dataclass
class Demo:
    """One of them. Its int8 and float model files are MODELS/NAME.safetensors and
    NAME_float.safetensors, NAME being its module's.

    Attributes:
        title: what its inputs are.
        says: the first answer in words, {} being one of `answers`.
        read: its test data.
        answers: the classes.
        picture: shape of an input that is an image.
        need_weights: whether a board has room for all attention weights.
    """

    title: str
    says: str
    read: Callable[[], Data]
    answers: tuple[str, ...]
    picture: tuple[int, int] | None = None
    need_weights: bool = True


@dataclass
class DemoResult(RunResult):
    """What the demo measured; the keys of its JSON."""

    accuracy: float
    float_accuracy: float
    max_lsb_vs_float: float  # head outputs against float64 attention over the same int8 q, k, v
    cosine_vs_float: float  # attention layers' outputs against the float32 model's, mean
    top1_agreement_vs_float: float


@cache
def demos() -> dict[str, Demo]:
    """All of them by name."""
    return discover.entries("attn8_host.proof.demos", "DEMO")


def demonstrate(
    board: Board, console: Console, name: str, data: Data
) -> tuple[DemoResult, Verification]:
    """Deploys, streams a demo's `data` and compares."""
    path = MODELS / f"{name}.safetensors"
    keep = demos()[name].need_weights
    model = load(path, keep)
    config, tensors = modelfile.read(MODELS / f"{name}_float.safetensors")
    lengths: Sequence[int | None] = data.lengths or [None] * len(data.inputs)
    integers = inputs.integers(data.inputs, model)

    measured, result = run.run(board, model, path, integers, console, keep, lengths)
    float_run = float_model.prepare(config, tensors)
    floats = [float_run(x, n) for x, n in zip(data.inputs, lengths, strict=True)]
    last = model.config["layers"][-1]["name"]
    top1 = np.array([o[last].argmax() for o in result.outputs])
    float_top1 = np.array([f[last].argmax() for f in floats])
    attention = [entry for entry in model.config["layers"] if entry["type"] == "attention"]
    errors, cosines = [], []
    for o, f, n in zip(result.outputs, floats, lengths, strict=True):
        for entry in attention:
            errors.append(_lsb_error(entry, o, n))
            part = f"{entry['name']}.heads"
            cosines.append(floating.cosine(o[part], f[part]))
    outcome = DemoResult(
        **measured.as_dict(),
        accuracy=float((top1 == data.labels).mean()),
        float_accuracy=float((float_top1 == data.labels).mean()),
        max_lsb_vs_float=max(errors),
        cosine_vs_float=float(np.mean(cosines)),
        top1_agreement_vs_float=float((top1 == float_top1).mean()),
    )
    return outcome, result


def weights(name: str, data: Data) -> dict[str, np.ndarray]:
    """A model's tensors for the first input with all attention weights, as NumPy computes them."""
    model = load(MODELS / f"{name}.safetensors")
    first = inputs.integers(data.inputs[:1], model)[0]
    return model(first, data.lengths[0] if data.lengths else None)


def _lsb_error(entry: dict[str, Any], outputs: dict[str, np.ndarray], length: int | None) -> float:
    """The largest error of the head outputs, in steps of int8, that integer attention adds."""
    q, k, v = (outputs[f"{entry['name']}.{part}"].astype(np.float64) for part in ("q", "k", "v"))
    scales = entry["scales"]
    scale = scales["q"] * scales["k"] / np.sqrt(q.shape[-1])
    k, v = k[:, :length], v[:, :length]
    exact = floating.attention(q, k, v, scale, entry["causal"]) * scales["v"] / scales["heads"]
    found = outputs[f"{entry['name']}.heads"]
    return float(np.abs(found - np.clip(exact, -127, 127)).max())
