"""Pieces of the float forms, which quantization is measured against."""

import numpy as np


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of the angle between two tensors of one size; 1.0 where either is all zeros."""
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norms) if norms else 1.0


def softmax(x: np.ndarray) -> np.ndarray:
    """Softmax over the last axis; zeros where all is -inf."""
    largest = x.max(axis=-1, keepdims=True)
    e = np.exp(x - np.where(largest > -np.inf, largest, 0))
    sums = e.sum(axis=-1, keepdims=True)
    result: np.ndarray = e / np.where(sums == 0, 1, sums)
    return result


def attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    scale: float,
    causal: bool = False,
    mask: np.ndarray | None = None,
) -> np.ndarray:
    """softmax(q @ k.T * scale) @ v; [..., S, D] each, computed in the inputs' precision.

    mask: true where a key is not seen, [K] or [..., S, K].
    """
    scores = q @ np.swapaxes(k, -1, -2) * scale
    if causal:
        scores = np.where(np.triu(np.ones(scores.shape[-2:], bool), 1), -np.inf, scores)
    if mask is not None:
        scores = np.where(mask, -np.inf, scores)
    result: np.ndarray = softmax(scores) @ v
    return result


def elu_plus_one(x: np.ndarray) -> np.ndarray:
    """x + 1, and e**x below 0."""
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))


def kernelized(
    phi_q: np.ndarray, phi_k: np.ndarray, v: np.ndarray, causal: bool, normalize: bool = True
) -> np.ndarray:
    """Attention with the weights phi_q @ phi_k.T: [..., S, M] each and v [..., S, D]."""
    weights = phi_q @ np.swapaxes(phi_k, -1, -2)
    if causal:
        weights = np.tril(weights)
    if normalize:
        sums = weights.sum(axis=-1, keepdims=True)
        weights = weights / np.where(sums > 0, sums, 1)
    result: np.ndarray = weights @ v
    return result
