"""The int8 layers of a model before those that train."""

from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import ModelError
from ..schema import INTEGER, INTEGERS, SIZE, WORD
from .base import INT8, TOKENS, Fields, LayerType, Tensors, TrainableLayer

SAMPLES = 1 << 12  # whose features are kept


class TrainableFront(TrainableLayer):
    """Plain integers in, numbers of the format out: int8 values times mult / 2**24.

    Args:
        model: the int8 model.
        last: the name of its last layer that is used.
        mult: the scale of that layer's values, times 2**24.
        f: the format of the numbers.
    """

    def __init__(self, f: Any, model: Any, last: str, mult: int):
        self.f = f
        self.model = model
        self.last = last
        self.mult = mult
        self._features = lru_cache(maxsize=SAMPLES)(self._made)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """What comes of a sample is the same in all epochs, and is computed once."""
        return self._features(x.astype(self.model.input_dtype).tobytes(), self.length)

    def _made(self, given: bytes, length: int | None) -> np.ndarray:
        x = np.frombuffer(given, self.model.input_dtype)
        y = self.model(x, length)[self.last].astype(np.int64)
        out: np.ndarray = self.f.array(((y * self.mult + 128) >> 8) / 2**16)
        out.flags.writeable = False
        return out


class Type(LayerType):
    """The first `count` layers of an int8 model; its path on the board, its last layer's name.

    lengths: where its inputs have lengths, how many tokens it gives of an input of 1, 2 ...; 0
    where these are not kept apart.
    """

    fields = {"model": WORD, "count": SIZE, "last": WORD, "mult": INTEGER}
    training_optional = {"lengths": INTEGERS}
    input_formats = (INT8, TOKENS)

    def tokens_of(self, entry: Fields, tokens: int) -> int | None:
        found = entry.get("lengths", [])
        return found[tokens - 1] or None if tokens <= len(found) else None

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableFront:
        if base is None:
            raise ModelError(f"{entry['name']}: needs the int8 model")
        if getattr(f, "frac", 16) != 16:
            raise ModelError(f"{entry['name']}: gives words of Q16.16; train in these numbers")
        return TrainableFront(f, base, entry["last"], entry["mult"])


TYPE = Type()
