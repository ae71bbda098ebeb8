"""One of the tokens."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError
from ..schema import FLAG, INTEGER, SIZE
from .base import INT8, INT16, Example, Fields, Layer, LayerType, Signal, Tensors, TrainableLayer
from .convert import requantizing
from .quantizer import Quantizer


class TrainableSelect(TrainableLayer):
    """The token `index` of [seq_len, embed_dim], or the last one that counts."""

    def __init__(self, seq_len: int, index: int):
        self.seq_len = seq_len
        self.index = index

    def _at(self) -> int:
        return self.index if self.length is None else self.length - 1

    def __call__(self, x: np.ndarray) -> np.ndarray:
        found: np.ndarray = x.reshape(self.seq_len, -1)[self._at()]
        return found

    def backward(self, grad: np.ndarray) -> np.ndarray:
        dx = np.zeros((self.seq_len, grad.size), grad.dtype)
        dx[self._at()] = grad.ravel()
        return dx


class Type(LayerType):
    """[seq_len, embed_dim] -> [embed_dim]: the token `index`, from the end where negative."""

    fields = {"seq_len": SIZE, "embed_dim": SIZE, "index": INTEGER}
    optional = training_optional = {"lengths": FLAG}
    retrains = (INT16,)
    input_formats = output_formats = (INT8, INT16)
    keeps_scale = tied = moves = True
    token_field = "seq_len"

    def check(self, entry: Fields) -> None:
        super().check(entry)
        n = entry["seq_len"]
        if not -n <= entry["index"] < n:
            raise ModelError(f"{entry['name']}.index: expected {-n} to {n - 1}, "
                             f"got {entry['index']}")
        if entry.get("lengths") and entry["index"] != -1:
            raise ModelError(f"{entry['name']}.lengths: expected index -1, the last token, "
                             f"got {entry['index']}")

    def shape(self, entry: Fields, given: Signal) -> tuple[int, int]:
        return entry["seq_len"], entry["embed_dim"]

    def gives(self, entry: Fields, given: Signal) -> Signal:
        return Signal(given.format, entry["embed_dim"])

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        index = entry["index"]
        return lambda x, length=None: {"": x[index if length is None else length - 1]}

    def floating(
        self, entry: Fields, tensors: Tensors, *x: np.ndarray, length: int | None = None
    ) -> dict[str, np.ndarray]:
        return {"": x[0][entry["index"] if length is None else length - 1]}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        pass

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """The first token and the last but one."""
        for output, index in ((INT8, 0), (INT16, -2)):
            before = {"type": "relu", "name": "x"} if output == INT8 else requantizing("x", 128)
            entry = {"type": "select", "name": "token", "seq_len": 5, "embed_dim": 7,
                     "index": index}

            def floats(
                outputs: Mapping[str, np.ndarray], index: int = index
            ) -> tuple[np.ndarray, np.ndarray]:
                want = outputs["x"].reshape(5, 7)[index].astype(np.float64)
                return outputs["token"], want

            yield Example(output, {"seq_len": 5, "embed_dim": 7}, [before, entry], {}, 35, floats)

        def last(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            tokens = outputs["x"].reshape(5, 7).astype(np.float64)
            return outputs["token"], tokens[int(outputs["length"]) - 1]

        entry = {**entry, "index": -1, "lengths": True}
        yield Example("lengths", {"seq_len": 5, "embed_dim": 7}, [before, entry], {}, 35, last,
                      tokens=5)

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        keys = ("type", "name", *self.fields, "lengths")
        return {key: entry[key] for key in keys if key in entry}, {}

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableSelect:
        return TrainableSelect(entry["seq_len"], entry["index"])


TYPE = Type()
