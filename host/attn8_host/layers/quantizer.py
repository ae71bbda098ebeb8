"""Quantizes one layer after another: what a layer type's `quantize` works with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..numerics.scales import linear


@dataclass
class Quantizer:
    """A float model on its way to integers.

    Attributes:
        tensors: the float tensors.
        peaks: the largest magnitude of each output over the calibration inputs.
        range_of: from a layer's name to the peak that its results have to hold.
        scale: what one step of the layer's first input stands for; `quantize` sets it to that of
            its results.
        inputs: the same of all its inputs.
        made: the integer tensors so far.
    """

    tensors: Mapping[str, np.ndarray]
    peaks: Mapping[str, float]
    range_of: Callable[[str], float]
    scale: float
    inputs: list[float] = field(default_factory=list)
    made: dict[str, np.ndarray] = field(default_factory=dict)

    def linear(self, name: str, scale_in: float, scale_out: float | None) -> np.ndarray:
        """Quantizes the matrix and the bias `name`.weight and `name`.bias.

        Returns:
            The scales of the weights, float32 [outputs] (see numerics.scales.linear).
        """
        found = linear(self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"], scale_in,
                       scale_out)
        scales = found.pop("scale")
        self.made.update({f"{name}.{part}": values for part, values in found.items()})
        return scales
