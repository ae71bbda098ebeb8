"""Whether the float form computes what the original does."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import float_model
from ..errors import ModelError

# The layers that give the original's outputs, and of each what makes the output of its values
Outputs = Sequence[tuple[str, Callable[[np.ndarray], np.ndarray]]]
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
    outputs: Outputs,
) -> float:
    """The largest difference between the float form and the original.

    Args:
        config, tensors: of the float model.
        original: from an input with its batch to its outputs.
        example: an input; others are drawn with its mean and spread.
        outputs: what gives the same.

    Raises:
        ModelError: it is more than MOST.
    """
    largest = max(difference(config, tensors, x, original(x), outputs)
                  for x in inputs_like(config, example))
    if not largest <= MOST:
        raise ModelError(f"the float form differs from the original by {largest:.2g}, more than "
                         f"{MOST:g}; please report this module")
    return largest


def inputs_like(config: dict[str, Any], example: np.ndarray) -> Iterator[np.ndarray]:
    """The example, and RANDOM inputs with its mean and spread; token ids of the vocabulary."""
    rng = np.random.default_rng(0)
    sizes = [entry["vocab_size"] for entry in config["layers"] if entry["type"] == "embedding"]
    yield example
    for _ in range(RANDOM):
        if config["input"].get("format") == "tokens":
            yield rng.integers(0, min(sizes), example.shape)
        else:
            x = rng.normal(example.mean(), float(example.std()) or 1.0, example.shape)
            yield x.astype(np.float32).astype(np.float64)


def difference(
    config: dict[str, Any], tensors: dict[str, np.ndarray], x: np.ndarray,
    wanted: Sequence[np.ndarray], outputs: Outputs, length: int | None = None,
) -> float:
    """The largest difference of the float form from what the original gives.

    With a length, of results that there are for each token, those that count.
    """
    found = float_model.run(config, tensors, x.reshape(config["input"]["shape"]), length)
    largest = 0.0
    for (name, finish), original in zip(outputs, wanted, strict=True):
        given, values = finish(found[name]).ravel(), original.ravel()
        if given.size != values.size:
            raise ModelError(f"{name}: the float form gives {given.size} values, the original "
                             f"{values.size}; please report this module")
        tokens = config["input"]["shape"][0]
        if length is not None and found[name].ndim == 2 and len(found[name]) == tokens:
            n = given.size // tokens * length
            given, values = given[:n], values[:n]
        most = float(np.abs(given - values).max())
        largest = max(largest, most / max(1.0, float(np.abs(values).max())))
    return largest
