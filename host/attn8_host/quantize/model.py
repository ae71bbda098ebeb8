"""Quantizes whole models after training."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import arena, float_model, layers, modelfile, sampling, tokenizer
from ..errors import ModelError
from ..layers.base import TOKENS
from ..layers.quantizer import Quantizer, Stream
from ..lengths import Lengths
from ..modelfile import inputs
from . import channels
from .channels import Channels
from .ranges import Histogram, measure
from .streams import arrange

STREAM_PEAK = 16383  # of the largest value seen: 14 bits, and as much room again


LARGEST = 1e100  # of what a layer gives: products of two of them stay finite

def quantize_model(
    config: dict[str, Any], tensors: dict[str, np.ndarray], calibration: np.ndarray,
    lengths: Sequence[int | None] | None = None, inputs: str = "absmax",
    activations: str = "absmax", activation_bits: int = 8,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Quantizes a float model after training.

    Activation scales are the ranges that the float model shows on the calibration inputs, over 127;
    tensors that a mean or a softmax averages get their own. What `add` takes and gives is a stream:
    int16 with one scale, the largest magnitude over 16383, between convert layers where it meets
    int8 (see streams). Channels of the input get scales and offsets of their own where that is
    worth it (see channels).

    Args:
        config: of the float model; without an input scale the calibration inputs give one.
        tensors: float32, named as in torch.nn.Linear: `layer.weight` [outputs, inputs].
        calibration: float inputs [samples, ...], or token ids.
        lengths: how many tokens of each of them count; None: all.
        inputs, activations: how their ranges are found, of ranges.METHODS.
        activation_bits: 8, or 16 where int16 is to feed products; of all layers that do not say it.

    Returns:
        The config with scales and integer constants, and the integer tensors.

    Raises:
        ModelError: a tensor is missing, misshapen or unused, or a layer's scales leave what its
            integers can express.
    """
    calibrating = Calibration(config, tensors, calibration, lengths, activation_bits)
    return calibrating.quantized(inputs, activations)


