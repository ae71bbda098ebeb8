"""Fully connected layer with its backward pass."""

import numpy as np

from ..parameter import Parameter


class Dense:
    """out = x @ weight.T + bias; x [rows, inputs], weight [outputs, inputs], bias [outputs].

    backward(grad [rows, outputs]) adds grad.T @ x to weight.grad and the sum of grad's rows to
    bias.grad, and returns grad @ weight.

    Args:
        f: the format of the numbers.
        name: of the parameters, `name`.weight and `name`.bias.
        weight, bias: words of the format.
    """

    def __init__(self, f, name: str, weight: np.ndarray, bias: np.ndarray):
        self.f = f
        self.weight = Parameter(f"{name}.weight", weight)
        self.bias = Parameter(f"{name}.bias", bias)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.x = x.reshape(-1, self.weight.value.shape[1])
        bias = np.broadcast_to(self.bias.value, (len(self.x), len(self.bias.value)))
        self.out = self.f.product(self.x, self.weight.value, bias)
        return self.out

    def backward(self, grad: np.ndarray) -> np.ndarray:
        grad = grad.reshape(self.out.shape)
        self.weight.grad = self.f.product(grad.T, self.x.T, self.weight.grad)
        self.bias.grad = self.f.column_sums(grad, self.bias.grad)
        return self.f.product(grad, self.weight.value.T)

    def collect_params(self) -> list[Parameter]:
        return [self.weight, self.bias]
