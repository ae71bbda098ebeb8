from . import UNIT, Function


class Softsign(Function):
    # x / (1 + |x|)

    ROOMS = 1

    def begin(self):
        f = self.f
        if f.typecode == "i":
            from ...kernels.fixed_linear import reciprocals
            from ...kernels.fixed_norm import stretch

            self._limits = f.frac, f.limit, f.count
        else:
            from ...kernels.floating_linear import reciprocals, stretch

            self._limits = 0, 0, None
        self._reciprocals, self._stretch = reciprocals, stretch
        one = self.word(UNIT)
        self.c = self.constant(0, 0, -one, 0, one)

    def _over(self, out, n):
        # out over what the room has
        _, limit, count = self._limits
        self._stretch(out, 0, self.rooms[0], n, 1, limit, count)

    def _below(self, x, out, n):
        # 1 / (1 + |x|) as `stretch` takes it, in the room; out: ones
        f, below = self.f, self.rooms[0]
        self.steps(x, self.c, below, n)
        self.p.multiply(x, below, below, 1, n)
        f.spread(self.p.one, out, n, 1)
        f.add(below, out, below, n)
        self._reciprocals(below, 0, below, n, self._limits[0])

    def function(self, x, out, n):
        self._below(x, out, n)
        self.times(x, self.p.one, out, n)
        self._over(out, n)

    def slope(self, x, out, n):
        self._below(x, out, n)
        self._over(out, n)
        self._over(out, n)

    def real(self, x):
        return x / (1 + abs(x))


class Square(Function):
    def function(self, x, out, n):
        self.p.multiply(x, x, out, 1, n)

    def slope(self, x, out, n):
        self.f.add(x, x, out, n)

    def real(self, x):
        return x * x


KINDS = {"softsign": Softsign, "square": Square}
