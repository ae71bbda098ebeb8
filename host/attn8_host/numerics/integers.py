"""The integer arithmetic that every reference module shares."""

import numpy as np

# One octave of 2**-x in Q16: EXP2[f] = 2**(16 - f/256)
EXP2 = np.minimum(np.floor(2.0 ** (16 - np.arange(256) / 256) + 0.5), 65535).astype(np.int64)

INT32 = np.iinfo(np.int32)
MASKED = -(1 << 30)  # a score that no query sees


def int32(x: np.ndarray) -> np.ndarray:
    """Passes x on, int64, if a chip's word can hold each value.

    Raises:
        OverflowError: it cannot: the constants or the shapes break the specification's bounds.
    """
    x = np.asarray(x, np.int64)
    if x.size and (x.min() < INT32.min or x.max() > INT32.max):
        raise OverflowError(f"a value leaves int32: {x.min()}..{x.max()}")
    return x


def rounded(a: np.ndarray, mult: np.ndarray | int, shift: np.ndarray | int) -> np.ndarray:
    """floor((a * mult + 2**(shift - 1)) / 2**shift), as int64, in 32-bit steps.

    `a` is int32 with |a| < 2**30; 0 <= mult <= 2**15; 16 <= shift <= 45.
    """
    a = int32(a)
    mult, shift = np.asarray(mult, np.int64), np.asarray(shift, np.int64)
    y = int32(int32((a >> 15) * mult) + (int32((a & 32767) * mult) >> 15))
    result: np.ndarray = int32(y + (np.int64(1) << (shift - 16))) >> (shift - 15)
    return result


def requant(
    a: np.ndarray, mult: np.ndarray | int, shift: np.ndarray | int, form: str = "int8"
) -> np.ndarray:
    """`rounded`, clamped to +-127 as int8, or to +-32767 as int16."""
    return saturated(rounded(a, mult, shift), form)


def saturated(a: np.ndarray, form: str = "int8", most: int | None = None) -> np.ndarray:
    """Integers clamped to the symmetric range of a format, "int8" or "int16", or to +-most."""
    most = np.iinfo(form).max if most is None else most
    result: np.ndarray = np.clip(a, -most, most).astype(form)
    return result


def exp2(t: np.ndarray, extra: np.ndarray | int = 0) -> np.ndarray:
    """2**(15 + extra - t/256) for t >= 0 in 1/256 octaves, rounded, as int64."""
    octaves = np.minimum((t >> 8) - extra, 30)
    right, left = np.maximum(octaves, 0), np.maximum(-octaves, 0)
    result: np.ndarray = ((EXP2[t & 255] >> right << left) + 1) >> 1
    return result


def bit_length(x: np.ndarray) -> np.ndarray:
    """Bits that each x >= 0 needs, as int.bit_length counts them."""
    return np.frexp(np.asarray(x, np.float64))[1].astype(np.int64)
