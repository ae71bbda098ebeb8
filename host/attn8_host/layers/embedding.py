"""Rows of a table, by token ids."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ModelError
from ..numerics.integers import rounded, saturated
from ..numerics.parameter import Parameter
from ..numerics.scales import quantize, requant_constants
from ..schema import FLAG, MULTS, SHIFTS, SIZE, Tensor, one_of
from .base import (
    INT8,
    INT16,
    TOKENS,
    Example,
    Fields,
    Layer,
    LayerType,
    Signal,
    Tensors,
    TrainableLayer,
    require_parts,
)
from .dense import settle_pairs
from .position import stream_tensor
from .quantizer import Quantizer

MAX_VOCAB = 1 << 15  # ids are int16


@dataclass
class Embedding:
    """weight[x]: whole numbers [seq_len] -> [seq_len, embed_dim]."""

    weight: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Raises ValueError where an id is no row of the table."""
        beyond = np.flatnonzero((x < 0) | (x >= len(self.weight)) | (x % 1 != 0))
        if beyond.size:
            raise ValueError(f"token {beyond[0]}: expected 0 to {len(self.weight) - 1}, "
                             f"got {x[beyond[0]]}")
        result: np.ndarray = self.weight[x.astype(np.int64)]
        return result


@dataclass
class TiedEmbedding:
    """The same of int8 weights that a tied_head shares: each row with a multiplier of its own.

    out = requant(weight[x] << 9; mult[x], shift[x]); mult int16, shift int8 [vocab_size].
    """

    weight: np.ndarray
    mult: np.ndarray
    shift: np.ndarray
    format: str

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Raises ValueError where an id is no row of the table."""
        rows, mult, shift = (Embedding(values)(x) for values in
                             (self.weight, self.mult[:, None], self.shift[:, None]))
        return saturated(rounded(rows.astype(np.int64) << 9, mult, shift), self.format)


def tied_rows(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A matrix as int8 rows, and the scale of each."""
    weight = np.asarray(weight, np.float64)
    largest = np.abs(weight).max(axis=1)
    scale = np.where(largest > 0, largest, largest.max() or 1.0) / 127
    return quantize(weight, scale[:, None]), scale


def multipliers(ratios: np.ndarray) -> dict[str, np.ndarray]:
    """mult int16 and shift int8 of ratios of scales."""
    constants = np.array([requant_constants(float(ratio)) for ratio in ratios])
    return {"mult": constants[:, 0].astype(np.int16), "shift": constants[:, 1].astype(np.int8)}


class TrainableEmbedding(TrainableLayer):
    """weight[x], weight words [vocab_size, embed_dim]; x are no words, but token ids."""

    def __init__(self, f: Any, name: str, weight: np.ndarray):
        self.f = f
        self.weight = Parameter(f"{name}.weight", weight)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.x = x.astype(np.int64)
        return Embedding(self.weight.value)(x)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """Each token's row is added to that of its id, token by token."""
        total = self.weight.grad.copy()
        for token, row in zip(self.x, grad, strict=True):
            total[token] = self.f.add(total[token], row)
        self.weight.grad = total
        return grad[:, 0]

    def collect_params(self) -> list[Any]:
        return [self.weight]


