"""Quantizes one layer after another: what a layer type's `quantize` works with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import ModelError
from ..numerics.formats import Format, from_entry
from ..numerics.scales import finest, linear, wide_scales


@dataclass
class Stream:
    """The scale that tensors in int16 share.

    Attributes:
        scale: of one step.
        finest: the finest one that all layers which give these tensors can express.
    """

    scale: float
    finest: float = 0.0


@dataclass
class Quantizer:
    """A float model on its way to integers.

    Attributes:
        tensors: the float tensors.
        peaks: the largest magnitude of each output over the calibration inputs, or the range found
            for it in int8.
        whole: the largest magnitude, whatever range was found: that of int16.
        range_of: from a layer's name to the peak that its results have to hold.
        scale: what one step of the layer's first input stands for; `quantize` sets it to that of
            its results.
        inputs: the same of all its inputs.
        wide: whether these are in int16.
        bounds: the lowest and the highest value of each channel, of what layer types call bounded.
        streams: by the names of the layers whose results are in int16.
        made: the integer tensors so far.
    """

    tensors: Mapping[str, np.ndarray]
    peaks: Mapping[str, float]
    whole: Mapping[str, float]
    range_of: Callable[[str], float]
    scale: float
    inputs: list[float] = field(default_factory=list)
    wide: bool = False
    streams: Mapping[str, Stream] = field(default_factory=dict)
    made: dict[str, np.ndarray] = field(default_factory=dict)
    bounds: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def result(self, name: str, finest: float = 0.0) -> float:
        """Sets `scale` to that of a layer's results, and returns it.

        Args:
            name: of the layer.
            finest: the scale that it cannot go below, as its integers cannot express more.
        """
        if name in self.streams:
            stream = self.streams[name]
            stream.finest = max(stream.finest, finest)
            self.scale = max(stream.scale, finest)
        else:
            self.scale = max(self.range_of(name) / 127, finest)
        return self.scale

    def bias(self, name: str) -> np.ndarray:
        """`name`.bias, zeros where there is none."""
        return self.tensors.get(f"{name}.bias", np.zeros(len(self.tensors[f"{name}.weight"])))

    def finest(self, name: str, scale_in: float, wide: bool = False) -> float:
        """The finest scale of results that the matrix `name`.weight can be requantized to; `wide`:
        of int16, whose sums are narrowed (see numerics.scales.linear)."""
        weight = self.tensors[f"{name}.weight"]
        if wide:
            weight = weight.reshape(len(weight), -1)
            return finest(scale_in * float(wide_scales(weight, self.bias(name), scale_in).max()))
        return finest(scale_in * float(np.abs(weight).max()) / 127)

    def linear(
        self, name: str, scale_in: float, scale_out: float | None, wide: bool = False
    ) -> np.ndarray:
        """Quantizes the matrix and the bias `name`.weight and `name`.bias; `wide`: of int16.

        A weight of more than two axes is one row an output, and keeps its shape.

        Returns:
            The scales of the weights, float32 [outputs] (see numerics.scales.linear).
        """
        weight = self.tensors[f"{name}.weight"]
        found = linear(weight.reshape(len(weight), -1), self.bias(name), scale_in, scale_out, wide)
        found["weight"] = found["weight"].reshape(weight.shape)
        scales = found.pop("scale")
        self.made.update({f"{name}.{part}": values for part, values in found.items()})
        return scales

    def formatted(
        self, entry: dict[str, Any], parts: Mapping[str, str], results: Sequence[str] = ("",)
    ) -> None:
        """Brings the tensors of a layer to its entry's number format.

        Args:
            parts: of the tensors in floats, each with its part in the format.
            results: the parts of what it computes.

        Raises:
            ModelError: a parameter, or a result with the calibration inputs, is beyond the format.
        """
        name, form = entry["name"], from_entry(entry)
        for source, part in parts.items():
            values = self.bias(name) if source == "bias" else self.tensors[f"{name}.{source}"]
            self._require(form, f"{name}.{source}", float(np.abs(values).max()))
            self.made[f"{name}.{part}"] = form.encode(values)
        for result in results:
            key = f"{name}.{result}" if result else name
            self._require(form, key, self.whole[key])
        self.scale = form.step

    @staticmethod
    def _require(form: Format, what: str, peak: float) -> None:
        if peak > form.most:
            raise ModelError(f"{what} reaches {peak:.5g}, and {form.name} ends at {form.most:.6g}; "
                             "take a format of more whole bits, or scale the model's weights down")
