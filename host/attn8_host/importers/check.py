"""Whether the float form computes what the original does."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import float_model
from ..errors import ModelError

MOST = 1e-4  # of the difference; of values beyond 1, of the largest
RANDOM = 4  # inputs besides the example


def strip(what: str, shape: tuple[int, ...]) -> int:
    """The axis of the batch, which is 1.

    Raises:
        ModelError: there is none.
    """
    if len(shape) >= 2 and shape[0] == 1:
        return 0
    if len(shape) == 3 and shape[1] == 1:  # time first
        return 1
    raise ModelError(f"{what}: expected a batch of 1 in front, [1, ...], got {list(shape)}; give "
                     "one sample of the batch, as x[:1]")


def check(
    config: dict[str, Any], tensors: dict[str, np.ndarray],
    original: Callable[[np.ndarray], list[np.ndarray]], example: np.ndarray,
    outputs: Sequence[str],
) -> float:
    """The largest difference between the float form and the original.

    Args:
        config, tensors: of the float model.
        original: from an input with its batch to its outputs.
        example: an input; others are drawn with its mean and spread.
        outputs: the layers that give the same.

    Raises:
        ModelError: it is more than MOST.
    """
    rng = np.random.default_rng(0)
    spread = float(example.std()) or 1.0
    largest = 0.0
    for i in range(1 + RANDOM):
        x = rng.normal(example.mean(), spread, example.shape) if i else example
        x = x.astype(np.float32).astype(np.float64)
        found = float_model.run(config, tensors, x.reshape(config["input"]["shape"]))
        for name, wanted in zip(outputs, original(x), strict=True):
            given = found[name]
            if given.size != wanted.size:
                raise ModelError(f"{name}: the float form gives {given.size} values, the original "
                                 f"{wanted.size}; please report this module")
            difference = float(np.abs(given.ravel() - wanted.ravel()).max())
            largest = max(largest, difference / max(1.0, float(np.abs(wanted).max())))
    if not largest <= MOST:
        raise ModelError(f"the float form differs from the original by {largest:.2g}, more than "
                         f"{MOST:g}; please report this module")
    return largest
