"""Runs a float model file's layers: what quantization is measured against."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import layers, tokenizer
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
            found = parts(entry, wanted[entry["name"]], tensors)
        except ModelError as error:
            text = str(error).replace("missing tensor", "the float model lacks")
            raise ModelError(text) from None
        for part, values in found.items():
            if values.size and not np.isfinite((values.min(), values.max())).all():
                raise ModelError(f"{entry['name']}.{part} {list(values.shape)}: holds NaN or "
                                 "infinities; train it again")
    tokenizer.of(config, tensors)
    refuse_unused({**wanted, "tokenizer": tokenizer.TENSORS}, tensors)


Run = Callable[..., dict[str, np.ndarray]]


def prepare(config: dict[str, Any], tensors: dict[str, np.ndarray]) -> Run:
    """A float model, from an input and the length of it that counts (by default all) to every
    layer's output under the int8 model's names.

    Args:
        config: of the model file.
        tensors: float, `layer.weight` [outputs, inputs] and `layer.bias` [outputs].

    Raises:
        ModelError: a tensor is missing or misshapen; when called, a layer does not fit what the
            one before gives, or has no float form.
    """
    steps = []
    for entry, sources in zip(config["layers"], inputs(config), strict=True):
        kind = layers.get(entry["type"])
        with named(entry["name"]):
            steps.append((entry, kind, sources, parts(entry, kind.float_tensors(entry), tensors)))

    following = Lengths(config)

    def run(x: np.ndarray, length: int | None = None) -> dict[str, np.ndarray]:
        lengths = following.of(length)
        outputs: dict[str, np.ndarray] = {}
        values = {"input": x}
        for entry, kind, sources, own in steps:
            name = entry["name"]
            first, *others = (values[source] for source in sources)
            with named(name):
                first = first.reshape(kind.shape(entry, Signal("float", first.size)))
                heeded = {} if lengths[name] is None else {"length": lengths[name]}
                found = kind.floating(entry, own, first, *others, **heeded)
            for part, result in found.items():
                outputs[f"{name}.{part}" if part else name] = result
            values[name] = found.get("", first)
        return outputs

    return run


def stepping(
    config: dict[str, Any], tensors: dict[str, np.ndarray]
) -> Callable[[np.ndarray], np.ndarray]:
    """A float model for one token after another: from a token to the last layer's results.

    Raises:
        ModelError: a layer takes more than one token at a time, or a tensor is missing.
    """
    tokens, steps = config["input"]["shape"][0], []
    for entry, sources in zip(config["layers"], inputs(config), strict=True):
        kind = layers.get(entry["type"])
        single = kind.one_token(entry, tokens)
        own = parts(entry, kind.float_tensors(entry), tensors)
        steps.append((entry["name"], single, kind, sources, kind.float_stepping(entry, own)))

    def step(x: np.ndarray) -> np.ndarray:
        values = {"input": x}
        for name, entry, kind, sources, layer in steps:
            first, *others = (values[source] for source in sources)
            first = first.reshape(kind.shape(entry, Signal("float", first.size)))
            values[name] = layer(first, *others).get("", first)
        return values[name].ravel()

    return step


def run(
    config: dict[str, Any], tensors: dict[str, np.ndarray], x: np.ndarray,
    length: int | None = None,
) -> dict[str, np.ndarray]:
    """The outputs of a float model for one input, floats or token ids; see `prepare`."""
    return prepare(config, tensors)(x, length)


@contextmanager
def named(layer: str) -> Iterator[None]:
    """Errors are ModelErrors that begin with the name of the layer that they are about."""
    try:
        yield
    except (ModelError, TypeError, ValueError) as error:
        text = str(error)
        text = text if text.startswith((layer, "missing tensor")) else f"{layer}: {text}"
        raise ModelError(text) from None
