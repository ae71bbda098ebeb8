"""Which way of finding ranges costs least, measured on the calibration inputs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ModelError
from ..inputs import integers
from ..model import Model
from .model import Calibration
from .ranges import METHODS

SAMPLES = 64  # spread over the calibration inputs, on which the ways are compared


def best(calibration: Calibration) -> tuple[str, str]:
    """The methods for the input and for activations: first the one, then the other.

    Raises:
        ModelError: as `quantize_model`, where no method does.
    """
    step = -(-len(calibration.inputs) // SAMPLES)
    samples, lengths = calibration.inputs[::step], calibration.lengths[::step]
    with np.errstate(over="ignore", invalid="ignore"):  # `quantized` refuses what is not finite
        wanted = []
        for x, n in zip(samples, lengths, strict=True):
            found = calibration.following.counted(calibration.run(x, n), n)
            wanted.append(np.ravel(list(found.values())[-1]))

    def error(method: str, activations: str) -> float:
        try:
            config, tensors = calibration.quantized(method, activations)
            return relative_error(Model(config, tensors, False), samples, lengths, wanted)
        except ModelError:
            if (method, activations) == (METHODS[0], METHODS[0]):
                raise
            return np.inf

    costs = {method: error(method, METHODS[0]) for method in METHODS}
    chosen = min(costs, key=costs.__getitem__)
    costs = {METHODS[0]: costs[chosen]} | {each: error(chosen, each) for each in METHODS[1:]}
    return chosen, min(costs, key=costs.__getitem__)


def relative_error(
    model: Model, samples: np.ndarray, lengths: Sequence[int | None], wanted: list[np.ndarray]
) -> float:
    """Of the last layer's outputs, over their norm; the mean over the inputs, each at most 1.

    Raises:
        ModelError: the int8 model cannot run.
    """
    scale = output_scales(model.config)[model.output]
    errors = []
    for x, n, want in zip(integers(samples, model), lengths, wanted, strict=True):
        try:
            got = model.lengths.counted(model(x, n), n)[model.output].ravel() * scale
        except ValueError as error:
            raise ModelError(f"the int8 model cannot run: {error}") from None
        errors.append(min(1.0, float(np.linalg.norm(got - want) / (np.linalg.norm(want) or 1.0))))
    return float(np.mean(errors))


def output_scales(config: dict[str, Any]) -> dict[str, float]:
    """What one step of each layer's results stands for, of those that compute."""
    return {entry["name"]: entry["scale"] for entry in config["layers"] if "scale" in entry}
