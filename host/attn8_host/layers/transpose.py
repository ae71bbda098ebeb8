"""Rows to columns."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..schema import SIZE
from .base import INT8, INT16, Example, Fields, Layer, LayerType, Signal, Tensors, TrainableLayer
from .convert import requantizing
from .quantizer import Quantizer


class TrainableTranspose(TrainableLayer):
    """[rows, columns] -> [columns, rows]."""

    def __init__(self, rows: int):
        self.rows = rows

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x.reshape(self.rows, -1).T)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(grad.reshape(-1, self.rows).T)


class Type(LayerType):
    """[rows, columns] -> [columns, rows]."""

    fields = {"rows": SIZE, "columns": SIZE}
    input_formats = output_formats = (INT8, INT16)
    keeps_scale = tied = moves = True
    retrains = (INT16,)

    def shape(self, entry: Fields, given: Signal) -> tuple[int, int]:
        return entry["rows"], entry["columns"]

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        return lambda x: {"": np.ascontiguousarray(x.T)}

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": x[0].T}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        pass

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """In both formats."""
        for output in (INT8, INT16):
            before = {"type": "relu", "name": "x"} if output == INT8 else requantizing("x", 128)
            entry = {"type": "transpose", "name": "turned", "rows": 5, "columns": 7}

            def floats(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
                want = outputs["x"].reshape(5, 7).T.astype(np.float64)
                return outputs["turned"].ravel(), want.ravel()

            yield Example(output, {"rows": 5, "columns": 7}, [before, entry], {}, 35, floats)

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        return {key: entry[key] for key in ("type", "name", *self.fields)}, {}

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableTranspose:
        return TrainableTranspose(entry["rows"])


TYPE = Type()
