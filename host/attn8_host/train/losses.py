"""Losses: each gives its value and leaves its gradient in `grad`."""

from typing import Any

import numpy as np


class CrossEntropy:
    """log(sum(exp(logits))) - logits[label]; the gradient is softmax(logits) - onehot(label)."""

    def __init__(self, f: Any) -> None:
        self.f = f
        self._scale = f.softmax_scale(1, 1)

    def __call__(self, logits: np.ndarray, label: int) -> Any:
        """The loss of one sample, a number of the format."""
        weights, total = self.f.softmax(np.atleast_2d(logits), self._scale)
        self.grad = weights[0]
        logits = logits.ravel()
        self.grad[label] -= self.f.array(1.0)
        return self.f.saturate(self.f.log(total) + logits.max() - logits[label])


class TokenCrossEntropy:
    """Cross entropy of each row of logits, [tokens * classes], a label each; a row with a label
    below 0 does not count. The loss is the mean of those that do, and the gradients are those of
    each alone.

    Args:
        tokens: how many rows.
    """

    def __init__(self, f: Any, tokens: int):
        self.tokens = tokens
        self._one = CrossEntropy(f)

    def __call__(self, logits: np.ndarray, labels: np.ndarray) -> Any:
        """The loss of one sample, a number of the format."""
        rows = logits.reshape(self.tokens, -1)
        grad, losses = np.zeros_like(rows), []
        for i in np.flatnonzero(np.asarray(labels) >= 0):
            losses.append(self._one(rows[i], int(labels[i])))
            grad[i] = self._one.grad
        self.grad = grad.ravel()
        if not losses:
            return 0
        total = sum(losses)
        return total / len(losses) if rows.dtype.kind == "f" else total // len(losses)


def token_labels(
    labels: np.ndarray | None, x: np.ndarray, tokens: int, most: int | None
) -> np.ndarray:
    """int64 [samples, tokens]: the label of each token, -1 of those that do not count.

    Args:
        labels: [samples, tokens], below 0 where one does not count; None of a text: of each token
            it is the next id.
        x: [samples, values], behind which comes a length where inputs have lengths.
        most: how many tokens an input has at most, where inputs have lengths.
    """
    left = x[:, -1:] if most == tokens else np.full((len(x), 1), tokens)
    if labels is None:
        labels = np.column_stack([x[:, 1:tokens], np.full(len(x), -1)])
        left = left - 1
    counts = np.arange(tokens) < left
    return np.where(counts, np.maximum(labels.astype(np.int64), -1), -1)


class MSE:
    """mean((y - target)**2); the gradient is 2*(y - target)/size."""

    def __init__(self, f: Any) -> None:
        self.f = f

    def __call__(self, y: np.ndarray, target: np.ndarray) -> Any:
        """The loss of one sample, a number of the format."""
        f = self.f
        factor = f.factor(1, y.size)
        difference = f.subtract(y.ravel(), target.ravel())[None]
        value = f.scale(f.product(difference, difference), factor)
        share = f.scale(difference[0], factor)
        self.grad = f.add(share, share)
        return value[0, 0]
