"""ReLU with its backward pass."""

import numpy as np

from ..parameter import Parameter


class ReLU:
    """max(x, 0); the gradient passes where x > 0."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return np.maximum(x, 0)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        return np.where(self.x > 0, grad.reshape(self.x.shape), 0)

    def collect_params(self) -> list[Parameter]:
        return []
