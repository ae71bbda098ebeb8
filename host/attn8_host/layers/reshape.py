"""A shape for what follows: tensors are flat on the board, so this is only a check."""

import numpy as np

from ..schema import SHAPE
from .base import Fields, LayerType, Signal, Tensors
from .quantizer import Quantizer


class Type(LayerType):
    """What it takes."""

    computes = False
    tokenwise = True
    tied = moves = True
    fields = {"shape": SHAPE}

    def one_token(self, entry: Fields, tokens: int) -> Fields:
        return {**entry, "shape": [int(np.prod(entry["shape"])) // tokens]}

    def shape(self, entry: Fields, given: Signal) -> tuple[int, ...]:
        return tuple(entry["shape"])

    def takes(self, entry: Fields, given: Signal) -> str:
        return given.format

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> None:
        return None

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return {}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        pass


TYPE = Type()
