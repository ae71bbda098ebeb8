"""Runs a float model file's layers: what quantization is measured against."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import layers
from .errors import ModelError
from .layers.base import Signal
from .lengths import Lengths
from .modelfile import inputs, parts, refuse_unused


def check(config: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """Raises ModelError unless the tensors are floats of the shapes in the config, each used."""
    wanted = {}
    for entry in config["layers"]:
        kind = layers.get(entry["type"])
        wanted[entry["name"]] = kind.float_tensors(entry)
        try:
            parts(entry, wanted[entry["name"]], tensors)
        except ModelError as error:
            text = str(error).replace("missing tensor", "the float model lacks")
            raise ModelError(text) from None
    refuse_unused(wanted, tensors)


def run(
    config: dict[str, Any], tensors: dict[str, np.ndarray], x: np.ndarray,
    length: int | None = None,
) -> dict[str, np.ndarray]:
    """Every layer's output of a float model, under the names of the int8 model's outputs.

    Args:
        config: of the model file.
        tensors: float, `layer.weight` [outputs, inputs] and `layer.bias` [outputs].
        x: float input, or token ids.
        length: how many of its tokens count, by default all.

    Raises:
        ModelError: a layer does not fit what the one before gives, or has no float form.
    """
    outputs: dict[str, np.ndarray] = {}
    values = {"input": x}
    lengths = Lengths(config).of(length)
    for entry, sources in zip(config["layers"], inputs(config), strict=True):
        name, kind = entry["name"], layers.get(entry["type"])
        first, *others = (values[source] for source in sources)
        with named(name):
            own = parts(entry, kind.float_tensors(entry), tensors)
            first = first.reshape(kind.shape(entry, Signal("float", first.size)))
            heeded = {} if lengths[name] is None else {"length": lengths[name]}
            found = kind.floating(entry, own, first, *others, **heeded)
        for part, result in found.items():
            outputs[f"{name}.{part}" if part else name] = result
        values[name] = found.get("", first)
    return outputs


@contextmanager
def named(layer: str) -> Iterator[None]:
    """Errors are ModelErrors that begin with the name of the layer that they are about."""
    try:
        yield
    except (ModelError, TypeError, ValueError) as error:
        text = str(error)
        text = text if text.startswith((layer, "missing tensor")) else f"{layer}: {text}"
        raise ModelError(text) from None
