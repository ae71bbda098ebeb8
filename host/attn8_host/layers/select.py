"""One of the tokens."""

from collections.abc import Iterator, Mapping

import numpy as np

from ..errors import ModelError
from ..schema import FLAG, INTEGER, SIZE
from .base import INT8, INT16, Example, Fields, Layer, LayerType, Signal, Tensors
from .convert import requantizing
from .quantizer import Quantizer


class Type(LayerType):
    """[seq_len, embed_dim] -> [embed_dim]: the token `index`, from the end where negative."""

    fields = {"seq_len": SIZE, "embed_dim": SIZE, "index": INTEGER}
    optional = {"lengths": FLAG}
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


TYPE = Type()
