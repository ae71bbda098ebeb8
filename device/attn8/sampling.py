from . import checks
from .kernels import tokens
from .layers.softmax import Softmax


class Sampler:
    # From logits, array('h') [n], to a token: the likeliest one at temperature 0, else one drawn
    # from the probabilities of the fewest that have top_p of them all. mult, shift: a difference of
    # logits is difference * mult / 2**shift octaves / 4096 at temperature 1. temperature and top_p
    # count in thousandths, seed in 32 bits.

    def __init__(self, n, mult, shift, temperature=0, top_p=1, seed=1):
        self._n = checks.between("tokens", n, 1, (1 << 15) - 1)
        checks.between("mult", mult, 1, 1 << 29)
        checks.between("shift", shift, 1, 14)
        temperature = thousandths("temperature", temperature, 100)
        self._top_p = thousandths("top_p", top_p, 1)
        checks.between("seed", seed, 0, 0xFFFFFFFF)
        self._state = (seed + 1) * 0x9E3779B1 & 0xFFFFFFFF or 1
        self._softmax = None
        if temperature:
            mult = max(1, min(mult * 1000 // temperature, 1 << 29))
            limit = ((65536 << shift) - (1 << shift >> 1) - 1) // mult
            self._softmax = Softmax(1, n, mult, shift, min(limit, (1 << 30) - 1), "int16")

    def __call__(self, logits):
        n = self._n
        checks.values("logits", logits, n, False, "h")
        if self._softmax is None:
            return tokens.largest(logits, 0, n)
        p = self._softmax(logits)
        needed = (tokens.total(p, n, 0) * self._top_p + 999) // 1000
        least = 0
        bit = 1 << 15
        while bit:
            if tokens.total(p, n, least | bit) >= needed:
                least |= bit
            bit >>= 1
        at = (self._random() >> 8) * tokens.total(p, n, least) >> 24
        return tokens.draw(p, n, least, at)

    def _random(self):
        # Marsaglia's xorshift of 32 bits
        x = self._state
        x ^= x << 13 & 0xFFFFFFFF
        x ^= x >> 17
        x ^= x << 5 & 0xFFFFFFFF
        self._state = x
        return x


def thousandths(name, value, most):
    if not isinstance(value, (int, float)) or not 0 <= value <= most:
        checks.refuse("real", name, value, 0, most)
    return int(value * 1000 + 0.5)
