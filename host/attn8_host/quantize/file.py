"""Quantizes a float model file and measures what that costs (`attn8 quantize`)."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from .. import inputs, layers, modelfile
from ..errors import ModelError
from ..model import Model
from ..numerics.floating import cosine
from .best import best, output_scales
from .model import Calibration
from .ranges import METHODS
from .written import writes, written

BEST = "best"
CALIBRATE = (BEST, *METHODS)


@dataclass
class LayerError:
    """One layer's results in int8 against floats, over all inputs; an error adds to the next."""

    name: str
    type: str
    max_error: float  # over the largest magnitude of the float results
    mean_error: float  # of the magnitudes, over the same
    cosine: float  # mean over the samples


@dataclass
class Agreement:
    """The int8 model against the float model, over the calibration inputs; the keys of the JSON."""

    samples: int
    top1_agreement: float  # share of samples, of text of tokens, with the same largest output
    cosine: float  # of the last layer's outputs, mean over the samples
    lowest_cosine: float
    input_calibration: str  # how the ranges were found, of ranges.METHODS
    activation_calibration: str
    layers: list[LayerError]
    warnings: list[str]  # about the calibration inputs

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def quantize_file(
    source: Path, calibration: Path | None, target: Path, console: Console | None = None,
    lengths: Path | None = None, calibrate: str = BEST, activation_bits: int = 8,
    form: str | None = None, cache: str | None = None,
) -> Agreement:
    """Writes the int8 model of a float model file.

    Args:
        source: model file with float tensors (see modelfile).
        calibration: .npy of float inputs like those to come, [samples, *input shape]; None: a model
            of text writes its own (see written).
        target: the int8 model file to write.
        console: shows a progress bar.
        lengths: .npy of how many tokens of each calibration input count, if not all.
        calibrate: how ranges are found, of CALIBRATE.
        activation_bits: as quantize_model has it.
        form: of numerics.formats, which layers that can compute in it do where they say no other.
        cache: the format of past keys and values, where their entries do not say it.

    Raises:
        ModelError: a file cannot be read, the two do not fit, or the model cannot be quantized.
    """
    config, tensors = modelfile.read(source)
    if form:
        config = saying(config, "format", form)
    if cache:
        config = saying(config, "cache", cache)
    samples = written(config, tensors) if calibration is None else inputs.read(calibration, config)
    samples = samples.astype(np.float32)
    counts = inputs.read_lengths(lengths, config, len(samples))
    calibrating = Calibration(config, tensors, samples, counts, activation_bits)
    if calibrate == BEST and calibration is None:  # int16 takes the largest values
        calibrate = METHODS[0]
    methods = best(calibrating) if calibrate == BEST else (calibrate, calibrate)
    int8_config, int8_tensors = calibrating.quantized(*methods)
    model = Model(int8_config, int8_tensors, False)
    scales = output_scales(int8_config)
    clamped = _clamped(int8_config)
    errors = {name: _Error(scales[name], name in clamped) for name in scales}
    cosines, same = [], 0.0
    fed = inputs.integers(samples, model)
    for x, given, n in zip(track(samples, "compare with float", console=console,
                              disable=console is None), fed, counts, strict=True):
        try:
            actual = model.lengths.counted(model(given, n), n)
        except ValueError as error:
            raise ModelError(f"the int8 model cannot run: {error}") from None
        wanted = calibrating.following.counted(calibrating.run(x, n), n)
        for name in errors.keys() & wanted.keys():
            errors[name].add(actual[name], wanted[name])
        cosines.append(cosine(actual[model.output], wanted[model.output]))
        same += agreement(actual[model.output], wanted[model.output], writes(config, tensors))
    modelfile.write(target, int8_config, int8_tensors)
    rows = [errors[entry["name"]].row(entry) for entry in config["layers"]
            if entry["name"] in errors]
    return Agreement(len(samples), same / len(samples), float(np.mean(cosines)), min(cosines),
                     *methods, rows, calibrating.measured(methods[0])[0].warnings)


def agreement(actual: np.ndarray, wanted: np.ndarray, of_text: bool) -> float:
    """Whether two results have their largest value at one place; of text, how many tokens do."""
    if not of_text:
        return float(actual.argmax() == wanted.argmax())
    return float((actual.argmax(axis=-1) == wanted.argmax(axis=-1)).mean())


def saying(config: dict[str, Any], field: str, value: str) -> dict[str, Any]:
    """A float model whose layers have a value in a field where they can and do not say theirs.

    Raises:
        ModelError: none of them can, or one says what does not go with it.
    """
    entries = []
    for entry in config["layers"]:
        kind = layers.get(entry["type"])
        can = field in {**kind.fields, **kind.optional} and field not in entry
        entries.append({**entry, field: value} if can else entry)
        kind.check(entries[-1])
    if entries == config["layers"]:
        raise ModelError(f"--{field} {value}: no layer takes it; leave it out")
    return {**config, "layers": entries}


class _Error:
    """Of one layer, over several inputs; of what a ReLU behind it cuts off nothing is asked."""

    def __init__(self, scale: float, clamped: bool):
        self.scale, self.clamped = scale, clamped
        self.largest = self.peak = self.total = 0.0
        self.count = 0
        self.cosines: list[float] = []

    def add(self, actual: np.ndarray, wanted: np.ndarray) -> None:
        got, want = actual.ravel() * self.scale, wanted.ravel().astype(np.float64)
        if self.clamped:
            most = np.iinfo(actual.dtype).max * self.scale
            want = np.clip(want, -most, most)
        error = np.abs(got - want)
        self.largest = max(self.largest, float(error.max()))
        self.peak = max(self.peak, float(np.abs(want).max()))
        self.total += float(error.sum())
        self.count += error.size
        self.cosines.append(cosine(got, want))

    def row(self, entry: dict[str, Any]) -> LayerError:
        over = self.peak or 1.0
        return LayerError(entry["name"], entry["type"], self.largest / over,
                          self.total / self.count / over, float(np.mean(self.cosines)))


def _clamped(config: dict[str, Any]) -> set[str]:
    """The layers whose range is that of what alone follows them (see model.range_of)."""
    users: dict[str, list[str]] = {}
    for entry, names in zip(config["layers"], modelfile.inputs(config), strict=True):
        for name in names:
            users.setdefault(name, []).append(entry["type"])
    formatted = {entry["name"] for entry in config["layers"]
                 if layers.get(entry["type"]).format_of(entry)}
    return {name for name, types in users.items()
            if len(types) == 1 and layers.get(types[0]).keeps_scale and name not in formatted}
