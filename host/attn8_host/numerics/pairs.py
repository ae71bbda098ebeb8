"""Weights of int8 in pairs of rows, the order in which those of int16 products lie in a file whose
layer says "paired": true.

int8 [rows / 2, inputs, 2]: a weight of the even row plus 128, so that all are from 0 on, and one of
the odd row. As a halfword it is 256 times the odd one, and the even one plus 128: a product with
that is one with both rows.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..errors import ModelError


def fits(weight: np.ndarray) -> bool:
    """Whether a matrix int8 [rows, inputs] has such an order: an even number of rows, of whole
    fours of inputs, two at least."""
    return (weight.ndim == 2 and len(weight) % 2 == 0 and weight.shape[1] % 4 == 0
            and weight.shape[1] >= 8)


def paired(weight: np.ndarray) -> np.ndarray:
    """int8 [rows, inputs] -> int8 [rows / 2, inputs, 2]."""
    pairs = np.stack([weight[::2] ^ np.int8(-128), weight[1::2]], axis=-1)
    return np.ascontiguousarray(pairs)


def unpaired(pairs: np.ndarray) -> np.ndarray:
    """What `paired` was given."""
    rows = np.stack([pairs[..., 0] ^ np.int8(-128), pairs[..., 1]], axis=1)
    return rows.reshape(-1, pairs.shape[1])


def names(entries: Iterable[Any], tensors: Mapping[str, np.ndarray]) -> list[str]:
    """The weights of a model file that are in pairs there.

    Args:
        entries: of its config's layers.
        tensors: its own.
    """
    layers = tuple(f"{entry['name']}." for entry in entries
                   if isinstance(entry, dict) and entry.get("paired") is True)
    return [name for name in tensors if layers and name.startswith(layers)
            and name.endswith(".weight")]


def in_rows(entries: Iterable[Any], tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A file's tensors, those in pairs as rows.

    Raises:
        ModelError: one is not in pairs.
    """
    found = dict(tensors)
    for name in names(entries, tensors):
        pairs = tensors[name]
        if not (pairs.dtype == np.int8 and pairs.ndim == 3 and pairs.shape[2] == 2):
            raise ModelError(f"{name}: expected int8 in pairs of rows, [.., .., 2], got "
                             f"{pairs.dtype} {list(pairs.shape)}")
        found[name] = unpaired(pairs)
        require(name, found[name])
    return found


def in_pairs(entries: Iterable[Any], tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The reverse of `in_rows`."""
    found = dict(tensors)
    for name in names(entries, tensors):
        require(name, tensors[name])
        found[name] = paired(tensors[name])
    return found


def require(name: str, weight: np.ndarray) -> None:
    """Raises ModelError where a matrix has no such order."""
    if not (weight.dtype == np.int8 and fits(weight)):
        raise ModelError(f"{name}: in pairs are int8 of an even number of rows, and inputs in "
                         f"fours, 8 at least, got {weight.dtype} {list(weight.shape)}")
