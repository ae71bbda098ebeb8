import math

from ..pointwise import Activation

TOKENWISE = True


class GELU(Activation):
    # x * P(X < x), X being normal

    ROOMS = 1

    def function(self, x, out, n):
        self.p.normal(x, out, n)
        self.p.multiply(x, out, out, 1, n)

    def slope(self, x, out, n):
        # P(X < x) + x * density
        below = self.rooms[0]
        self.p.density(x, out, n)
        self.p.multiply(x, out, out, 1, n)
        self.p.normal(x, below, n)
        self.f.add(out, below, out, n)

    def real(self, x):
        return x * (1 + math.erf(x / math.sqrt(2))) / 2


def build(f, entry, given):
    kind = entry.word("approximate")
    if kind not in ("none", "tanh"):
        raise ValueError("%s.approximate: expected none or tanh, got %s" % (entry.name, kind))
    if kind == "tanh":
        from ..tanh_gelu import TanhGELU

        return TanhGELU(f, entry.name, given), given
    return GELU(f, entry.name, given), given
