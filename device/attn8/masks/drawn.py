# Random masks, for ablations
from .. import checks
from .mask import Mask, length


def random(seq_len, level, seed):
    # Each query sees level * seq_len keys, truncated, that xorshift32 draws without replacement.
    # level is 0 to 1 in steps of 1/1000: with integers a chip's floats draw the same mask.
    checks.refuse("real", "level", level, 0, 1)
    checks.between("seed", seed, 1, 0xFFFFFFFF)
    count = int(level * 1000 + 0.5) * length(seq_len) // 1000
    return Mask.from_keys(seq_len, _draws(seq_len, count, seed))


def _draws(seq_len, count, x):
    keys = list(range(seq_len))
    for _ in range(seq_len):
        for n in range(count):
            x ^= (x << 13) & 0xFFFFFFFF
            x ^= x >> 17
            x ^= (x << 5) & 0xFFFFFFFF
            other = n + x % (seq_len - n)
            keys[n], keys[other] = keys[other], keys[n]
        yield sorted(keys[:count])
