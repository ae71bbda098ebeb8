"""Quantizes a float model file and measures what that costs (`attn8 quantize`)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from .. import float_model, inputs, modelfile
from ..errors import ModelError
from ..model import Model
from ..numerics.floating import cosine
from .model import quantize_model


@dataclass
class Agreement:
    """The int8 model against the float model, over the calibration inputs."""

    samples: int
    cosine: float  # of the last layer's outputs, mean over the samples
    lowest_cosine: float
    top1: float  # share of samples with the same largest output


def quantize_file(
    source: Path, calibration: Path, target: Path, console: Console | None = None,
    lengths: Path | None = None, activation_bits: int = 8,
) -> Agreement:
    """Writes the int8 model of a float model file.

    Args:
        source: model file with float tensors (see modelfile).
        calibration: .npy of float inputs like those to come, [samples, *input shape].
        target: the int8 model file to write.
        console: shows a progress bar.
        lengths: .npy of how many tokens of each calibration input count, if not all.
        activation_bits: as quantize_model has it.

    Raises:
        ModelError: a file cannot be read, the two do not fit, or the model cannot be quantized.
    """
    config, tensors = modelfile.read(source)
    samples = inputs.read(calibration, config).astype(np.float32)
    counts = inputs.read_lengths(lengths, config, len(samples))
    int8_config, int8_tensors = quantize_model(config, tensors, samples, counts, activation_bits)
    model = Model(int8_config, int8_tensors)
    last = model.output
    integers = inputs.integers(samples, int8_config)
    cosines, same = [], 0
    try:
        model(integers[0], counts[0])
    except (ModelError, ValueError) as error:
        raise ModelError(f"the int8 model cannot run: {error}") from None
    for i in track(range(len(samples)), "compare with float", console=console,
                   disable=console is None):
        actual = model(integers[i], counts[i])[last]
        wanted = float_model.run(config, tensors, samples[i], counts[i])[last]
        cosines.append(cosine(actual, wanted))
        same += int(actual.argmax() == wanted.argmax())
    modelfile.write(target, int8_config, int8_tensors)
    return Agreement(len(samples), float(np.mean(cosines)), min(cosines), same / len(samples))
