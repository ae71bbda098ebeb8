"""The choice of a token, in integers; the device module of the same name is its twin."""

from typing import Any

import numpy as np

from .errors import ModelError
from .layers.softmax import FINE, OCTAVES, Softmax, softmax_constants
from .schema import between

UNIT = 1000  # of a temperature and of top_p
MOST_MULT = 1 << 29


def thousandths(name: str, value: float, most: int) -> int:
    """A number in thousandths.

    Raises:
        TypeError: it is none.
        ModelError: it is not within 0 to `most`.
    """
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    if not 0 <= value <= most:
        raise ModelError(f"{name}: expected 0 to {most}, got {value:g}")
    return int(value * UNIT + 0.5)


class Sampler:
    """From logits to a token: the likeliest one at temperature 0, else one drawn from the
    probabilities of the fewest that have top_p of them all.

    A generator of 32 bits (Marsaglia, "Xorshift RNGs", 2003: 13, 17, 5) gives the draws, each 24
    bits. It begins at the seed's product with 2**32 over the golden ratio, as its first draws from
    small numbers are all near 0.

    Args:
        ratio: mult and shift: a difference of logits is difference * mult / 2**shift octaves / 4096
            at temperature 1.
        temperature, top_p: counted in thousandths.
        seed: a whole number of 32 bits.

    Raises:
        TypeError: one of these is no number, or the seed no whole one.
        ModelError: one is out of its range.
    """

    def __init__(self, ratio: dict[str, int], temperature: float, top_p: float, seed: int):
        self.temperature = thousandths("temperature", temperature, 100)
        self.top_p = thousandths("top_p", top_p, 1)
        try:
            between("seed", seed, 0, (1 << 32) - 1)
        except ValueError as error:
            raise ModelError(str(error)) from None
        self.state = (seed + 1) * 0x9E3779B1 & 0xFFFFFFFF or 1
        if self.temperature:
            shift = ratio["shift"]
            mult = max(1, min(ratio["mult"] * UNIT // self.temperature, MOST_MULT))
            limit = ((OCTAVES * FINE << shift) - (1 << shift >> 1) - 1) // mult
            self._softmax = Softmax(mult, shift, limit)

    def __call__(self, logits: np.ndarray) -> int:
        """int16 [vocabulary] -> a token."""
        if not self.temperature:
            return int(logits.argmax())
        p = self._softmax(logits.reshape(1, -1))[0].astype(np.int64)
        needed, least = (int(p.sum()) * self.top_p + UNIT - 1) // UNIT, 0
        for bit in range(15, -1, -1):
            if p[p >= least | 1 << bit].sum() >= needed:
                least |= 1 << bit
        kept = np.where(p >= least, p, 0)
        at = (self._random() >> 8) * int(kept.sum()) >> 24
        return int(np.flatnonzero(np.cumsum(kept) > at)[0])

    def _random(self) -> int:
        x = self.state
        x ^= x << 13 & 0xFFFFFFFF
        x ^= x >> 17
        x ^= x << 5 & 0xFFFFFFFF
        self.state = x
        return x


def ratio(scale: float) -> dict[str, int]:
    """What a Sampler needs of logits that stand for logit * scale.

    Raises:
        ModelError: the scale is not within 2**-20 to 2**10.
    """
    constants = softmax_constants(scale)
    return {"mult": constants["mult"], "shift": constants["shift"]}


def require_ratio(given: Any) -> None:
    """Raises ModelError unless this is what a Sampler needs, as a board takes it."""
    if not isinstance(given, dict) or sorted(given) != ["mult", "shift"]:
        raise ModelError(f"text: expected mult and shift, got {given}")
    for key, most in ("mult", MOST_MULT), ("shift", 14):
        try:
            between(f"text.{key}", given[key], 1, most)
        except (TypeError, ValueError) as error:
            raise ModelError(str(error)) from None
