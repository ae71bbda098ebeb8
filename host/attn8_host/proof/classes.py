"""What a model says of inputs whose classes are known."""

from collections.abc import Iterable
from typing import Any

import numpy as np


class Classified:
    """How often each class was taken for which.

    Args:
        labels: whole numbers [samples] from 0.
        classes: how many there are.

    Attributes:
        confusion: int [classes, classes], inputs by (what they are, what the model says).
    """

    def __init__(self, labels: np.ndarray, classes: int):
        self.labels = labels
        self.confusion = np.zeros((classes, classes), np.int64)

    def count(self, outputs: Iterable[np.ndarray]) -> None:
        """Adds the last layer's outputs, one an input; the largest value's place is the class."""
        for label, output in zip(self.labels, outputs, strict=True):
            self.confusion[label, output.argmax()] += 1

    @property
    def accuracy(self) -> float:
        """The share of inputs that the model takes for what they are."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    def as_dict(self) -> dict[str, Any]:
        return {"accuracy": self.accuracy, "confusion": self.confusion.tolist()}
