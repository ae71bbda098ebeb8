"""Convolution of one channel, in int8 and in the other formats."""

from dataclasses import dataclass

import numpy as np

from ..numerics.formats import Format
from .dense import Dense


def windows(x: np.ndarray, kernel_size: int, stride: int) -> np.ndarray:
    """[length] -> [positions, kernel_size]: what each position sees."""
    return np.lib.stride_tricks.sliding_window_view(x, kernel_size)[::stride]


@dataclass
class Conv1D:
    """int8 [length] -> [filters, positions], or [positions, filters] where time_major.

    dense holds the parameters, weight int8 [filters, kernel_size].
    """

    dense: Dense
    stride: int
    time_major: bool = False

    def __call__(self, x: np.ndarray) -> np.ndarray:
        out = self.dense(windows(x, self.dense.weight.shape[1], self.stride))
        return out if self.time_major else out.T


@dataclass
class QConv1D:
    """The same in fixed point or floats; weights [filters, kernel_size], biases [filters]."""

    weights: np.ndarray
    biases: np.ndarray
    stride: int
    format: Format
    time_major: bool = False

    def __call__(self, x: np.ndarray) -> np.ndarray:
        seen = windows(x, self.weights.shape[1], self.stride)
        out = self.format.matmul(seen, self.weights.T, self.biases)
        return out if self.time_major else out.T
