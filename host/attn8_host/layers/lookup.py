"""Functions of one int8 value: a table of all results."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..numerics.scales import quantize
from ..schema import Tensor
from .base import INPUT_SCALE, Example, Fields, Layer, LayerType, Tensors
from .quantizer import Quantizer


@dataclass
class Lookup:
    """table[x], int8 [256]; negative x from the end, as bytes count."""

    table: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.table[x.view(np.uint8)]
        return result


class LookupType(LayerType):
    """What a type is whose layers look their results up; it adds `function`."""

    tokenwise = True
    in_place = True

    def function(self, entry: Fields, x: np.ndarray) -> np.ndarray:
        """Of floats."""
        raise NotImplementedError

    def tensors(self, entry: Fields) -> dict[str, Tensor]:
        return {"table": Tensor(np.int8, (256,))}

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        layer = Lookup(tensors["table"])
        return lambda x: {"": layer(x)}

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": self.function(entry, x[0])}

    def table(self, entry: Fields, scale_in: float, scale_out: float) -> np.ndarray:
        """All results, rounded once from float64."""
        x = np.arange(256, dtype=np.uint8).view(np.int8) * scale_in
        return quantize(self.function(entry, x), scale_out)

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        name, before = entry["name"], quantizer.scale
        quantizer.made[f"{name}.table"] = self.table(entry, before, quantizer.result(name))

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """Of each value that the input may have."""
        yield self.example({"type": self.name, "name": "y"})

    def example(self, entry: Fields, variant: str = "int8") -> Example:
        """Behind a ReLU and the input alone."""
        scale = float(np.abs(self.function(entry, np.array([-4.0, 4.0]))).max()) / 127
        table = self.table(entry, INPUT_SCALE, scale)

        def floats(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            x = outputs["x"].astype(np.float64) * INPUT_SCALE
            return outputs["y"], self.function(entry, x) / scale

        identity = np.arange(256, dtype=np.uint8).view(np.int8)
        return Example(variant, {"size": 131}, [{"type": "tanh", "name": "x"}, entry],
                       {"x.table": identity, "y.table": table}, 131, floats)
