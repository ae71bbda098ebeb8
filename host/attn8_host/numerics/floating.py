"""The same cores and layers in floats: what quantisation is measured against."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from .. import masks
from ..modelfile import core_parameters


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of the angle between two tensors of one size; 1.0 where either is all zeros."""
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norms) if norms else 1.0


def softmax(x: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


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
    return softmax(scores) @ v


def exact(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    causal: bool,
    mask: np.ndarray | None = None,
    **options: object,
) -> np.ndarray:
    """Softmax attention, whose result no option but `mask` changes."""
    return attention(q, k, v, q.shape[-1] ** -0.5, causal, mask)


def sliding(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool, window: int, **options: object
) -> np.ndarray:
    """Softmax attention to the last `window` tokens."""
    at, to = np.arange(q.shape[-2])[:, None], np.arange(q.shape[-2])
    return exact(q, k, v, causal, to <= at - window)


def sparse(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    causal: bool,
    mask: Sequence | np.ndarray,
    **options: object,
) -> np.ndarray:
    """Softmax attention over the pairs that a mask shows; a row without any gives zeros.

    mask: its description (see masks.build), or the bits of each head's mask.
    """
    seq_len = q.shape[-2]
    if isinstance(mask, np.ndarray):
        seen = np.stack([masks.Mask.from_bits(seq_len, bits).dense for bits in mask])
    else:
        seen = masks.build(seq_len, *mask).dense
    if causal:
        seen = np.tril(seen)
    some = seen.any(axis=-1, keepdims=True)
    return np.where(some, exact(q, k, v, False, ~seen & some), 0)


def linear(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    causal: bool,
    steps: Sequence[float],
    phi: str = "relu+1",
    normalise: bool = True,
) -> np.ndarray:
    """phi(q) @ (phi(k).T @ v), over phi(q) @ sum(phi(k)) where normalised.

    phi: "relu"; "relu+1", one step of int8; or "elu+1". A row without any weight gives zeros.
    """

    def features(x: np.ndarray, step: float) -> np.ndarray:
        if phi == "elu+1":
            return elu_plus_one(x)
        return np.maximum(x, 0) + (step if phi == "relu+1" else 0)

    return kernelized(features(q, steps[0]), features(k, steps[1]), v, causal, normalise)


def elu_plus_one(x: np.ndarray) -> np.ndarray:
    """x + 1, and e**x below 0."""
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))


def kernelized(
    phi_q: np.ndarray, phi_k: np.ndarray, v: np.ndarray, causal: bool, normalise: bool = True
) -> np.ndarray:
    """Attention with the weights phi_q @ phi_k.T: [..., S, M] each and v [..., S, D]."""
    weights = phi_q @ np.swapaxes(phi_k, -1, -2)
    if causal:
        weights = np.tril(weights)
    if normalise:
        sums = weights.sum(axis=-1, keepdims=True)
        weights = weights / np.where(sums > 0, sums, 1)
    return weights @ v


def performer(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    causal: bool,
    features: np.ndarray,
    **options: object,
) -> np.ndarray:
    """FAVOR+ attention with features [num_heads, M, D]."""
    q, k = q * q.shape[-1] ** -0.25, k * k.shape[-1] ** -0.25
    logs_q = q @ np.swapaxes(features, -1, -2)
    logs_k = k @ np.swapaxes(features, -1, -2) - (k**2).sum(axis=-1, keepdims=True) / 2
    # What is taken off a feature of the keys is given to that of the queries: exp cannot overflow
    top = logs_k.max(axis=-2, keepdims=True)
    logs_q = logs_q + top
    phi_q = np.exp(logs_q - logs_q.max(axis=-1, keepdims=True))
    return kernelized(phi_q, np.exp(logs_k - top), v, causal)


def local_global(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    causal: bool,
    gate: np.ndarray,
    window: int,
    global_indices: Sequence[int],
    **options: object,
) -> np.ndarray:
    """sigmoid(gate) * local + (1 - sigmoid(gate)) * distant, a softmax each.

    gate: [num_heads, D]. A row that sees no global token has a distant part of 0.
    """
    at, to = np.arange(q.shape[-2])[:, None], np.arange(k.shape[-2])[None, :]
    scores = q @ np.swapaxes(k, -1, -2) * q.shape[-1] ** -0.5

    def attend(seen: np.ndarray) -> np.ndarray:
        seen = seen & (to <= at) if causal else seen
        visible = np.where(seen, scores, -np.inf)
        largest = visible.max(axis=-1, keepdims=True)
        weights = np.exp(visible - np.where(np.isfinite(largest), largest, 0))
        return kernelized(weights, np.eye(len(to[0])), v, False)

    local = attend(abs(at - to) <= window)
    distant = attend(np.isin(to, list(global_indices)) & (at >= 0))
    share = 1 / (1 + np.exp(-gate))[..., None, :]
    return share * local + (1 - share) * distant


