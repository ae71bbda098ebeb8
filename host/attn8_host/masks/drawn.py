"""Random masks, for ablations."""

from collections.abc import Iterator

from ..schema import between
from .mask import Mask


def random(seq_len: int, level: float, seed: int) -> Mask:
    """Each query sees level * seq_len keys, truncated, drawn without replacement.

    Args:
        seq_len: number of queries and of keys.
        level: 0 to 1 in steps of 1/1000: in integers a chip's floats draw the same mask.
        seed: 1 to 2**32 - 1, the state of xorshift32 (Marsaglia, 2003).
    """
    if isinstance(level, bool) or not 0 <= level <= 1:
        raise ValueError(f"level: expected 0 to 1, got {level}")
    between("seed", seed, 1, (1 << 32) - 1)
    count = int(level * 1000 + 0.5) * seq_len // 1000
    return Mask.from_keys(seq_len, _draws(seq_len, count, seed))


def _draws(seq_len: int, count: int, x: int) -> Iterator[list[int]]:
    keys = list(range(seq_len))
    for _ in range(seq_len):
        for n in range(count):
            x ^= (x << 13) & 0xFFFFFFFF
            x ^= x >> 17
            x ^= (x << 5) & 0xFFFFFFFF
            other = n + x % (seq_len - n)
            keys[n], keys[other] = keys[other], keys[n]
        yield sorted(keys[:count])
