"""Mean over the tokens."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from ..errors import ModelError
from ..numerics.formats import NAMES, Format
from ..numerics.integers import int32, requant
from ..numerics.scales import finest, requant_constants
from ..schema import FLAG, MOST, MULT, MULTS, SHIFT, SHIFTS, SIZE, Tensor, one_of
from .base import INT8, INT16, Example, Fields, Layer, LayerType, Signal, Tensors, TrainableLayer
from .convert import requantizing
from .quantizer import Quantizer


@dataclass
class MeanPool:
    """int8 or int16 [seq_len, embed_dim] -> [embed_dim], int8 or int16.

    (mult, shift) hold the division by seq_len.
    """

    mult: int
    shift: int
    format: str = INT8

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return requant(int32(x.astype(np.int64).sum(axis=0)), self.mult, self.shift,
                       self.format)


@dataclass
class MeanOfLength:
    """The same over the first `length` tokens: mult, shift [seq_len] hold the divisions.

    Sums are shifted up first, by as much as int32 allows at each length.
    """

    mult: np.ndarray
    shift: np.ndarray
    format: str = INT8

    def __call__(self, x: np.ndarray, length: int) -> np.ndarray:
        sums = int32(x[:length].astype(np.int64).sum(axis=0))
        mult, shift = int(self.mult[length - 1]), int(self.shift[length - 1])
        return requant(int32(sums << room(length)), mult, shift, self.format)


def room(tokens: int) -> int:
    """Bits by which a sum of so many int16 can be shifted up."""
    return 15 - tokens.bit_length()


def length_constants(ratio: float, seq_len: int) -> dict[str, np.ndarray]:
    """mult and shift of each length, where `ratio` is input scale / output scale."""
    found = [requant_constants(ratio / n / 2 ** room(n)) for n in range(1, seq_len + 1)]
    return {"mult": np.array([m for m, _ in found], np.int16),
            "shift": np.array([s for _, s in found], np.int8)}


@dataclass
class QMeanPool:
    """The same in fixed point or floats, over the first `length` tokens where that is given."""

    format: Format

    def __call__(self, x: np.ndarray, length: int | None = None) -> np.ndarray:
        return self.format.mean(x[:length])


class TrainableMeanPool(TrainableLayer):
    """[seq_len, embed_dim] -> [embed_dim], of the first `length` tokens where that is told."""

    def __init__(self, f: Any, seq_len: int):
        self.f = f
        self.seq_len = seq_len

    def __call__(self, x: np.ndarray) -> np.ndarray:
        x = x.reshape(self.seq_len, -1)[: self.length]
        self._factor = self.f.factor(1, len(x))
        sums = self.f.column_sums(x, np.zeros_like(x[0]))
        out: np.ndarray = self.f.scale(sums, self._factor)
        return out

    def backward(self, grad: np.ndarray) -> np.ndarray:
        dx = np.zeros((self.seq_len, grad.size), grad.dtype)
        dx[: self.length] = self.f.scale(grad, self._factor)
        return dx


class Type(LayerType):
    """[seq_len, embed_dim] -> [embed_dim]."""

    fields = {"seq_len": SIZE, "embed_dim": SIZE}
    constants = {"mult": MULT, "shift": SHIFT}  # of the full length alone
    optional = {"output": one_of(INT8, INT16), "format": one_of(INT8, *NAMES), "lengths": FLAG,
                **constants}
    retrains = (INT16,)
    input_formats = output_formats = (INT8, INT16)
    training_optional = {"lengths": FLAG}
    token_field = "seq_len"
    most_lsb = 1.0
    by_bits = True

    def check(self, entry: Fields) -> None:
        super().check(entry)
        if form := self.format_of(entry):
            for key in ("output", *self.constants):
                if key in entry:
                    raise ModelError(f"{entry['name']}.{key}: unknown where the format is {form}; "
                                     "take it out")

    def require_integers(self, entry: Fields) -> None:
        for key in () if self.format_of(entry) else self.constants:
            if (key in entry) == entry.get("lengths", False):
                raise ModelError(f"{entry['name']}: " + (
                    f"unknown field {key} where it says lengths; take it out of the config"
                    if key in entry else f"the config lacks {key}"))

    def tensors(self, entry: Fields) -> dict[str, Tensor]:
        if not entry.get("lengths") or self.format_of(entry):
            return {}
        n = entry["seq_len"]
        return {"mult": Tensor(np.int16, (n,)), "shift": Tensor(np.int8, (n,))}

    def ranges(self, entry: Fields, given: Signal) -> dict[str, tuple[int, int]]:
        return {"mult": MULTS, "shift": SHIFTS}

    def connect(self, entry: Fields, given: Sequence[Signal]) -> Signal:
        n = entry["seq_len"]
        most = MOST - (given[0].format == INT16 or bool(entry.get("lengths")))
        if n > most:
            raise ModelError(f"{entry['name']}.seq_len: expected 1 to {most}, got {n}")
        return super().connect(entry, given)

    def converted(self, found: str, wanted: str) -> str:
        return found  # a stream, with 8 activation_bits too

    def shape(self, entry: Fields, given: Signal) -> tuple[int, ...]:
        return entry["seq_len"], entry["embed_dim"]

    def gives(self, entry: Fields, given: Signal) -> Signal:
        form = self.format_of(entry) or entry.get("output", INT8)
        return Signal(form, entry["embed_dim"])

    def takes(self, entry: Fields, given: Signal) -> str:
        return self.format_of(entry) or super().takes(entry, given)

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        if form := self.format_of(entry):
            exact = QMeanPool(Format(form))
            return lambda x, length=None: {"": exact(x, length)}
        if entry.get("lengths"):
            masked = MeanOfLength(**tensors, format=entry.get("output", INT8))
            return lambda x, length: {"": masked(x, length)}
        layer = MeanPool(entry["mult"], entry["shift"], entry.get("output", INT8))
        return lambda x: {"": layer(x)}

    def floating(
        self, entry: Fields, tensors: Tensors, *x: np.ndarray, length: int | None = None
    ) -> dict[str, np.ndarray]:
        return {"": x[0][:length].mean(axis=0)}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        name, before, tokens = entry["name"], quantizer.scale, entry["seq_len"]
        if self.format_of(entry):
            quantizer.formatted(entry, {})
            return
        if entry.get("lengths"):
            made = length_constants(before / quantizer.result(name), tokens)
            quantizer.made.update({f"{name}.{part}": values for part, values in made.items()})
            return
        scale = quantizer.result(name, finest(before / tokens))
        entry["mult"], entry["shift"] = requant_constants(before / scale / tokens)

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """Of all formats that it takes and gives."""
        tokens, width = 5, 7
        for takes, gives in product((INT8, INT16), repeat=2):
            before = {"type": "relu", "name": "x"} if takes == INT8 else requantizing("x", 128)
            ratio = 0.37 / tokens / (128 if (takes, gives) == (INT16, INT8) else 1)
            mult, shift = requant_constants(ratio)

            def floats(
                outputs: Mapping[str, np.ndarray], ratio: float = ratio,
            ) -> tuple[np.ndarray, np.ndarray]:
                x = outputs["x"].reshape(tokens, width).astype(np.float64)
                return outputs["pool"], x.sum(axis=0) * ratio

            entry = {"type": "mean_pool", "name": "pool", "seq_len": tokens, "embed_dim": width,
                     "mult": mult, "shift": shift, "output": gives}
            yield Example(f"{takes} to {gives}", {"seq_len": tokens, "embed_dim": width},
                          [before, entry], {}, tokens * width, floats)

            def masked(
                outputs: Mapping[str, np.ndarray], ratio: float = ratio * tokens,
            ) -> tuple[np.ndarray, np.ndarray]:
                length = int(outputs["length"])
                x = outputs["x"].reshape(tokens, width)[:length].astype(np.float64)
                return outputs["pool"], x.mean(axis=0) * ratio

            entry = {"type": "mean_pool", "name": "pool", "seq_len": tokens, "embed_dim": width,
                     "lengths": True, "output": gives}
            made = length_constants(ratio * tokens, tokens)
            yield Example(f"lengths, {takes} to {gives}", {"seq_len": tokens, "embed_dim": width},
                          [before, entry],
                          {f"pool.{part}": values for part, values in made.items()},
                          tokens * width, masked, tokens=tokens)

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        keys = ("type", "name", "seq_len", "embed_dim", "lengths")
        return {key: entry[key] for key in keys if key in entry}, {}

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableMeanPool:
        return TrainableMeanPool(f, entry["seq_len"])


TYPE = Type()
