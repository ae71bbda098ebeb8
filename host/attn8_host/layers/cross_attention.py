"""Multi-head attention to another sequence."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..cores.base import Core
from ..errors import ModelError
from ..numerics.scales import quantize
from ..schema import SIZE, Tensor
from . import dense
from .attention import Attention, integers
from .base import INPUT_SCALE, INT8, INT16, Example, Fields, Layer, Signal, Tensors


class Type(Attention):
    """[seq_len, embed_dim] and the memory [key_len, memory_dim] -> [seq_len, embed_dim]."""

    fields = {**Attention.fields, "key_len": SIZE, "memory_dim": SIZE}
    training_fields = {**Attention.training_fields, "key_len": SIZE, "memory_dim": SIZE}
    training_optional = {key: kind for key, kind in Attention.training_optional.items()
                         if key != "causal"}
    arity = 2
    heeds = 1
    input_formats = (INT8,)
    tokenwise = False
    token_field = "key_len"
    token_parts = ()

    def check(self, entry: Fields) -> None:
        super().check(entry)
        name, core = entry["name"], self._core(entry)
        self._require_crossing(entry, core)
        if entry["causal"]:
            raise ModelError(f"{name}.causal: expected false, as there is no order between two "
                             "sequences")
        if entry["key_len"] > core.max_seq_len:
            raise ModelError(f"{name}.key_len: expected 1 to {core.max_seq_len}, got "
                             f"{entry['key_len']}")

    def _require_crossing(self, entry: Fields, core: Core) -> None:
        if not core.crosses:
            raise ModelError(f"{entry['name']}.core: {entry['core']} takes keys and values of its "
                             "own sequence only; take exact")

    def check_training(self, entry: Fields) -> None:
        super().check_training(entry)
        self._require_crossing(entry, self._training_core(entry))

    def wants(self, entry: Fields, bits: int) -> str:
        if super().wants(entry, bits) == INT16:
            raise ModelError(f"{entry['name']}.activation_bits: a cross_attention computes in int8 "
                             'only; give it "activation_bits": 8')
        return INT8

    def memory_dim(self, entry: Fields) -> int:
        return int(entry["memory_dim"])

    def tensors(self, entry: Fields) -> dict[str, Tensor]:
        found = super().tensors(entry)
        del found["memory"], found["key_padding_mask"]
        return found

    def connect(self, entry: Fields, given: Sequence[Signal]) -> Signal:
        self._check_inputs(entry["name"], len(given))
        size = entry["key_len"] * entry["memory_dim"]
        if given[1].size != size:
            raise ModelError(f"{entry['name']}: takes a memory of {size} values, the layer before "
                             f"gives {given[1].size}")
        own = Signal(given[1].format, entry["seq_len"] * entry["embed_dim"])
        return super().connect(entry, [given[0], own])

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        layer = self._layer(entry, tensors, need_weights)

        def run(
            x: np.ndarray, memory: np.ndarray, length: int | None = None
        ) -> dict[str, np.ndarray]:
            padding = None if length is None else np.arange(entry["key_len"]) >= length
            out = layer(x, memory.reshape(entry["key_len"], entry["memory_dim"]), padding)
            return {**layer.outputs, "": out}

        return run

    def floating(
        self, entry: Fields, tensors: Tensors, *x: np.ndarray, length: int | None = None
    ) -> dict[str, np.ndarray]:
        memory = x[1].reshape(entry["key_len"], entry["memory_dim"])
        return super().floating(entry, tensors, x[0], memory, length=length)

    def fold(
        self, entry: Fields, tensors: Tensors, scales: np.ndarray, offsets: np.ndarray
    ) -> dict[str, np.ndarray] | None:
        """Of the memory."""
        folded: dict[str, np.ndarray] | None = dict(tensors)
        for part in ("k", "v"):
            folded = folded and dense.fold(
                f"{part}.", folded, *(each.reshape(entry["key_len"], entry["memory_dim"])
                                      for each in (scales, offsets)))
        return folded

    def stepping(self, entry: Fields, tensors: Tensors) -> Layer:
        raise ModelError(f"{entry['name']}: there are no steps with a cross_attention")

    def keys(self, entry: Fields, tensors: Tensors) -> int:
        return int(entry["key_len"])

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """Queries and keys of one width, of widths of their own, as Keras has them, and a memory
        with a length."""
        for variant, n, keys, e, memory, heads, key_dim, value_dim in (
            ("one width", 6, 4, 8, 8, 2, 4, 4), ("narrow", 8, 4, 16, 16, 2, 2, 2),
            ("widths", 9, 7, 11, 5, 3, 6, 4), ("wide values", 5, 12, 6, 10, 2, 3, 9),
            ("lengths", 3, 8, 10, 10, 2, 5, 5),
        ):
            entry = {"type": "cross_attention", "name": "attn", "seq_len": n, "key_len": keys,
                     "embed_dim": e, "memory_dim": memory, "num_heads": heads, "key_dim": key_dim,
                     "value_dim": value_dim, "core": "exact", "causal": False, "options": {},
                     "inputs": ["x", "memory"]}
            if variant == "lengths":
                entry |= {"inputs": ["x", "tokens"], "lengths": True}
            yield _example(variant, entry, {part: rng.normal(size=(m, n)) / np.sqrt(n) for
                                            part, (n, m) in self.sizes(entry).items()}, rng)


def _example(
    variant: str, entry: Fields, weights: Mapping[str, np.ndarray], rng: np.random.Generator
) -> Example:
    """x are the first values of the input; the memory is the last, or all where it has a length."""
    keys, lengths = entry["key_len"], entry.get("lengths", False)
    own, other = entry["seq_len"] * entry["embed_dim"], keys * entry["memory_dim"]
    x, memory = (quantize(rng.normal(size=shape), INPUT_SCALE) * INPUT_SCALE for shape in (
        (entry["seq_len"], entry["embed_dim"]), (keys, entry["memory_dim"])))
    tensors, scales, form = integers(entry, weights, {"q": x, "k": memory, "v": memory},
                                     INPUT_SCALE, {})

    def floats(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        q, k, v = (outputs[f"attn.{part}"] * scales[part] for part in ("q", "k", "v"))
        padding = {"hidden": np.arange(keys) >= outputs["length"]} if lengths else {}
        want = form(q, k, v, **padding) / scales["heads"]
        return outputs["attn.heads"], np.clip(want, -127, 127)

    size = other if lengths else own + other
    part = {"type": "slice", "seq_len": size, "embed_dim": 1}
    layers = [{**part, "name": "x", "start": 0, "rows": own}]
    if not lengths:
        layers.append({**part, "name": "memory", "start": own, "rows": other, "inputs": ["tokens"]})
    names = ("seq_len", "key_len", "embed_dim", "memory_dim", "num_heads", "key_dim", "value_dim")
    return Example(variant, {key: entry[key] for key in names}, [*layers, entry],
                   {f"attn.{key}": values for key, values in tensors.items()}, size, floats,
                   tokens=keys if lengths else None)


TYPE = Type()
