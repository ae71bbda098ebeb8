"""Probabilities of a model's last results."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ModelError
from ..numerics import floating as floats
from ..numerics.integers import EXP2, int32
from ..schema import SIZE, within
from .base import (
    INPUT_SCALE,
    INT8,
    INT16,
    UINT16,
    Example,
    Fields,
    Layer,
    LayerType,
    Signal,
    Tensors,
    TrainableLayer,
)
from .convert import requantizing
from .quantizer import Quantizer

INT32 = "int32"
ONE = 1 << 15  # probability 1
FINE = 1 << 12  # steps of an octave
OCTAVES = 16  # below the largest, where a numerator is 0
MAX_COLUMNS = (1 << 15) - 1  # a row's sum stays below 2**30


@dataclass
class Softmax:
    """[rows, columns] of any integers -> uint16 of the same shape: probabilities in Q15.

    A difference of results is difference * mult / 2**shift 1/4096 octaves; beyond `limit` its
    probability is 0.
    """

    mult: int
    shift: int
    limit: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        below = int32(x.max(axis=1, keepdims=True).astype(np.int64) - x)
        kept = below <= self.limit
        t = int32(int32(np.where(kept, below, 0) * self.mult) + (1 << self.shift >> 1))
        t >>= self.shift
        at = t >> 4 & 255
        steps = EXP2[at] - np.append(EXP2[1:], ONE)[at]
        numerators = EXP2[at] - ((steps * (t & 15) + 8) >> 4)
        numerators = np.where(kept, ((numerators >> (t >> 12)) + 1) >> 1, 0)
        sums = int32(numerators.sum(axis=1, keepdims=True))
        result: np.ndarray = int32(2 * int32(numerators * ONE) // sums + 1) >> 1
        return result.astype(np.uint16)


def most_limit(mult: int, shift: int) -> int:
    """The largest limit with which differences stay in int32, and within 32 octaves."""
    most = min((1 << 31) - 1, (32 << (shift + 12)) - 1) - (1 << shift >> 1)
    return min((1 << 30) - 1, most // mult)


def softmax_constants(scale: float) -> dict[str, int]:
    """mult, shift and limit for results that stand for result * scale.

    Raises:
        ModelError: the scale is not within 2**-20 to 2**10.
    """
    if not 2**-20 <= scale <= 2**10:
        raise ModelError(f"scale of what a softmax takes: expected 2**-20 to 2**10, got {scale}")
    step = scale * math.log2(math.e) * FINE
    shift = 14 if step < OCTAVES * FINE // 2 else 6  # OCTAVES * FINE << shift, or mult, is in int32
    mult = math.floor(step * 2**shift + 0.5)
    return {"mult": mult, "shift": shift,
            "limit": ((OCTAVES * FINE << shift) - (1 << shift >> 1) - 1) // mult}


class TrainableSoftmax(TrainableLayer):
    """The probabilities of each row."""

    def __init__(self, f: Any, columns: int):
        self.f = f
        self.columns = columns
        self._scale = f.softmax_scale(1, 1)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.out, _ = self.f.softmax(x.reshape(-1, self.columns), self._scale)
        out: np.ndarray = self.out
        return out

    def backward(self, grad: np.ndarray) -> np.ndarray:
        grad = grad.reshape(self.out.shape)
        dx: np.ndarray = self.f.softmax_backward(self.out, grad, self._scale)
        return dx


class Type(LayerType):
    """[rows, columns] -> probabilities of the same shape."""

    tokenwise = True
    token_field = "rows"
    fields = {"rows": SIZE, "columns": SIZE}
    integers = {"mult": within(1, (1 << 30) - 1), "shift": within(1, 28),
                "limit": within(0, (1 << 30) - 1)}
    input_formats = (INT16, INT8, INT32)
    output_formats = (UINT16,)
    retrains = (INT8, INT32)

    def check(self, entry: Fields) -> None:
        super().check(entry)
        if entry["columns"] > MAX_COLUMNS:
            raise ModelError(f"{entry['name']}.columns: expected 1 to {MAX_COLUMNS}, "
                             f"got {entry['columns']}")

    def require_integers(self, entry: Fields) -> None:
        super().require_integers(entry)
        most = most_limit(entry["mult"], entry["shift"])
        if entry["limit"] > most:
            raise ModelError(f"{entry['name']}.limit: expected 0 to {most} with these mult and "
                             f"shift, got {entry['limit']}")

    def shape(self, entry: Fields, given: Signal) -> tuple[int, int]:
        return entry["rows"], entry["columns"]

    def gives(self, entry: Fields, given: Signal) -> Signal:
        return Signal(UINT16, given.size)

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        layer = Softmax(entry["mult"], entry["shift"], entry["limit"])
        return lambda x: {"": layer(x)}

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": floats.softmax(x[0])}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        entry.update(softmax_constants(quantizer.scale))
        quantizer.scale = 1 / ONE

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """Of all formats that it takes; in steps of int8, 1/127."""
        identity = np.eye(14, dtype=np.int8)
        wide = {"type": "dense", "name": "x", "in_features": 14, "out_features": 14,
                "output": INT32}
        sums: dict[str, np.ndarray] = {
            "x.weight": 127 * identity, "x.bias": np.arange(14, dtype=np.int32) * 999,
        }  # fmt: skip
        for takes, before, scale in (
            (INT8, {"type": "relu", "name": "x"}, INPUT_SCALE),
            (INT16, requantizing("x", 128), INPUT_SCALE / 128),
            (INT32, wide, INPUT_SCALE / 127),
        ):
            for rows in (1,) if takes == INT32 else (1, 2):
                columns = 14 // rows

                def floating(
                    outputs: Mapping[str, np.ndarray], rows: int = rows, scale: float = scale,
                ) -> tuple[np.ndarray, np.ndarray]:
                    x = outputs["x"].reshape(rows, -1).astype(np.float64) * scale
                    want = floats.softmax(x).ravel() * 127
                    return outputs["p"].ravel() / (ONE / 127), want

                entry = {"type": "softmax", "name": "p", "rows": rows, "columns": columns,
                         **softmax_constants(scale)}
                yield Example(takes, {"rows": rows, "columns": columns}, [before, entry],
                              sums if takes == INT32 else {}, 14, floating)

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        """It is the last layer: cross entropy takes what comes before, and has its own softmax."""
        return None, {}

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableSoftmax:
        return TrainableSoftmax(f, entry["columns"])


TYPE = Type()
