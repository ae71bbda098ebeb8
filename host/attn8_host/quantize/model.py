"""Quantizes whole models after training."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import float_model, layers
from ..errors import ModelError
from ..layers.base import TOKENS
from ..layers.quantizer import Quantizer, Stream
from ..modelfile import inputs
from .streams import arrange

STREAM_PEAK = 16383  # of the largest value seen: 14 bits, and as much room again


def quantize_model(
    config: dict[str, Any], tensors: dict[str, np.ndarray], calibration: np.ndarray,
    lengths: Sequence[int | None] | None = None, activation_bits: int = 8,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Quantizes a float model after training.

    Activation scales are the largest magnitudes that the float model shows on the calibration
    inputs, over 127; tensors that a mean or a softmax averages get their own. What `add` takes and
    gives is a stream: int16 with one scale, the largest magnitude over 16383, between convert
    layers where it meets int8 (see streams).

    Args:
        config: of the float model; without an input scale the calibration inputs give one.
        tensors: float32, named as in torch.nn.Linear: `layer.weight` [outputs, inputs].
        calibration: float inputs [samples, ...], or token ids.
        lengths: how many tokens of each of them count; None: all.
        activation_bits: 8, or 16 where int16 is to feed products; of all layers that do not say it.

    Returns:
        The config with scales and integer constants, and the integer tensors.

    Raises:
        ModelError: a tensor is missing, misshapen or unused, or a layer's scales leave what its
            integers can express.
    """
    try:
        for entry in config["layers"]:
            with float_model.named(entry["name"]):
                layers.get(entry["type"]).require_floats()
        float_model.check(config, tensors)
        with np.errstate(over="ignore", invalid="ignore"):  # the peaks are looked at
            return _quantize(config, tensors, calibration, lengths or [None] * len(calibration),
                             activation_bits)
    except ModelError as error:
        text = str(error)
        if not text.startswith("the float model"):
            text = f"the float model cannot be quantized: {text}"
        raise ModelError(text) from None


def _quantize(
    config: dict[str, Any], tensors: dict[str, np.ndarray], calibration: np.ndarray,
    lengths: Sequence[int | None], activation_bits: int,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    peaks: dict[str, float] = {}
    for x, length in zip(calibration, lengths, strict=True):
        for name, values in float_model.run(config, tensors, x, length).items():
            peaks[name] = np.maximum(peaks.get(name, 0.0), np.abs(values).max()).item()
    for name, peak in peaks.items():
        if peak == 0:
            raise ModelError(f"{name} is 0 throughout the calibration inputs")
        if not peak < np.inf:
            raise ModelError(f"{name} becomes {peak:g} with the calibration inputs")
    scale = config["input"].get("scale") or float(np.abs(calibration).max()) / 127
    peaks["input"] = float(np.abs(calibration).max())
    layout = arrange(config, activation_bits)
    for entry, names in zip(config["layers"], inputs(config), strict=True):
        peaks.setdefault(entry["name"], peaks[names[0]])  # of a layer that does nothing
    for name, source in layout.converted.items():
        peaks[name] = peaks[source]
    streams = {root: Stream(max(peaks[name] for name in names) / STREAM_PEAK)
               for root, names in layout.groups.items()}
    for _ in range(2 * len(streams)):
        entries, made = _integers(
            layout.entries, {name: streams[root] for name, root in layout.streams.items()},
            tensors, peaks, scale,
        )
        # What all layers of a stream can express is known when they are through
        coarse = [stream for stream in streams.values() if stream.finest > stream.scale]
        if not coarse:
            taken = config["input"]
            if taken.get("format") != TOKENS:
                taken = {**taken, "scale": scale}
            return {**config, "input": taken, "layers": entries}, made
        for stream in coarse:
            stream.scale = stream.finest
    raise ModelError("no scale of its int16 tensors is one that all of their layers can express")


def _integers(
    entries: list[dict[str, Any]], streams: dict[str, Stream], tensors: dict[str, np.ndarray],
    peaks: dict[str, float], scale: float,
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

    quantizer = Quantizer(tensors, peaks, range_of, scale, streams=streams)
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
