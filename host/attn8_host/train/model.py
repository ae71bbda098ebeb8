"""A model that trains: layers, a loss and an optimizer that a config describes."""

from typing import Any

import numpy as np

from .. import layers
from ..layers.dense import parts
from ..model import Model as Base
from ..numerics.parameter import Parameter
from . import arithmetic as formats
from .clipping import ClipNorm
from .losses import MSE, CrossEntropy
from .optimizers import SGD, Adam
from .schedule import LinearSchedule

LOSSES: dict[str, Any] = {"cross_entropy": CrossEntropy, "mse": MSE}
OPTIMIZERS: dict[str, Any] = {"sgd": SGD, "adam": Adam}


class Model:
    """The layers in turn; what it computes is what a board computes.

    Args:
        config: as in a training file (see attn8_host.train).
        tensors: float parameters by name.
        numbers: a format's name in place of the config's.
        base: the int8 model whose first layers come before those that train, where they do.
    """

    def __init__(
        self, config: dict[str, Any], tensors: dict[str, np.ndarray], numbers: str | None = None,
        base: Base | None = None,
    ):
        self.f = formats.get(numbers or config["numbers"])
        words = {name: self.f.array(values) for name, values in tensors.items()}
        self.layers = []
        for entry in config["layers"]:
            layers.get(entry["type"]).check_training(entry)
            own = parts(f"{entry['name']}.", words)
            self.layers.append(layers.get(entry["type"]).trainable(self.f, entry, own, base))
        self.params: list[Parameter] = [p for x in self.layers for p in x.collect_params()]
        self.loss = LOSSES[config["loss"]](self.f)
        options = dict(config["optimizer"])
        self.optimizer = OPTIMIZERS[options.pop("type")](self.f, self.params, **options)
        self.clip = None
        if "clip_norm" in config:
            self.clip = ClipNorm(self.f, self.params, config["clip_norm"])
        self.schedule = None
        if "schedule" in config:
            self.schedule = LinearSchedule(**config["schedule"])
        self.steps = 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Words [input size] in, words of the last layer out."""
        for layer in self.layers:
            x = layer(x)
        return x.ravel()

    def backward(self) -> None:
        """Adds the gradients of the loss that was measured last to those of its batch."""
        grad = self.loss.grad
        for layer in reversed(self.layers):
            grad = layer.backward(grad)

    def accumulate(self, x: np.ndarray, target: Any) -> Any:
        """One sample forwards and backwards; returns its loss."""
        loss = self.loss(self(x), target)
        self.backward()
        return loss

    def step(self) -> None:
        """Trains with what was accumulated."""
        if self.clip:
            self.clip()
        self.optimizer.step(self.schedule(self.steps) if self.schedule else formats.ONE)
        self.steps += 1
