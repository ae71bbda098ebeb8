"""A trained tensor."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Parameter:
    """Its value and the gradient that backward passes add to and optimizers clear."""

    name: str
    value: np.ndarray
    grad: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.grad is None:
            self.grad = np.zeros_like(self.value)
