"""Some of the tokens."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError
from ..schema import COUNT, SIZE
from .base import INT8, INT16, Example, Fields, Layer, LayerType, Signal, Tensors, TrainableLayer
from .convert import requantizing
from .quantizer import Quantizer


def taken(entry: Fields) -> slice:
    """Which tokens an entry takes: `rows` of them from `start`, each `step`th."""
    start, step = entry["start"], entry.get("step", 1)
    return slice(start, start + (entry["rows"] - 1) * step + 1, step)


class TrainableSlice(TrainableLayer):
    """So many tokens of [seq_len, embed_dim]."""

    def __init__(self, seq_len: int, which: slice):
        self.seq_len = seq_len
        self.which = which

    def __call__(self, x: np.ndarray) -> np.ndarray:
        found: np.ndarray = x.reshape(self.seq_len, -1)[self.which]
        return found

    def backward(self, grad: np.ndarray) -> np.ndarray:
        dx = np.zeros((self.seq_len, grad.shape[-1]), grad.dtype)
        dx[self.which] = grad
        return dx


class Type(LayerType):
    """[seq_len, embed_dim] -> [rows, embed_dim]."""

    fields = {"seq_len": SIZE, "embed_dim": SIZE, "start": COUNT, "rows": SIZE}
    optional = training_optional = {"step": SIZE}
    retrains = (INT16,)
    input_formats = output_formats = (INT8, INT16)
    keeps_scale = tied = True

    def check(self, entry: Fields) -> None:
        super().check(entry)
        if taken(entry).stop > entry["seq_len"]:
            raise ModelError(f"{entry['name']}.rows: the last of them is token "
                             f"{taken(entry).stop - 1}, expected at most {entry['seq_len'] - 1}")

    def shape(self, entry: Fields, given: Signal) -> tuple[int, int]:
        return entry["seq_len"], entry["embed_dim"]

    def gives(self, entry: Fields, given: Signal) -> Signal:
        return Signal(given.format, entry["rows"] * entry["embed_dim"])

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        return lambda x: {"": x[taken(entry)]}

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": x[0][taken(entry)]}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        pass

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """Tokens in a row, and every second and third one, of odd widths."""
        for output, width, start, rows, step in (
            (INT8, 7, 1, 4, 1), (INT16, 7, 2, 3, 1), (INT8, 8, 0, 3, 2), (INT16, 3, 1, 2, 3),
        ):
            before = {"type": "relu", "name": "x"} if output == INT8 else requantizing("x", 128)
            entry = {"type": "slice", "name": "part", "seq_len": 5, "embed_dim": width,
                     "start": start, "rows": rows, **({"step": step} if step > 1 else {})}

            def floats(
                outputs: Mapping[str, np.ndarray], entry: Fields = entry
            ) -> tuple[np.ndarray, np.ndarray]:
                x = outputs["x"].reshape(5, entry["embed_dim"]).astype(np.float64)
                return outputs["part"].ravel(), x[taken(entry)].ravel()

            yield Example(output, {"seq_len": 5, "embed_dim": width, "rows": rows, "step": step},
                          [before, entry], {}, 5 * width, floats)

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        keys = ("type", "name", *self.fields, "step")
        return {key: entry[key] for key in keys if key in entry}, {}

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableSlice:
        return TrainableSlice(entry["seq_len"], taken(entry))


TYPE = Type()
