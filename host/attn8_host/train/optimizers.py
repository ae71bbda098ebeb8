"""SGD with momentum or without any memory, and Adam."""

import math
from typing import Any

import numpy as np

from ..numerics.parameter import Parameter
from .arithmetic import ONE, Ratio, ratio


def _pair(x: float | Ratio) -> Ratio:
    return ratio(x) if isinstance(x, float) else (x[0], x[1])


class SGD:
    """velocity = momentum*velocity + grad; value -= lr*velocity.

    Args:
        f: the format of the numbers.
        params: what it trains.
        lr, momentum: numbers, or (mult, shift) pairs.
    """

    def __init__(self, f: Any, params: list[Parameter], lr: float | Ratio,
                 momentum: float | Ratio | None = None) -> None:
        self.f = f
        self.params = params
        self.lr = _pair(lr)
        self.momentum = _pair(momentum) if momentum else None
        self.velocities = [np.zeros_like(p.value) for p in params]

    def step(self, factor: int = ONE) -> None:
        """Trains with `factor`/ONE of the learning rate and clears the gradients."""
        for i, p in enumerate(self.params):
            self.velocities[i] = self.f.sgd(p, self.velocities[i], self.momentum, self.lr, factor)
            p.grad = np.zeros_like(p.grad)


class Direct:
    """SGD without momentum that trains a parameter as soon as a backward pass has its gradient.

    A batch is one sample, and no gradient is kept. One whose Euclidean norm is over `max_norm` is
    scaled, for each parameter alone (as `clipnorm` of Keras does), as all are never known together.
    """

    def __init__(self, f: Any, lr: float | Ratio, max_norm: float | None = None) -> None:
        self.f = f
        self.lr = _pair(lr)
        self.max_norm = max_norm

    def train(self, p: Parameter, factor: int = ONE) -> None:
        """value -= lr*grad with `factor`/ONE of the learning rate; clears the gradient."""
        if self.max_norm is not None:
            self.f.clip([p], self.max_norm)
        self.f.sgd(p, None, None, self.lr, factor)
        p.grad = np.zeros_like(p.grad)


class Adam:
    """value -= lr * c * m/(sqrt(v) + eps), m and v running means of grad and grad**2.

    c = sqrt(1 - beta2**t)/(1 - beta1**t) of step t (D. P. Kingma and J. Ba, "Adam: A Method for
    Stochastic Optimization", 2015, end of section 2), in Q15 for every format.
    """

    def __init__(self, f: Any, params: list[Parameter], lr: float | Ratio,
                 beta1: float | Ratio = 0.9, beta2: float | Ratio = 0.999,
                 eps: float | Ratio = 0.001) -> None:
        self.f = f
        self.params = params
        self.lr = _pair(lr)
        self._betas = _pair(beta1), _pair(beta2)
        self._constants = f.adam_constants(*self._betas, self.lr, _pair(eps))
        self._powers = [ONE << 14, ONE << 14]
        self.first = [np.zeros_like(p.value) for p in params]
        self.second = [np.zeros_like(p.value) for p in params]

    def _correction(self) -> int:
        self._powers = [(power * mult) >> shift
                        for power, (mult, shift) in zip(self._powers, self._betas, strict=True)]
        top = min(math.isqrt(((1 << 29) - self._powers[1]) << 1), ONE - 1)
        return min(ONE, (top << 15) // (ONE - (self._powers[0] >> 14)))

    def step(self, factor: int = ONE) -> None:
        """Trains with `factor`/ONE of the learning rate and clears the gradients."""
        factor = (factor * self._correction() + (ONE >> 1)) >> 15
        for i, p in enumerate(self.params):
            self.first[i], self.second[i] = self.f.adam(
                p, self.first[i], self.second[i], self._constants, self.lr, factor
            )
            p.grad = np.zeros_like(p.grad)
