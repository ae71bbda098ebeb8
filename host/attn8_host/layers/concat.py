"""Several tensors as one, tokens behind tokens or features behind features."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError
from ..schema import SIZE
from .base import INT16, Example, Fields, Layer, LayerType, Signal, Tensors, TrainableLayer
from .convert import requantizing
from .quantizer import Quantizer


class TrainableConcat(TrainableLayer):
    """[rows, n] and [rows, m] to [rows, n + m]."""

    def __init__(self, rows: int):
        self.rows = rows

    def __call__(self, *x: np.ndarray) -> np.ndarray:
        parts = [each.reshape(self.rows, -1) for each in x]
        self.width = parts[0].shape[1]
        return np.hstack(parts)

    def backward(self, grad: np.ndarray) -> list[np.ndarray]:
        return np.split(grad.reshape(self.rows, -1), [self.width], axis=1)


class Type(LayerType):
    """[rows, n], [rows, m] ... -> [rows, n + m ...]; a row of all puts tokens behind tokens.

    In integers it has two inputs.
    """

    arity = 2
    fields = {"rows": SIZE}
    input_formats = output_formats = (INT16,)
    tied = tokenwise = True
    token_field = "rows"

    def _check_inputs(self, name: str, found: int) -> None:
        if found < self.arity:
            raise ModelError(f"{name}.inputs: expected {self.arity} or more, got {found}")

    def require_integers(self, entry: Fields) -> None:
        super().require_integers(entry)
        if len(entry["inputs"]) != self.arity:
            raise ModelError(f"{entry['name']}.inputs: integers have {self.arity}, got "
                             f"{len(entry['inputs'])}; attn8 quantize makes several layers of more")

    def check_training(self, entry: Fields) -> None:
        super().check_training(entry)
        if len(entry.get("inputs", ())) != self.arity:
            raise ModelError(f"{entry['name']}.inputs: expected {self.arity} in a training, got "
                             f"{len(entry.get('inputs', ()))}")

    def pieces(self, entry: Fields) -> list[Fields]:
        name, (before, *others) = entry["name"], entry["inputs"]
        made = []
        for i, other in enumerate(others, 2):
            piece = name if i > len(others) else f"{name}.{i}"
            made.append({**entry, "name": piece, "inputs": [before, other]})
            before = piece
        return made

    def shape(self, entry: Fields, given: Signal) -> tuple[int, int]:
        return entry["rows"], given.size // entry["rows"]

    def connect(self, entry: Fields, given: Sequence[Signal]) -> Signal:
        self._check_inputs(entry["name"], len(given))
        for signal in given:
            if signal.size % entry["rows"]:
                raise ModelError(f"{entry['name']}: takes rows of {entry['rows']}, the layer "
                                 f"before gives {signal.size} values")
            super().connect(entry, [signal] * len(given))
        return Signal(INT16, sum(signal.size for signal in given))

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        return lambda *x: self.floating(entry, tensors, *x)

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": np.hstack([each.reshape(len(x[0]), -1) for each in x])}
    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        quantizer.result(entry["name"])

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """A token behind five, and a feature behind seven."""
        for variant, rows, width in (("tokens", 1, 5), ("features", 5, 7)):
            n = rows * width

            def floats(
                outputs: Mapping[str, np.ndarray], rows: int = rows
            ) -> tuple[np.ndarray, np.ndarray]:
                a, b = (outputs[name].reshape(rows, -1) for name in "ab")
                return outputs["both"].ravel(), np.hstack([a, b]).ravel().astype(np.float64)

            entry = {"type": "concat", "name": "both", "rows": rows, "inputs": ["a", "b"]}
            pool = {"type": "transpose", "name": "b", "rows": rows, "columns": width}
            yield Example(variant, {"rows": rows, "features": 2 * width},
                          [requantizing("a", 128), pool, entry], {}, n, floats)

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        return {key: entry[key] for key in ("type", "name", "inputs", *self.fields)}, {}

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableConcat:
        return TrainableConcat(entry["rows"])


TYPE = Type()
