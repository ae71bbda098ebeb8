"""Weights of int8 in pairs of rows, the order in which a file has those of int16 products.

int8 [rows / 2, inputs, 2]: a weight of the even row plus 128, so that all are from 0 on, and one of
the odd row. As a halfword it is 256 times the odd one, and the even one plus 128: a product with
that is one with both rows.
"""

import numpy as np


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
