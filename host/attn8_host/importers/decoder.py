"""Decoders as float models: entries and tensors of the families that checkpoints come in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cores.exact import MAX_KEYS
from ..errors import ModelError
from ..tokenizer import KEYS

Parts = Mapping[str, np.ndarray]


@dataclass
class Sizes:
    """What a decoder is made of.

    Attributes:
        context: tokens that it has room for.
        hidden_dim: values between the two products of a feed-forward part.
        eps: of its norms.
    """

    dim: int
    hidden_dim: int
    layers: int
    heads: int
    kv_heads: int
    vocab_size: int
    context: int
    eps: float


def room(most: int, context: int | None) -> int:
    """Tokens that a model is to have room for: as many as its checkpoint has, and attention takes.

    Raises:
        ModelError: more are asked for.
    """
    most = min(most, MAX_KEYS)
    if context is not None and not 1 <= context <= most:
        raise ModelError(f"context: expected 1 to {most}, got {context}")
    return context or most


def parameters(tensors: Parts) -> int:
    """Of a float model, without its tokenizer."""
    return sum(values.size for key, values in tensors.items() if key not in KEYS)


def has_tokenizer(tensors: Parts) -> bool:
    """Whether a float model comes with one."""
    return not KEYS.isdisjoint(tensors)


class Decoder:
    """A float model that grows layer by layer."""

    def __init__(self, name: str, sizes: Sizes):
        self.name, self.sizes = name, sizes
        self.layers: list[dict[str, Any]] = []
        self.tensors: dict[str, np.ndarray] = {}

    def add(self, kind: str, name: str, parts: Parts | None = None, **fields: Any) -> str:
        """A layer with its tensors; the layer's name."""
        self.layers.append({"type": kind, "name": name, **fields})
        self.tensors |= {f"{name}.{part}": values for part, values in (parts or {}).items()}
        return name

    def norm(self, kind: str, name: str, parts: Parts, **fields: Any) -> str:
        return self.add(kind, name, parts, features=self.sizes.dim, eps=self.sizes.eps, **fields)

    def dense(self, name: str, parts: Parts, **fields: Any) -> str:
        """parts: weight [outputs, inputs], and a bias [outputs] if there is one."""
        outputs, inputs = parts["weight"].shape
        return self.add("dense", name, parts, activation_bits=16, rows=self.sizes.context,
                        in_features=inputs, out_features=outputs,
                        **({} if "bias" in parts else {"bias": False}), **fields)

    def attention(self, name: str, parts: Parts, **fields: Any) -> str:
        """parts: weights, and biases if there are any, of q, k, v and out; weights of q_norm and
        k_norm if heads are normalized."""
        s, kind = self.sizes, "grouped_attention"
        if "q_norm.weight" in parts:
            kind, fields = "normed_attention", {**fields, "eps": s.eps}
        return self.add(kind, name, parts, seq_len=s.context, embed_dim=s.dim,
                        num_heads=s.heads, num_kv_heads=s.kv_heads, **fields,
                        **({} if "q.bias" in parts else {"bias": False}))

    def words(self, weight: np.ndarray, tied: bool) -> str:
        """The embedding; tied: the head takes the same weight."""
        return self.add("embedding", "words", {"weight": weight}, seq_len=self.sizes.context,
                        vocab_size=self.sizes.vocab_size, embed_dim=self.sizes.dim,
                        **({"tied": True} if tied else {}))

    def head(self, weight: np.ndarray | None) -> None:
        """The last layer; without a weight, the embedding's."""
        s = self.sizes
        if weight is None:
            self.add("tied_head", "head", rows=s.context, in_features=s.dim,
                     out_features=s.vocab_size, embedding="words", output="int16")
        else:
            self.dense("head", {"weight": weight}, output="int16")

    def model(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The config and the tensors."""
        return {"format": "attn8", "version": 1, "name": self.name,
                "input": {"shape": [self.sizes.context], "format": "tokens"},
                "layers": self.layers}, self.tensors


def llama(
    name: str, sizes: Sizes, found: Mapping[str, Any], rotary_base: float,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Llama: RMSNorm, rotary positions over adjacent values, SwiGLU (Touvron et al., "LLaMA: Open
    and Efficient Foundation Language Models", 2023).

    Args:
        found: weights [outputs, inputs], each of all layers: words, attention_norm, q, k, v, out,
            ffn_norm, w1, w2, w3, with "q.bias" and the like where they have some; q_norm and
            k_norm, where heads are normalized; norm, and head, unless the embedding is that.
    """
    def parts(key: str, i: int) -> dict[str, np.ndarray]:
        bias = {"bias": found[f"{key}.bias"][i]} if f"{key}.bias" in found else {}
        return {"weight": found[key][i], **bias}

    made, head = Decoder(name, sizes), found.get("head")
    x = made.words(found["words"], head is None)
    for i in range(sizes.layers):
        prefix = f"layers.{i}."
        made.norm("rms_norm", prefix + "norm1", {"weight": found["attention_norm"][i]}, inputs=[x])
        attention = made.attention(
            prefix + "attention",
            {f"{part}.{key}": values for part in ("q", "k", "v", "out")
             for key, values in parts(part, i).items()}
            | {f"{part}.weight": found[part][i] for part in ("q_norm", "k_norm") if part in found},
            rotary_base=rotary_base)
        x = made.add("add", prefix + "add1", inputs=[x, attention])
        normed = made.norm("rms_norm", prefix + "norm2", {"weight": found["ffn_norm"][i]})
        made.dense(prefix + "w1", parts("w1", i))
        gate = made.add("silu", prefix + "silu", activation_bits=16)
        w3 = made.dense(prefix + "w3", parts("w3", i), inputs=[normed])
        made.add("multiply", prefix + "gated", activation_bits=16, inputs=[gate, w3])
        w2 = made.dense(prefix + "w2", parts("w2", i))
        x = made.add("add", prefix + "add2", inputs=[x, w2])
    made.norm("rms_norm", "norm", {"weight": found["norm"]})
    made.head(head)
    return made.model()


def gpt2(
    name: str, sizes: Sizes, found: Mapping[str, Any], activation: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """GPT-2: learned positions, LayerNorm in front, biases (Radford et al., "Language Models are
    Unsupervised Multitask Learners", 2019).

    Args:
        found: words and positions; norm1, norm2, attention, up and down, for each layer its tensors
            by part, weights [outputs, inputs]; norm, and head, unless the embedding is that.
        activation: the entry of that between up and down, without a name.
    """
    made, head = Decoder(name, sizes), found.get("head")
    made.words(found["words"], head is None)
    x = made.add("position", "positions", {"weight": found["positions"]}, seq_len=sizes.context,
                 embed_dim=sizes.dim)
    for i in range(sizes.layers):
        prefix = f"layers.{i}."
        made.norm("layer_norm", prefix + "norm1", found["norm1"][i], inputs=[x])
        attention = made.attention(prefix + "attention", found["attention"][i])
        x = made.add("add", prefix + "add1", inputs=[x, attention])
        made.norm("layer_norm", prefix + "norm2", found["norm2"][i])
        made.dense(prefix + "up", found["up"][i])
        made.add(name=prefix + activation["type"], kind=activation["type"],
                 **{key: value for key, value in activation.items() if key != "type"})
        down = made.dense(prefix + "down", found["down"][i])
        x = made.add("add", prefix + "add2", inputs=[x, down])
    made.norm("layer_norm", "norm", found["norm"])
    made.head(head)
    return made.model()
