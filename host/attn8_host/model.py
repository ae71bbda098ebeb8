"""Runs a model file's layers; what it computes is what a board must send."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import arena, layers, tokenizer
from .errors import ModelError
from .feed import CHANNELS, feed, feeding
from .layers.base import INT8, TOKENS, Layer, Signal
from .lengths import Lengths
from .modelfile import inputs, parts, read, refuse_unused, require_short_header
from .numerics.scales import quantize
from .sampling import require_ratio
from .schema import require, whole


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
        self.input_signal = Signal(config["input"].get("format", INT8), self.input_size)
        self.input_dtype = np.dtype(np.int16 if self.input_signal.format == TOKENS else np.int8)
        self.lengths = Lengths(config)
        self.signals = given = {"input": self.input_signal}
        wanted = {}
        for entry, sources in zip(config["layers"], inputs(config), strict=True):
            name, kind = entry["name"], layers.get(entry["type"])
            kind.require_integers(entry)
            wanted[name] = kind.tensors(entry)
            signals = [given[source] for source in sources]
            given[name] = kind.connect(entry, signals)
            shape = kind.shape(entry, signals[0])
            own = parts(entry, wanted[name], tensors)
            for part, bounds in kind.ranges(entry, signals[0]).items():
                if part in own:
                    require(f"{name}.{part}", own[part], *bounds)
            layer = kind.build(entry, own, need_weights)
            self.layers.append((name, sources, shape, layer))
        self._channels, self._inner = feeding(config, tensors)
        wanted["input"] = {"channels": CHANNELS}
        self.tokenizer = tokenizer.of(config, tensors)
        if self.tokenizer is not None:
            require_ratio(config.get("text"))
        wanted["tokenizer"] = tokenizer.TENSORS
        refuse_unused(wanted, tensors)
        arena.check(config)
        self.output = next(name for name, *_, layer in reversed(self.layers) if layer)
        self._steps: list[tuple[str, list[str], Sequence[int], Layer | None]] = []
        self.output_size = given[self.output].size

    def feed(self, x: np.ndarray) -> np.ndarray:
        """The int8 input that a board makes of what a sensor gives.

        Args:
            x: numbers, [..., *input shape], floats or whole.

        Returns:
            int8 in the shape of x.

        Raises:
            ModelError: the file does not say how, or a value is NaN, infinite or beyond 32 bits.
        """
        x = np.asarray(x)
        if self._channels is None:
            if "scale" not in self.config["input"]:
                raise ModelError("the model has no input scale: give int8 inputs")
            return quantize(x, self.config["input"]["scale"])
        return feed(x.reshape(-1, self.input_size), self._channels, self._inner).reshape(x.shape)

    def __call__(self, x: np.ndarray, length: int | None = None) -> dict[str, np.ndarray]:
        """Every layer's output by name, for one input int8 [input_size], or int16 token ids.

        Args:
            x: the input.
            length: how many of its tokens count, by default all; those behind are padding.

        Raises:
            TypeError: the input is none of whole numbers.
            ValueError: it has not as many; the model takes no lengths, or not this one; or an id is
                in no vocabulary.
        """
        x = whole("input", x, self.input_size)
        lengths = self.lengths.of(length)
        outputs: dict[str, np.ndarray] = {}
        values = {"input": x}
        for name, sources, shape, layer in self.layers:
            first, *others = (values[source] for source in sources)
            values[name] = first
            if layer is not None:
                heeded = {} if lengths[name] is None else {"length": lengths[name]}
                for part, found in layer(first.reshape(shape), *others, **heeded).items():
                    outputs[f"{name}.{part}" if part else name] = found
                values[name] = outputs[name]
        return outputs

    def batch(self, x: np.ndarray, lengths: Sequence[int] | None = None) -> np.ndarray:
        """The last layer's results of several inputs, [inputs, ...]; lengths: one for each."""
        given = [None] * len(x) if lengths is None else lengths
        return np.stack([self(one, length)[self.output].ravel()
                         for one, length in zip(x, given, strict=True)])

    def step(self, x: np.ndarray) -> np.ndarray:
        """The last layer's results for the next token, bit for bit those of a whole pass.

        Args:
            x: one token of the input, whole numbers.

        Raises:
            ModelError: a layer takes more than one token at a time.
            TypeError: x is none of whole numbers.
            ValueError: it has not as many, or there is no room for another token.
        """
        x = whole("x", x, self.input_size // self.config["input"]["shape"][0])
        if not self._steps:
            self.reset()
        values = {"input": x}
        for name, sources, shape, layer in self._steps:
            first, *others = (values[source] for source in sources)
            values[name] = first
            if layer is not None:
                values[name] = layer(first.reshape(shape), *others)[""]
        return values[self.output].ravel()

    def prefill(self, tokens: np.ndarray) -> np.ndarray:
        """The last layer's results for the last of several next tokens, as so many steps.

        Args:
            tokens: whole numbers [n], n from 1.

        Raises:
            TypeError, ValueError: they are none, or as `step`.
        """
        return [self.step(token) for token in whole("tokens", tokens).reshape(-1, 1)][-1]

    def reset(self) -> None:
        """The next token is the first one of a new sequence.

        Raises:
            ModelError: a layer takes more than one token at a time.
        """
        tokens = self.config["input"]["shape"][0]
        given = {"input": Signal(self.input_signal.format, self.input_size // tokens)}
        self._steps = []
        for entry, sources in zip(self.config["layers"], inputs(self.config), strict=True):
            name, kind = entry["name"], layers.get(entry["type"])
            signals = [given[source] for source in sources]
            single = kind.one_token(entry, tokens)
            given[name] = kind.connect(single, signals)
            layer = kind.stepping(entry, parts(entry, kind.tensors(entry), self.tensors))
            self._steps.append((name, sources, kind.shape(single, signals[0]), layer))


def load(path: Path | str, need_weights: bool = True) -> Model:
    """Loads an int8 model file; `need_weights` as for Model.

    Raises:
        ModelError: it is not a model that attn8 can run; with what is wrong.
    """
    config, tensors = read(Path(path))
    require_short_header(Path(path))
    try:
        return Model(config, tensors, need_weights)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
