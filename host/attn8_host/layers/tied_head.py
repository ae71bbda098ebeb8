"""A head with the weight of an embedding: one tensor in the file, one in memory."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError
from ..numerics.scales import finest, narrowing
from ..schema import INPUTS, MULTS, SHIFTS, SIZE, WORD, Tensor, one_of
from . import dense
from .base import INT8, INT16, Buffer, Example, Fields, Layer, LayerType, Signal, Tensors
from .dense import Dense, TrainableDense
from .embedding import multipliers, tied_rows
from .quantizer import Quantizer


class TrainableTiedHead(TrainableDense):
    """A dense layer without a bias, whose weight is that of the embedding that its entry
    names: what it adds to the gradient comes first."""

    def __init__(self, f: Any, entry: Fields):
        self.f = f
        self.entry = entry
        self.bias = None

    def share(self, params: Mapping[str, Any]) -> None:
        shape = self.entry["out_features"], self.entry["in_features"]
        found = params.get(f"{self.entry['embedding']}.weight")
        if found is None or found.value.shape != shape:
            raise ModelError(f"{self.entry['name']}.embedding: expected that of a layer before it, "
                             f"with a weight {list(shape)}, got {self.entry['embedding']}")
        self.weight = found

    def collect_params(self) -> list[Any]:
        return []


class Type(LayerType):
    """[rows, in_features] int16 -> [rows, out_features]: x @ weight.T, whose weight [out_features,
    in_features] is that of the embedding that `embedding` names."""

    tokenwise = True
    token_field = "rows"
    fields = {"in_features": INPUTS, "out_features": SIZE, "embedding": WORD}
    training_optional = {"rows": SIZE}
    optional = {**training_optional, "output": one_of(INT8, INT16)}
    input_formats = (INT16,)
    output_formats = (INT8, INT16)

    def tensors(self, entry: Fields) -> dict[str, Tensor]:
        outputs = entry["out_features"]
        return {"weight": Tensor(np.int8, (outputs, entry["in_features"]),
                                 owner=entry["embedding"]),
                "mult": Tensor(np.int16, (outputs,)), "shift": Tensor(np.int8, (outputs,))}

    def ranges(self, entry: Fields, given: Signal) -> dict[str, tuple[int, int]]:
        return {"mult": MULTS, "shift": SHIFTS}

    def float_tensors(self, entry: Fields) -> dict[str, Tensor]:
        return {"weight": Tensor(float, (entry["out_features"], entry["in_features"]),
                                 owner=entry["embedding"])}

    def shape(self, entry: Fields, given: Signal) -> tuple[int, ...]:
        return entry.get("rows", 1), entry["in_features"]

    def gives(self, entry: Fields, given: Signal) -> Signal:
        return Signal(entry.get("output", INT8), entry.get("rows", 1) * entry["out_features"])

    def buffers(self, entry: Fields, given: Sequence[Signal], gives: Signal) -> list[Buffer]:
        return dense.buffers(INT16, gives, entry["in_features"], entry["out_features"])

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        layer = Dense(bias=np.zeros(entry["out_features"], np.int32), **tensors)
        layer.format = entry.get("output", INT8)
        return lambda x: {"": layer(x)}

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": dense.apply("", tensors, *x)}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        name, before = entry["name"], quantizer.scale
        weight, scales = tied_rows(quantizer.tensors[f"{entry['embedding']}.weight"])
        scales = scales * before * 2.0 ** narrowing(weight)
        scale = quantizer.result(name, finest(float(scales.max())))
        quantizer.made.update({f"{name}.{part}": values for part, values in
                               multipliers(scales / scale).items()})

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """Behind its embedding, in both formats."""
        tokens, vocabulary, features = 5, 40, 12
        weight = rng.integers(-127, 128, (vocabulary, features)).astype(np.int8)
        for output, most in ((INT8, 127), (INT16, 32767)):
            ratios = rng.uniform(2, 4, vocabulary) * most / (features * 127 * 16000)

            def floats(
                outputs: Mapping[str, np.ndarray], ratios: np.ndarray = ratios, most: int = most
            ) -> tuple[np.ndarray, np.ndarray]:
                x = outputs["words"].reshape(tokens, features).astype(np.float64)
                want = np.clip(x @ weight.T * ratios, -most, most)
                unit = 1 if most == 127 else 129  # int16 in steps of int8
                return outputs["head"].ravel() / unit, want.ravel() / unit

            made = {"words": multipliers(rng.uniform(0.1, 0.25, vocabulary)),
                    "head": multipliers(ratios)}
            sizes = {"in_features": features, "out_features": vocabulary}
            yield Example(output, {"rows": tokens, **sizes}, [
                {"type": "embedding", "name": "words", "seq_len": tokens, "tied": True,
                 "vocab_size": vocabulary, "embed_dim": features, "output": INT16},
                {"type": self.name, "name": "head", "rows": tokens, **sizes, "embedding": "words",
                 "output": output},
            ], {"words.weight": weight, **{f"{name}.{part}": values for name, found in made.items()
                                           for part, values in found.items()}},
                tokens, floats, vocab_size=vocabulary)

    def work(self, entry: Fields, tensors: Tensors) -> int:
        return int(entry.get("rows", 1) * entry["in_features"] * entry["out_features"])

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        keys = ("type", "name", *self.fields, *self.training_optional)
        return {key: entry[key] for key in keys if key in entry}, {}

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableTiedHead:
        return TrainableTiedHead(f, entry)


TYPE = Type()
