"""Quantises a float model file and measures what that costs (`attn8 quantize`)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from .. import modelfile
from ..errors import ModelError
from ..reference import Model, floating
from .integers import quantize
from .model import quantize_model


@dataclass
class Agreement:
    """The int8 model against the float model, over the calibration inputs."""

    samples: int
    cosine: float  # of the last layer's outputs, mean over the samples
    lowest_cosine: float
    top1: float  # share of samples with the same largest output


def quantize_file(
    source: Path, calibration: Path, target: Path, console: Console | None = None
) -> Agreement:
    """Writes the int8 model of a float model file.

    Args:
        source: model file with float tensors (see modelfile).
        calibration: .npy of float inputs like those to come, [samples, *input shape].
        target: the int8 model file to write.
        console: shows a progress bar.

    Raises:
        ModelError: a file cannot be read, the two do not fit, or the model cannot be quantised.
    """
    config, tensors = modelfile.read(source)
    inputs = _inputs(calibration, config)
    int8_config, int8_tensors = quantize_model(config, tensors, inputs)
    model = Model(int8_config, int8_tensors)
    last = model.layers[-1][0]
    scale = int8_config["input"]["scale"]
    cosines, same = [], 0
    for x in track(inputs, "compare with float", console=console, disable=console is None):
        actual = model(quantize(x, scale))[last].ravel().astype(np.float64)
        wanted = floating.run(config, tensors, x)[last].ravel()
        norm = np.linalg.norm(actual) * np.linalg.norm(wanted)
        cosines.append(float(actual @ wanted / norm) if norm else 1.0)
        same += int(actual.argmax() == wanted.argmax())
    modelfile.write(target, int8_config, int8_tensors)
    return Agreement(len(inputs), float(np.mean(cosines)), min(cosines), same / len(inputs))


def _inputs(path: Path, config: dict) -> np.ndarray:
    try:
        inputs = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except (OSError, ValueError):
        raise ModelError(f"{path}: not a .npy file of numbers") from None
    if not isinstance(inputs, np.ndarray):
        raise ModelError(f"{path}: expected one array (.npy), got an archive of several (.npz)")
    shape = config["input"]["shape"]
    fits = inputs.ndim == len(shape) + 1 and list(inputs.shape[1:]) == shape and len(inputs) > 0
    if not fits or not np.issubdtype(inputs.dtype, np.number):
        wanted = ", ".join(["samples", *map(str, shape)])
        raise ModelError(
            f"{path}: expected numbers [{wanted}], got {inputs.dtype} {list(inputs.shape)}"
        )
    inputs = inputs.astype(np.float32)
    if not np.isfinite(inputs).all():
        raise ModelError(f"{path}: it holds NaN or infinite values")
    return inputs
