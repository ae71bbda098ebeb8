"""Text that a float model writes itself, to calibrate it with."""

from typing import Any

import numpy as np

from .. import float_model, tokenizer
from ..errors import ModelError
from ..layers.base import TOKENS
from ..numerics.floating import softmax

SAMPLES, SEED = 8, 1


def writes(config: dict[str, Any], tensors: dict[str, np.ndarray]) -> bool:
    """Whether a float model is one of text."""
    return config["input"].get("format") == TOKENS and "tokenizer.pieces" in tensors


def written(
    config: dict[str, Any], tensors: dict[str, np.ndarray], samples: int = SAMPLES,
    seed: int = SEED,
) -> np.ndarray:
    """int16 [samples, context]: texts from the token on that begins one, drawn at temperature 1.

    Raises:
        ModelError: the model is none of text, or takes more than a token at a time.
    """
    speaks = tokenizer.of(config, tensors) if writes(config, tensors) else None
    if speaks is None:
        raise ModelError("--calibration is missing: only a model with a tokenizer writes its own")
    rng = np.random.default_rng(seed)
    found = np.full((samples, config["input"]["shape"][0]), speaks.begin, np.int16)
    for row in found:
        step = float_model.stepping(config, tensors)
        for i in range(1, len(row)):
            p = softmax(step(row[i - 1 : i]).astype(np.float64))
            row[i] = rng.choice(len(p), p=p / p.sum())
    return found
