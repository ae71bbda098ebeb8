"""Runs a model file's layers; what it computes is what a board must send."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import layers
from .errors import ModelError
from .layers.base import Layer, Signal
from .modelfile import inputs, parts, read, refuse_unused


class Model:
    """A model file's layers in NumPy.

    Args:
        config: the JSON config of the file's metadata.
        tensors: the file's tensors.
        need_weights: whether the outputs include all scores and attention weights.

    Raises:
        ModelError: a tensor is missing, misshapen or unused, or the layers do not fit each other.
    """

    def __init__(
        self, config: dict[str, Any], tensors: dict[str, np.ndarray], need_weights: bool = True
    ):
        self.config = config
        self.need_weights = need_weights
        self.tensors = tensors
        self.name: str = config["name"]
        self.input_size = int(np.prod(config["input"]["shape"]))
        # Name, names of its inputs, shape of the first input, and the layer
        self.layers: list[tuple[str, list[str], Sequence[int], Layer | None]] = []
        given = {"input": Signal("int8", self.input_size)}
        wanted = {}
        for entry, sources in zip(config["layers"], inputs(config), strict=True):
            name, kind = entry["name"], layers.get(entry["type"])
            kind.require_integers(entry)
            wanted[name] = kind.tensors(entry)
            signals = [given[source] for source in sources]
            given[name] = kind.connect(entry, signals)
            shape = kind.shape(entry, signals[0])
            layer = kind.build(entry, parts(entry, wanted[name], tensors), need_weights)
            self.layers.append((name, sources, shape, layer))
        refuse_unused(wanted, tensors)
        self.output = next(name for name, *_, layer in reversed(self.layers) if layer)

    def __call__(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Every layer's output by name, for one input int8 [input_size]."""
        outputs: dict[str, np.ndarray] = {}
        values = {"input": x}
        for name, sources, shape, layer in self.layers:
            first, *others = (values[source] for source in sources)
            values[name] = first
            if layer is not None:
                for part, found in layer(first.reshape(shape), *others).items():
                    outputs[f"{name}.{part}" if part else name] = found
                values[name] = outputs[name]
        return outputs


def load(path: Path | str, need_weights: bool = True) -> Model:
    """Loads an int8 model file; `need_weights` as for Model.

    Raises:
        ModelError: it is not a model that attn8 can run; with what is wrong.
    """
    config, tensors = read(Path(path))
    try:
        return Model(config, tensors, need_weights)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
