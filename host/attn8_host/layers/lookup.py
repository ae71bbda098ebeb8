"""Functions of one value: a table of all results in int8, and one with lines between in int16."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..numerics.integers import saturated
from ..numerics.scales import quantize
from ..schema import Tensor, one_of
from .base import INPUT_SCALE, INT8, INT16, Example, Fields, Layer, LayerType, Signal, Tensors
from .convert import requantizing
from .quantizer import Quantizer


@dataclass
class Lookup:
    """table[x], int8 [256]; negative x from the end, as bytes count."""

    table: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.table[x.view(np.uint8)]
        return result


@dataclass
class Interpolate:
    """int16 x on the line between two neighbours of table, int16 [513], that are 128 apart."""

    table: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        table = self.table.astype(np.int64)
        place = x.astype(np.int64) + 32768
        i, rest = place >> 7, place & 127
        result: np.ndarray = table[i] + ((table[i + 1] - table[i]) * rest + 64 >> 7)
        return result.astype(np.int16)


class LookupType(LayerType):
    """What a type is whose layers look their results up; it adds `function`.

    An integer entry says "output": "int16" where both its input and its results are int16.
    """

    optional = {"output": one_of(INT8, INT16)}
    input_formats = output_formats = (INT8, INT16)
    by_bits = even = True
    retrains = (INT16,)

    def wants(self, entry: Fields, bits: int) -> str:
        wanted: str = entry.get("output") or super().wants(entry, bits)
        return wanted

    tokenwise = True
    most_lsb = 0.75
    in_place = True

    def function(self, entry: Fields, x: np.ndarray) -> np.ndarray:
        """Of floats."""
        raise NotImplementedError

    def tensors(self, entry: Fields) -> dict[str, Tensor]:
        if entry.get("output") == INT16:
            return {"table": Tensor(np.int16, (513,))}
        return {"table": Tensor(np.int8, (256,))}

    def takes(self, entry: Fields, given: Signal) -> str:
        output: str = entry.get("output", INT8)
        return output

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        kind = Interpolate if entry.get("output") == INT16 else Lookup
        layer = kind(tensors["table"])
        return lambda x: {"": layer(x)}

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": self.function(entry, x[0])}

    def table(self, entry: Fields, scale_in: float, scale_out: float) -> np.ndarray:
        """All results, rounded once from float64."""
        x = np.arange(256, dtype=np.uint8).view(np.int8) * scale_in
        return quantize(self.function(entry, x), scale_out)

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        return {key: entry[key] for key in ("type", "name", *self.fields)}, {}

    def points(self, entry: Fields, scale_in: float, scale_out: float) -> np.ndarray:
        """The results of -32768, -32640 ... 32768."""
        x = np.arange(-32768, 32769, 128) * scale_in
        results = np.floor(self.function(entry, x) / scale_out + 0.5)
        return saturated(results.astype(np.int64), INT16)

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        name, before = entry["name"], quantizer.scale
        table = self.points if entry.get("output") == INT16 else self.table
        quantizer.made[f"{name}.table"] = table(entry, before, quantizer.result(name))

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """Of each value that the input may have, and in int16."""
        yield self.example({"type": self.name, "name": "y"})
        yield self.wide_example({"type": self.name, "name": "y"})

    def wide_example(self, entry: Fields, variant: str = "int16") -> Example:
        """Behind the input in int16."""
        before = INPUT_SCALE * 127 / 16383
        scale = float(np.abs(self.function(entry, np.array([-4.0, 4.0]))).max()) / 16383

        def floats(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            want = self.function(entry, outputs["x"].astype(np.float64) * before) / scale
            # In steps of int8
            return outputs["y"] / 129, np.clip(want, -32767, 32767) / 129

        return Example(variant, {"size": 131},
                       [requantizing("x", INPUT_SCALE / before), {**entry, "output": INT16}],
                       {"y.table": self.points(entry, before, scale)}, 131, floats)

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
