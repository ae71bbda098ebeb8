"""A model that trains: layers, a loss and an optimizer that a config describes."""

from typing import Any

import numpy as np

from .. import layers, modelfile
from ..errors import ModelError
from ..layers.base import TOKENS, TrainableLayer
from ..layers.dense import parts
from ..lengths import Lengths
from ..model import Model as Base
from ..numerics.parameter import Parameter
from . import arithmetic as formats
from .clipping import ClipNorm
from .losses import MSE, CrossEntropy, TokenCrossEntropy
from .optimizers import SGD, Adam, Direct
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
        asked: whether a backward pass finds `input_grad`, the gradient of the input.
    """

    input_grad: np.ndarray | None = None

    def __init__(
        self, config: dict[str, Any], tensors: dict[str, np.ndarray], numbers: str | None = None,
        base: Base | None = None, asked: bool = False,
    ):
        self.f = formats.get(numbers or config["numbers"])
        words = {name: self.f.array(values) for name, values in tensors.items()}
        self.layers: list[TrainableLayer] = []
        self._takes = []  # of each layer, the places of its inputs among the results
        self._asked = [asked]  # of each result, whether anyone asks for its gradient
        tokens = config["input"].get("tokens")
        self._lengths = Lengths(
            {**config, "input": {"shape": [tokens], "lengths": tokens is not None}})
        self._ids = config["input"].get("format") == TOKENS
        places = {"input": 0}
        for entry, sources in zip(config["layers"], modelfile.inputs(config), strict=True):
            kind = layers.get(entry["type"])
            kind.check_training(entry)
            own = parts(f"{entry['name']}.", words)
            layer = kind.trainable(self.f, entry, own, base)
            takes = [places[name] for name in sources]
            ids, forms = self._ids and 0 in takes, kind.input_formats
            if (TOKENS not in forms) if ids else (forms[0] == TOKENS):
                raise ModelError(f"{entry['name']}: an embedding takes token ids, of an input with "
                                 '"format": "tokens", and no other layer does')
            layer.asked = any(self._asked[i] for i in takes)
            layer.share({p.name: p for x in self.layers for p in x.collect_params()})
            self._asked.append(layer.asked or bool(layer.collect_params()))
            self._takes.append(takes)
            self.layers.append(layer)
            places[entry["name"]] = len(self.layers)
        self._names = list(places)
        self.params: list[Parameter] = [p for x in self.layers for p in x.collect_params()]
        labels = config.get("labels", 1)  # of a sample: one, or one of each token
        self.loss = LOSSES[config["loss"]](self.f)
        if labels > 1:
            if config["loss"] != "cross_entropy":
                raise ModelError(f"labels: expected 1 with {config['loss']}, got {labels}")
            self.loss = TokenCrossEntropy(self.f, labels)
        options = dict(config["optimizer"])
        self.direct = None
        if options.pop("direct", False):
            if options.keys() != {"type", "lr"} or options["type"] != "sgd":
                raise ModelError("optimizer: expected sgd without momentum where it is direct")
            self.direct = Direct(self.f, options["lr"], config.get("clip_norm"))
        else:
            self.optimizer = OPTIMIZERS[options.pop("type")](self.f, self.params, **options)
        self.clip = None
        if "clip_norm" in config and not self.direct:
            self.clip = ClipNorm(self.f, self.params, config["clip_norm"])
        self.schedule = None
        if "schedule" in config:
            self.schedule = LinearSchedule(**config["schedule"])
        self.steps = 0

    def words(self, x: np.ndarray, length: int | None = None) -> np.ndarray:
        """A sample of floats in words of the format, or token ids as they are; with its length
        where inputs have lengths."""
        found = np.ravel(x) if self._ids else self.f.array(x).ravel()
        return found if length is None else np.append(found, length)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Words [input size] in, words of the last layer out.

        Where inputs have lengths, x is one longer: its last word is its length.
        """
        if self._lengths.tokens is not None:
            told = self._lengths.of(int(x[-1]))
            for name, layer in zip(self._names[1:], self.layers, strict=True):
                if told[name] is not None:
                    layer.length = told[name]
            x = x[:-1]
        results = [x]
        for layer, takes in zip(self.layers, self._takes, strict=True):
            results.append(layer(*(results[i] for i in takes)))
        self._shapes = [result.shape for result in results]
        return results[-1].ravel()

    def backward(self) -> None:
        """Adds the gradients of the loss that was measured last to those of its batch, or trains
        with them at once."""
        grads: list[np.ndarray | None] = [None] * len(self._asked)
        grads[-1] = self.loss.grad.reshape(self._shapes[-1])
        for at in range(len(self.layers), 0, -1):
            grad = grads[at]
            if grad is None:
                continue
            found = self.layers[at - 1].backward(grad)
            if self.direct:
                for p in self.layers[at - 1].collect_params():
                    self.direct.train(p, self._factor)
            takes = self._takes[at - 1]
            for i, own in zip(takes, [found] if len(takes) == 1 else found, strict=True):
                before = grads[i]
                if self._asked[i]:
                    own = own.reshape(self._shapes[i])
                    grads[i] = own if before is None else self.f.add(before, own)
        self.input_grad = grads[0]

    def accumulate(self, x: np.ndarray, target: Any) -> Any:
        """One sample forwards and backwards; returns its loss."""
        loss = self.loss(self(x), target)
        self.backward()
        return loss

    def step(self) -> None:
        """Trains with what was accumulated."""
        if self.clip:
            self.clip()
        if not self.direct:
            self.optimizer.step(self._factor)
        self.steps += 1

    @property
    def _factor(self) -> int:
        """Of the learning rate, in this step."""
        return self.schedule(self.steps) if self.schedule else formats.ONE