class Calibration:
    """A float model and the inputs that it is quantized with.

    Args: those of `quantize_model`.
    """

    def __init__(
        self, config: dict[str, Any], tensors: dict[str, np.ndarray], inputs: np.ndarray,
        lengths: Sequence[int | None] | None = None, activation_bits: int = 8,
    ):
        self.tensors, self.inputs = tensors, inputs
        self.lengths = lengths or [None] * len(inputs)
        self.activation_bits = activation_bits
        self._measured: dict[str, tuple[Channels, dict[str, Histogram]]] = {}
        with _about():
            for entry in config["layers"]:
                with float_model.named(entry["name"]):
                    layers.get(entry["type"]).require_floats()
            float_model.check(config, tensors)
            modelfile.check_config(config)
            self.config = config = {**config, "layers": [
                piece for entry in config["layers"]
                for piece in layers.get(entry["type"]).pieces(entry)]}
            modelfile.check_config(config)
            self.following = Lengths(config)
            self.run = float_model.prepare(config, tensors)

    def measured(self, method: str) -> "tuple[Channels, dict[str, Histogram]]":
        """The input's channels, and the ranges of all tensors behind an input that is so clamped.

        Raises:
            ModelError: as `quantize_model`.
        """
        if method not in self._measured:
            with _about(), np.errstate(over="ignore", invalid="ignore"):  # the peaks are looked at
                found = channels.measure(self.config, self.tensors, self.inputs, method,
                                         self.lengths)
                clamped = found.clamp(self.inputs)
                bounded = {f"{entry['name']}.{part}" for entry in self.config["layers"]
                           for part in layers.get(entry["type"]).bounded}
                self._measured[method] = found, measure(self.run, clamped, self.lengths,
                                                        self.following, bounded)
        return self._measured[method]

    def quantized(
        self, inputs: str, activations: str
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The int8 model; as `quantize_model`."""
        found, histograms = self.measured(inputs)
        with _about(), np.errstate(over="ignore", invalid="ignore"):
            return _quantize(self.config, self.tensors, found, histograms, activations,
                             self.activation_bits)


@contextmanager
def _about() -> Iterator[None]:
    """Errors are ModelErrors that say that they are about the float model."""
    try:
        yield
    except ModelError as error:
        text = str(error)
        if not text.startswith("the float model"):
            text = f"the float model cannot be quantized: {text}"
        raise ModelError(text) from None


def _quantize(
    config: dict[str, Any], tensors: dict[str, np.ndarray], found: Channels,
    histograms: dict[str, Histogram], method: str, activation_bits: int,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    for name, histogram in histograms.items():
        if histogram.peak == 0:
            raise ModelError(f"{name} is 0 throughout the calibration inputs")
        if not histogram.peak < LARGEST:
            raise ModelError(f"{name} becomes {histogram.peak:g} with the calibration inputs")
    scale, shape = found.scale, tuple(config["input"]["shape"])
    if found.folded:
        scales, offsets = (np.broadcast_to(found.spread(each, shape), shape)
                           for each in (found.scales / scale, found.offsets))
        tensors = channels.fold(config, tensors, scales, offsets) or {}
    peaks = {name: histogram.range(method) for name, histogram in histograms.items()}
    whole = {name: histogram.peak for name, histogram in histograms.items()}  # of int16
    peaks["input"] = whole["input"] = 127 * scale
    bounds = {name: histogram.bounds for name, histogram in histograms.items() if histogram.bounds}
    layout = arrange(config, activation_bits)
    for entry, names in zip(config["layers"], inputs(config), strict=True):
        for each in (peaks, whole):
            each.setdefault(entry["name"], each[names[0]])  # of a layer that does nothing
    for name, source in layout.converted.items():
        peaks[name], whole[name] = peaks[source], whole[source]
    streams = {root: Stream(max(whole[name] for name in names) / STREAM_PEAK)
               for root, names in layout.groups.items()}
    for _ in range(2 * len(streams)):
        entries, made = _integers(
            layout.entries, {name: streams[root] for name, root in layout.streams.items()},
            tensors, peaks, whole, scale, bounds,
        )
        # What all layers of a stream can express is known when they are through
        coarse = [stream for stream in streams.values() if stream.finest > stream.scale]
        if not coarse:
            about = config["input"]
            if about.get("format") != TOKENS:
                made["input.channels"] = found.constants()
                about = {**about, **found.entry()}
            made |= {key: tensors[key] for key in tokenizer.KEYS & tensors.keys()}
            about = {**config, "input": about, "layers": entries}
            if tokenizer.KEYS & tensors.keys():
                about["text"] = sampling.ratio(entries[-1]["scale"])
            return arena.assign(about), made
        for stream in coarse:
            stream.scale = stream.finest
    raise ModelError("no scale of its int16 tensors is one that all of their layers can express")


def _integers(
    entries: list[dict[str, Any]], streams: dict[str, Stream], tensors: dict[str, np.ndarray],
    peaks: dict[str, float], whole: dict[str, float], scale: float,
    bounds: dict[str, tuple[np.ndarray, np.ndarray]],
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    entries = [dict(entry) for entry in entries]
    sources = inputs({"layers": entries})
    following: dict[str, list[dict[str, Any]]] = {}
    for entry, names in zip(entries, sources, strict=True):
        for name in names:
            following.setdefault(name, []).append(entry)

    def range_of(name: str) -> float:
        """What a ReLU behind a layer cuts off, for one, needs no range."""
        while len(following.get(name, ())) == 1:
            (entry,) = following[name]
            if not layers.get(entry["type"]).keeps_scale:
                break
            name = entry["name"]
        return peaks[name]

    quantizer = Quantizer(tensors, peaks, whole, range_of, scale, streams=streams, bounds=bounds)
    scales = {"input": scale}
    for entry, names in zip(entries, sources, strict=True):
        kind = layers.get(entry["type"])
        quantizer.inputs = [scales[name] for name in names]
        quantizer.scale = quantizer.inputs[0]
        quantizer.wide = names[0] in streams
        with float_model.named(entry["name"]):
            kind.quantize(entry, quantizer)
        scales[entry["name"]] = quantizer.scale
        if kind.computes:
            entry["scale"] = quantizer.scale
    return entries, quantizer.made
