"""What a board found of one window, and what a model's tensors are for who looks at them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import ModelError
from ..layers.base import TOKENS
from ..model import Model
from ..numerics import floating
from ..terminal import printable

MOST_CLASSES = 1000
WHOLE = (1 << 16) - 1  # what an attention weight of 1 is in `Result.maps`


@dataclass
class Result:
    """One inference.

    Attributes:
        signal: what the model was given, as the sensor gave it: numbers [samples, channels].
        probabilities: float64 [classes].
        maps: of each head of `Shown.layers` in turn, uint16 [queries, keys]: the share of each key
            in steps of 1 / WHOLE.
        microseconds: that the board took.
        heap: bytes of the board's Python heap, in use and in all, after a collection.
        by_board: whether the board computed the maps, or NumPy from the same input.
        length: how many tokens count, where they are not all; those behind are padding.
        truth: the class that it is, where that is known.
        gaps: how often samples came so late that a new window was begun.
    """

    signal: np.ndarray
    probabilities: np.ndarray
    maps: list[np.ndarray]
    microseconds: int
    heap: tuple[int, int]
    by_board: bool = True
    length: int | None = None
    truth: int | None = None
    gaps: int = 0

    @property
    def answer(self) -> int:
        return int(self.probabilities.argmax())


@dataclass
class About:
    """What stays while results come.

    Attributes:
        model: its name.
        classes: their names.
        layers: names of those with attention maps, and [heads, queries, keys] of each.
        source: where the signal comes from.
        rate: samples a second, where a sensor gives them.
        picture: rows and columns, where the window is an image.
        board: what it says that it is.
    """

    model: str
    classes: list[str]
    layers: dict[str, tuple[int, int, int]]
    source: str
    rate: float | None = None
    picture: tuple[int, int] | None = None
    board: str = ""


class View(Protocol):
    """Where results are shown."""

    def about(self, about: About) -> None:
        """Called once a board is there, and again after it was lost."""

    def status(self, state: str, text: str) -> None:
        """What goes on: state is "starting", "live", "lost" or "ended"."""

    def result(self, seconds: float, result: Result) -> None:
        """A result, and how long after the first one it came."""


class Shown:
    """What a model's tensors mean.

    Args:
        model: that keeps all weights.
        names: of its classes; None: their numbers.

    Raises:
        ModelError: the model takes text, its last layer gives no probabilities and nothing that
            they can be computed from, or there are other names than classes.
    """

    def __init__(self, model: Model, names: Sequence[str] | None = None):
        self.model = model
        if model.config["input"].get("format") == TOKENS:
            raise ModelError("it takes text; attn8 generate --attention shows what it attends to")
        last: dict[str, Any] = next(entry for entry in model.config["layers"]
                                    if entry["name"] == model.output)
        self._scale = last.get("scale")
        count = model.output_size
        if last["type"] == "softmax":
            if last["rows"] != 1:
                raise ModelError(f"{model.output}: expected one row of probabilities, got "
                                 f"{last['rows']}")
            self._scale = None
        elif self._scale is None:
            raise ModelError(f"{model.output}: the last layer has neither softmax nor scale, so "
                             "that there are no probabilities; make the file with attn8 quantize")
        if not 2 <= count <= MOST_CLASSES:
            raise ModelError(f"{model.output}: expected 2 to {MOST_CLASSES} classes, got {count}")
        if names is not None and len(names) != count:
            raise ModelError(f"expected {count} names of classes, as many as the model gives "
                             f"values, got {len(names)}")
        self.classes = [printable(str(name)) for name in names or range(count)]
        self._shapes = {name: found.shape
                        for name, found in model(np.zeros(model.input_size, np.int8)).items()}
        self.layers: dict[str, tuple[int, int, int]] = {}
        for name, shape in self._shapes.items():
            layer, _, _ = name.rpartition(".weights.")
            if layer and len(shape) == 2:
                heads = self.layers.get(layer, (0,))[0]
                self.layers[layer] = (heads + 1, *shape)

    @property
    def tensors(self) -> list[str]:
        """Those of the board that `probabilities` and `maps` take."""
        heads = [(layer, h) for layer, (n, *_) in self.layers.items() for h in range(n)]
        found = [f"{layer}.{part}.{h}" for layer, h in heads for part in ("weights", "sums")]
        return [name for name in [*found, self.model.output] if name in self._shapes]

    def probabilities(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """float64 [classes]: what the last softmax gives, or that of what the last layer's results
        stand for."""
        values = tensors[self.model.output].ravel().astype(np.float64)
        if self._scale is None:
            return values / 2**15
        found: np.ndarray = floating.softmax(values[None] * self._scale)[0]
        return found

    def maps(self, tensors: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """See `Result.maps`."""
        found = []
        for layer, (heads, *shape) in self.layers.items():
            for h in range(heads):
                weights = tensors[f"{layer}.weights.{h}"].reshape(shape).astype(np.float64)
                sums = tensors.get(f"{layer}.sums.{h}", weights.sum(axis=1)).reshape(-1, 1)
                shares = weights / np.maximum(sums, 1)
                found.append(np.rint(np.clip(shares, 0, 1) * WHOLE).astype(np.uint16))
        return found