def micro(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    causal: bool,
    steps: Sequence[float],
) -> np.ndarray:
    """The original ESP32 attention without its truncations; it sees q and k in steps of int8."""
    head_dim = q.shape[-1]
    shift = 3 if head_dim >= 32 else 2 if head_dim >= 16 else 1
    scores = (q / steps[0]) @ np.swapaxes(k / steps[1], -1, -2) / 2**shift
    if causal:
        scores = np.where(np.triu(np.ones(scores.shape[-2:], bool), 1), -(2.0**30), scores)
    x = scores - scores.max(axis=-1, keepdims=True)
    weights = np.maximum(256 + np.maximum(x, -512) / 2, 1)
    return weights / weights.sum(axis=-1, keepdims=True) @ v


# form(q, k, v, causal=, steps=, **options and parameters of the core), by the name of the core.
# q, k, v and the result are real, [num_heads, seq_len, head_dim]; parameters are real and
# [num_heads, ...]; steps are the scales of q, k and v: what one step of int8 stands for.
FORMS: dict[str, Callable[..., np.ndarray]] = {
    "decode": exact,
    "exact": exact,
    "flash": exact,
    "linear": linear,
    "local_global": local_global,
    "micro": micro,
    "performer": performer,
    "sliding": sliding,
    "sparse": sparse,
}


def run(config: dict, tensors: dict[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    """Every layer's output of a float model, under the names of the int8 model's outputs.

    Args:
        config: of the model file.
        tensors: float, `layer.weight` [outputs, inputs] and `layer.bias` [outputs].
        x: float input.

    Raises:
        ValueError: a layer does not fit what the one before gives, or there is no such core.
    """
    outputs: dict[str, np.ndarray] = {}
    for entry in config["layers"]:
        with named(entry["name"]):
            x = _layer(entry, tensors, x, outputs)
        if entry["type"] != "reshape":
            outputs[entry["name"]] = x
    return outputs


@contextmanager
def named(layer: str) -> Iterator[None]:
    """Errors begin with the name of the layer that they are about."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ValueError(f"{layer}: {error}") from None


def _layer(
    entry: dict,
    tensors: dict[str, np.ndarray],
    x: np.ndarray,
    outputs: dict[str, np.ndarray],
) -> np.ndarray:
    """One layer's output; attention's parts go to `outputs`."""
    name = entry["name"]

    def dense(name: str, x: np.ndarray) -> np.ndarray:
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    if entry["type"] == "dense":
        x = dense(name, x.reshape(entry.get("rows", 1), entry["in_features"]))
        return x[0] if len(x) == 1 else x
    if entry["type"] == "relu":
        return np.maximum(x, 0)
    if entry["type"] == "mean_pool":
        return x.reshape(entry["seq_len"], entry["embed_dim"]).mean(axis=0)
    if entry["type"] != "attention":
        return x
    if entry["core"] not in FORMS:
        raise ValueError(f"core: expected one of {', '.join(FORMS)}")
    x = x.reshape(entry["seq_len"], entry["embed_dim"])
    seq_len, embed_dim = x.shape
    head_dim = embed_dim // entry["num_heads"]
    shape = (seq_len, entry["num_heads"], head_dim)
    for part in ("q", "k", "v"):
        outputs[f"{name}.{part}"] = dense(f"{name}.{part}", x).reshape(shape).transpose(1, 0, 2)
    q, k, v = (outputs[f"{name}.{part}"] for part in ("q", "k", "v"))
    steps = [max(float(np.abs(x).max()), 1e-30) / 127 for x in (q, k, v)]
    heads = FORMS[entry["core"]](
        q, k, v, causal=entry["causal"], steps=steps, **entry.get("options", {}),
        **core_parameters(tensors, name),
    )  # fmt: skip
    outputs[f"{name}.heads"] = heads
    return dense(f"{name}.out", heads.transpose(1, 0, 2).reshape(seq_len, embed_dim))
