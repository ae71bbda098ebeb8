"""Which layers heed the length of an input, where the original takes a mask or lengths.

The graph is that of a mask that shows all tokens: it is then a constant, and vanishes. What it does
is found by trying: layers that can heed lengths do, so that the float form with a length computes
what the original does with the mask of that length.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np

from ..errors import ModelError
from ..lengths import Lengths
from .check import MOST, Outputs, difference, inputs_like

Masked = Callable[[np.ndarray, int], list[np.ndarray]]
KINDS = ("attention", "cross_attention", "mean_pool", "select")  # that can heed lengths


def _can(config: dict[str, Any], at: int) -> bool:
    """Whether a length comes to a layer, and it takes one."""
    entry = config["layers"][at]
    if entry["type"] not in KINDS or entry.get("index", -1) != -1:
        return False
    entries = list(config["layers"])
    entries[at] = {**entry, "lengths": True}
    try:
        Lengths({**config, "layers": entries})
    except ModelError:
        return False
    return True


def _choices(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The config with lengths in all layers that can heed them, then in those of some types."""
    config = {**config, "input": {**config["input"], "lengths": True}}
    able = [_can(config, i) for i in range(len(config["layers"]))]
    found = {entry["type"] for entry, can in zip(config["layers"], able, strict=True) if can}
    for chosen in product((True, False), repeat=len(found)):
        heeding = {kind for kind, heeds in zip(sorted(found), chosen, strict=True) if heeds}
        if heeding:
            yield {**config, "layers": [
                {**entry, "lengths": True} if can and entry["type"] in heeding else entry
                for entry, can in zip(config["layers"], able, strict=True)]}


def with_lengths(
    config: dict[str, Any], tensors: dict[str, np.ndarray], masked: Masked, example: np.ndarray,
    outputs: Outputs,
) -> dict[str, Any]:
    """The config whose float form computes what the original does at every length.

    Args:
        config, tensors: of the float model without lengths.
        masked: from an input with its batch and a length to the original's outputs.
        example: an input with its batch.
        outputs: what gives the same.

    Raises:
        ModelError: there is none.
    """
    tokens = config["input"]["shape"][0]
    samples = list(inputs_like(config, example))
    lengths = sorted({1, 2, tokens // 2, tokens - 1, tokens} & set(range(1, tokens + 1)))
    cases = [(x, n, masked(x, n)) for x, n in zip(samples * len(lengths), lengths, strict=False)]
    for choice in _choices(config):
        if max(difference(choice, tensors, x, wanted, outputs, n)
               for x, n, wanted in cases) <= MOST:
            return choice
    raise ModelError("the mask: what it does is not that attention, a mean or the last token leave "
                     "out the tokens behind a length; see docs/import.md")
