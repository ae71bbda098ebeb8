"""Convolution of one channel with its backward pass."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..parameter import Parameter


class Conv1D:
    """[length] -> [positions, filters]: out[t] = weight @ x[t*stride : t*stride + K] + bias.

    Args:
        f: the format of the numbers.
        name: of the parameters.
        weight: words [filters, K].
        bias: words [filters].
        stride: of the windows.
    """

    def __init__(self, f, name: str, weight: np.ndarray, bias: np.ndarray, stride: int):
        self.f = f
        self.stride = stride
        self.weight = Parameter(f"{name}.weight", weight)
        self.bias = Parameter(f"{name}.bias", bias)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.x = x.ravel()
        kernel_size = self.weight.value.shape[1]
        self._windows = sliding_window_view(self.x, kernel_size)[:: self.stride]
        bias = np.broadcast_to(self.bias.value, (len(self._windows), len(self.bias.value)))
        return self.f.product(self._windows, self.weight.value, bias)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        f, s = self.f, self.stride
        n = len(self._windows)
        grad = grad.reshape(n, -1)
        self.weight.grad = f.product(grad.T, self._windows.T, self.weight.grad)
        self.bias.grad = f.column_sums(grad, self.bias.grad)
        dx = np.zeros_like(self.x)
        for k, column in enumerate(self.weight.value.T):
            part = slice(k, k + (n - 1) * s + 1, s)
            dx[part] = f.product(grad, column[None], dx[part, None])[:, 0]
        return dx

    def collect_params(self) -> list[Parameter]:
        return [self.weight, self.bias]
