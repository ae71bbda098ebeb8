"""Grouped attention whose queries and keys are normalized in each head before they turn.

Henry et al., "Query-Key Normalization for Transformers", 2020, with RMSNorm as Qwen3 has it.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..schema import OBJECT, SCALE, Tensor, check
from ..train.pointwise import Norm
from . import grouped_attention, layer_norm
from .base import INT8, INT16, Example, Fields, Signal, Tensors
from .dense import Dense, TrainableDense
from .grouped_attention import GroupedAttention, head_dim
from .layer_norm import (
    EPS,
    PAIR,
    LayerNorm,
    eps_pair,
    norm_constants,
    normalized,
    whole_bits,
)
from .quantizer import Quantizer

NORMS = {"q": "q_norm", "k": "k_norm"}  # by what they normalize
CONSTANTS = layer_norm.Type.integers


class NormedHeads:
    """int16 [tokens, inputs] -> [tokens, heads * head_dim]: a product, and an RMSNorm behind it.

    Attributes:
        most: the largest magnitude once it has turned.
    """

    def __init__(self, dense: Dense, norm: LayerNorm):
        self.most = dense.most
        dense.most = None  # 16 bits between the two
        self._dense, self._norm = dense, norm

    def __call__(self, x: np.ndarray) -> np.ndarray:
        found = self._dense(x)
        return self._norm(found.reshape(-1, len(self._norm.weight))).reshape(found.shape)


class TrainableNormedHeads(TrainableDense):
    """The same in training."""

    def __init__(self, dense: TrainableDense, norm: Norm):
        self.dense, self.norm = dense, norm
        self.weight = dense.weight

    def __call__(self, x: np.ndarray) -> np.ndarray:
        found = self.dense(x)
        return self.norm(found).reshape(found.shape)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        self.dense.asked = self.asked
        return self.dense.backward(self.norm.backward(grad).reshape(grad.shape))

    def collect_params(self) -> list[Any]:
        return self.dense.collect_params() + self.norm.collect_params()


class Type(grouped_attention.Type):
    """[seq_len, embed_dim] -> [seq_len, embed_dim]."""

    fields = {**grouped_attention.Type.fields, "rotary_base": SCALE, "eps": EPS}
    optional = {key: kind for key, kind in grouped_attention.Type.optional.items()
                if key != "rotary_base"}
    training_fields = {**grouped_attention.Type.training_fields, "eps": PAIR}
    integers = {**grouped_attention.Type.integers, **dict.fromkeys(NORMS.values(), OBJECT)}

    def require_integers(self, entry: Fields) -> None:
        super().require_integers(entry)
        for norm in NORMS.values():
            check(f"{entry['name']}.{norm}", entry[norm], CONSTANTS)

    def ranges(self, entry: Fields, given: Signal) -> dict[str, tuple[int, int]]:
        most = (1 << 30) - 1
        return {**super().ranges(entry, given),
                **{f"{norm}.bias": (-most, most) for norm in NORMS.values()}}

    def tensors(self, entry: Fields) -> dict[str, Tensor]:
        own = Tensor(np.int32, (head_dim(entry),))
        return {**super().tensors(entry), **{f"{norm}.{part}": own for norm in NORMS.values()
                                             for part in ("weight", "bias")}}

    def float_tensors(self, entry: Fields) -> dict[str, Tensor]:
        own = Tensor(float, (head_dim(entry),))
        return {**super().float_tensors(entry),
                **{f"{norm}.weight": own for norm in NORMS.values()}}

    def layer(self, entry: Fields, tensors: Tensors) -> GroupedAttention:
        layer = super().layer(entry, tensors)
        normed = {part: NormedHeads(layer.linears[part], LayerNorm(
            tensors[f"{norm}.weight"], tensors[f"{norm}.bias"], **entry[norm], format=INT16,
            centred=False)) for part, norm in NORMS.items()}
        layer.linears = {**layer.linears, **normed}  # type: ignore[dict-item]
        return layer

    def projected(self, entry: Fields, tensors: Tensors, x: np.ndarray) -> dict[str, np.ndarray]:
        found = super().projected(entry, tensors, x)
        for part, norm in NORMS.items():
            found[f"{part}_projected"] = found[part]
            found[part] = normalized(found[part], entry["eps"], False) * tensors[f"{norm}.weight"]
        return found

    def product(
        self, entry: Fields, quantizer: Quantizer, part: str, scales: dict[str, float]
    ) -> None:
        if part not in NORMS:
            super().product(entry, quantizer, part, scales)
            return
        name, norm, key = entry["name"], NORMS[part], f"{part}_projected"
        own = {part: 2 * quantizer.whole[f"{name}.{key}"] / 32767}  # twice what was measured
        super().product(entry, quantizer, part, own)
        scales[key] = own[part]
        weight = quantizer.tensors[f"{name}.{norm}.weight"]
        entry[norm], made = norm_constants(weight, None, entry["eps"], own[part], scales[part])
        quantizer.made.update({f"{name}.{norm}.{each}": values for each, values in made.items()})

    def peaks(self, floats: Tensors) -> dict[str, float]:
        found = super().peaks(floats)
        for part, norm in NORMS.items():
            weight = floats[f"{norm}.weight"]
            found[f"{part}_projected"] = found[part]
            found[part] = math.sqrt(len(weight)) * float(np.abs(weight).max())
        return found

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """With both caches."""
        for cache, heads, kv in ((INT8, 4, 2), (INT16, 2, 1)):
            yield self._example(rng, {
                "type": self.name, "name": "attn", "seq_len": 11, "embed_dim": 16,
                "num_heads": heads, "num_kv_heads": kv, "cache": cache, "rotary_base": 100.0,
                "eps": 1e-5})

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        found, floats = super().retrained(entry, tensors, before)
        assert found
        found["eps"] = eps_pair(entry["eps"])
        for part, norm in NORMS.items():  # the reverse of norm_constants
            weight, shift = tensors[f"{norm}.weight"].astype(np.float64), entry[norm]["shift"]
            places = 1 + whole_bits(len(weight), False)
            floats[f"{norm}.weight"] = weight * entry["scales"][part] / 2.0 ** (shift + places)
        return found, floats

    def initial(self, entry: Fields, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {**super().initial(entry, rng),
                **{f"{norm}.weight": np.ones(head_dim(entry)) for norm in NORMS.values()}}

    def training_linears(
        self, f: Any, entry: Fields, tensors: Tensors
    ) -> dict[str, TrainableDense]:
        found = super().training_linears(f, entry, tensors)
        for part, norm in NORMS.items():
            of = Norm(f, f"{entry['name']}.{norm}", tuple(entry["eps"]), tensors[f"{norm}.weight"])
            found[part] = TrainableNormedHeads(found[part], of)
        return found


TYPE = Type()