class Type(LayerType):
    """[seq_len] token ids -> [seq_len, embed_dim]: rows of NAME.weight [vocab_size, embed_dim].

    "tied": a tied_head takes the same weight, in int8.
    """

    fields = {"seq_len": SIZE, "vocab_size": SIZE, "embed_dim": SIZE}
    optional = {"output": one_of(INT8, INT16), "tied": FLAG}
    input_formats = (TOKENS,)
    output_formats = (INT8, INT16)
    tokenwise = True
    token_field = "seq_len"
    pairs = ("",)

    def check(self, entry: Fields) -> None:
        super().check(entry)
        if entry["vocab_size"] > MAX_VOCAB:
            raise ModelError(f"{entry['name']}.vocab_size: expected 1 to {MAX_VOCAB}, "
                             f"got {entry['vocab_size']}")

    def tensors(self, entry: Fields) -> dict[str, Tensor]:
        if entry.get("paired") and not entry.get("tied"):
            raise ModelError(f"{entry['name']}.weight: only that of a tied embedding is in pairs "
                             "of rows")
        if entry.get("tied"):
            rows = entry["vocab_size"]
            return {"weight": Tensor(np.int8, (rows, entry["embed_dim"])),
                    "mult": Tensor(np.int16, (rows,)), "shift": Tensor(np.int8, (rows,))}
        dtype = np.int16 if entry.get("output") == INT16 else np.int8
        return {"weight": Tensor(dtype, (entry["vocab_size"], entry["embed_dim"]))}

    def ranges(self, entry: Fields, given: Signal) -> dict[str, tuple[int, int]]:
        return {"mult": MULTS, "shift": SHIFTS}

    def float_tensors(self, entry: Fields) -> dict[str, Tensor]:
        return {"weight": Tensor(float, (entry["vocab_size"], entry["embed_dim"]))}

    def shape(self, entry: Fields, given: Signal) -> tuple[int]:
        return (entry["seq_len"],)

    def gives(self, entry: Fields, given: Signal) -> Signal:
        return Signal(entry.get("output", INT8), entry["seq_len"] * entry["embed_dim"])

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        layer: Embedding | TiedEmbedding = Embedding(tensors["weight"])
        if entry.get("tied"):
            layer = TiedEmbedding(**tensors, format=entry.get("output", INT8))

        def run(x: np.ndarray) -> dict[str, np.ndarray]:
            try:
                return {"": layer(x)}
            except ValueError as error:
                raise ValueError(f"{entry['name']}: {error}") from None

        return run

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": Embedding(tensors["weight"])(x[0])}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        name = entry["name"]
        weight = quantizer.tensors[f"{name}.weight"]
        peak = float(np.abs(weight).max())  # of all rows, seen or not
        if entry.get("tied"):
            made, scales = tied_rows(weight)
            scale = peak / 127
            if entry.get("output") == INT16:
                scale = quantizer.result(name, peak / 32767)
            quantizer.scale = scale
            quantizer.made.update({f"{name}.{part}": values for part, values in
                                   {"weight": made, **multipliers(scales / scale / 512)}.items()})
            settle_pairs(entry, quantizer, "")
        elif entry.get("output") == INT16:
            scale = quantizer.result(name, peak / 32767)
            quantizer.made[f"{name}.weight"] = stream_tensor(weight, scale)
        else:
            quantizer.scale = peak / 127
            quantizer.made[f"{name}.weight"] = quantize(weight, quantizer.scale)

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """In both formats."""
        for output, dtype in ((INT8, np.int8), (INT16, np.int16)):
            most = np.iinfo(dtype).max
            weight = rng.integers(-most, most + 1, (300, 7)).astype(dtype)

            def floats(
                outputs: Mapping[str, np.ndarray], weight: np.ndarray = weight
            ) -> tuple[np.ndarray, np.ndarray]:
                return outputs["rows"], weight[outputs["input"]].astype(np.float64)

            entry = {"type": "embedding", "name": "rows", "seq_len": 5, "vocab_size": 300,
                     "embed_dim": 7, "output": output}
            yield Example(output, {"seq_len": 5, "vocab_size": 300, "embed_dim": 7}, [entry],
                          {"rows.weight": weight}, 5, floats, vocab_size=300)

    def initial(self, entry: Fields, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Normal, as torch.nn.Embedding's."""
        return {"weight": rng.normal(size=(entry["vocab_size"], entry["embed_dim"]))}

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        scale = np.full((entry["vocab_size"], 1), entry["scale"])
        if entry.get("tied"):
            mult, shift = (tensors[part][:, None].astype(np.float64) for part in ("mult", "shift"))
            scale = scale * mult * 2.0 ** (9 - shift)
        return {key: entry[key] for key in ("type", "name", *self.fields)}, {
            "weight": tensors["weight"] * scale}

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableEmbedding:
        require_parts(entry["name"], tensors, {"weight"})
        return TrainableEmbedding(f, entry["name"], **tensors)


TYPE = Type()
