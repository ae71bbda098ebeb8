"""The same layers in floats: what quantisation is measured against."""

import numpy as np


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


def run(config: dict, tensors: dict[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    """Every layer's output of a float model, under the names of the int8 model's outputs.

    Args:
        config: of the model file.
        tensors: float, `layer.weight` [outputs, inputs] and `layer.bias` [outputs].
        x: float input.
    """

    def dense(name: str, x: np.ndarray) -> np.ndarray:
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    outputs: dict[str, np.ndarray] = {}
    for entry in config["layers"]:
        name = entry["name"]
        if entry["type"] == "dense":
            x = dense(name, x.reshape(entry.get("rows", 1), entry["in_features"]))
            x = x[0] if len(x) == 1 else x
        elif entry["type"] == "relu":
            x = np.maximum(x, 0)
        elif entry["type"] == "reshape":
            continue
        elif entry["type"] == "attention":
            x = x.reshape(entry["seq_len"], entry["embed_dim"])
            seq_len, embed_dim = x.shape
            head_dim = embed_dim // entry["num_heads"]
            shape = (seq_len, entry["num_heads"], head_dim)
            for part in ("q", "k", "v"):
                outputs[f"{name}.{part}"] = (
                    dense(f"{name}.{part}", x).reshape(shape).transpose(1, 0, 2)
                )
            q, k, v = (outputs[f"{name}.{part}"] for part in ("q", "k", "v"))
            heads = attention(q, k, v, head_dim**-0.5, entry["causal"])
            outputs[f"{name}.heads"] = heads
            x = dense(f"{name}.out", heads.transpose(1, 0, 2).reshape(seq_len, embed_dim))
        elif entry["type"] == "mean_pool":
            x = x.reshape(entry["seq_len"], entry["embed_dim"]).mean(axis=0)
        outputs[name] = x
    return outputs
