from array import array

from .. import checks, tables
from ..kernels import fixed_norm
from ..kernels import fixed_pointwise as kernels

PIECE = 256  # values whose slopes are there at a time; half of them where parameters train directly


class Pointwise:
    # What layers that compute value by value need of fixed point besides what all do, one for each
    # format

    def __init__(self, f):
        self.f = f
        self.one = array("i", [f.number(1.0)])

    def norm(self, name, rows, n, eps):
        return Rows(self.f, name, rows, n, eps)

    def multiply(self, x, y, out, rows, columns, add=0):
        # out[r, j] = x[r, j] * y[j], or added to out
        f = self.f
        kernels.multiply(x, 0, y, out, rows, columns, add, f.frac, f.limit, f.count)

    def within(self, x, out, n, most):
        kernels.within(x, 0, out, n, most << self.f.frac)

    def sigmoid(self, x, out, n):
        kernels.sigmoid(x, 0, out, tables.EXP2, n, 0, self.f.frac)

    def tanh(self, x, out, n):
        kernels.sigmoid(x, 0, out, tables.EXP2, n, 1, self.f.frac)

    def normal(self, x, out, n):
        kernels.normal(x, 0, out, tables.EXP2, n, 0, self.f.frac)

    def density(self, x, out, n):
        kernels.normal(x, 0, out, tables.EXP2, n, 1, self.f.frac)


class Activation:
    # A function of each of `size` values, piece by piece: `function(x, out, n)`, and its slope
    # where the layer was called last, `slope(x, out, n)`, of what READS says: of what it took, or
    # of "out", what it gave. rooms: as many arrays of a piece as ROOMS says, to compute in.

    ROOMS = 0
    READS = ("x",)
    PIECES = True

    def __init__(self, f, name, size):
        self.f = f
        self.name = name
        self.size = size
        self.p = f.pointwise()
        self.piece = n = min(size, PIECE // 2 if f.rooms and f.rooms.direct else PIECE)
        self.rooms = [f.room("spare", n) for _ in range(self.ROOMS)]
        self.slopes = f.room("back", n)
        self._pieces = [memoryview(b"") for _ in range(2)]
        self.x = None
        self.out = f.room("out", size)
        self.dx = f.room("dx", size)

    def function(self, x, out, n):
        raise NotImplementedError

    def slope(self, x, out, n):
        raise NotImplementedError

    def __call__(self, x):
        f = self.f
        self.x = f.accept(x, self.size, self.name)
        at = 0
        while at < self.size:
            n = min(self.piece, self.size - at)
            of, out = self._pieces[0], self._pieces[1]
            self.function(f.piece(of, x, at, n), f.piece(out, self.out, at, n), n)
            at += n
        return self.out

    def backward(self, grad):
        f, slope = self.f, self.slopes
        read = self.x if "x" in self.READS else self.out
        f.accept(grad, self.size, self.name)
        at = 0
        while at < self.size:
            n = min(self.piece, self.size - at)
            of, out = self._pieces[0], self._pieces[1]
            self.slope(f.piece(of, read, at, n), slope, n)
            self.p.multiply(f.piece(of, grad, at, n), slope, f.piece(out, self.dx, at, n), 1, n)
            at += n
        return self.dx

    def collect_params(self):
        return []

    def real(self, x):
        # The function, in the board's floats
        raise NotImplementedError

    def requantize(self, r, fields, scale):
        after = r.result(fields)
        wide = fields.get("output") == "int16"
        if wide:  # lines between the results of -32768, -32640 ... 32768
            table, first, step, most = array("h", bytes(1026)), -256, 128 * scale, 32767
        else:
            table, first, step, most = array("b", bytes(256)), -128, scale, 127
        for i in range(len(table)):
            y = self.real((first + i) * step) / after
            table[i if wide else i ^ 128] = int(max(-most, min(most, (y + 0.5) // 1)))
        r.put(self.name, "table", table)
        return after


class Rows:
    # What a norm does to `rows` of n values; see kernels.fixed_norm. eps is mult / 2**shift.

    def __init__(self, f, name, rows, n, eps):
        self.f = f
        self._size = rows, n
        mult, shift = eps
        whole = (mult << (2 * f.frac + 12)) * n >> shift
        if whole >> 45:
            raise ValueError("%s.eps: expected less" % name)
        places = 14
        while n << (2 * places) >= 1 << 30:
            places -= 1
        root = 1 << 14
        while (root + 1) * (root + 1) <= n << (2 * places):
            root += 1
        self._shape = array("i", (f.frac, whole >> 16, whole & 65535, root, places))
        self._factors = array("i", bytes(4 * rows))

    def centre(self, x, out):
        f, (rows, n) = self.f, self._size
        fixed_norm.centre(x, 0, out, rows, n, f.limit, f.count)

    def normalize(self, x, out):
        rows, n = self._size
        fixed_norm.normalize(x, 0, out, rows, n, self._shape, self._factors)

    def project(self, d, z):
        f, (rows, n) = self.f, self._size
        fixed_norm.project(d, 0, z, rows, n, f.frac, f.limit, f.count)

    def stretch(self, d):
        f, (rows, n) = self.f, self._size
        fixed_norm.stretch(d, 0, self._factors, rows, n, f.limit, f.count)


class Norm:
    # Rows of `features` values over their root mean square, with eps, and times weight; `centred`:
    # without their mean, and plus bias. eps is (mult, shift), mult / 2**shift.

    READS = ("x",)
    DIRECT = LATE = True

    def __init__(self, f, name, rows, features, eps, centred):
        self.f = f
        self.name = name
        self.rows = rows
        self.features = n = checks.between(name + ".features", features, 1, 4096)
        self.p = f.pointwise()
        self.room = f.room("spare", rows * n)
        self._of = self.p.norm(name, rows, n, eps)
        self.weight = f.parameter(name + ".weight", n)
        self.bias = f.parameter(name + ".bias", n) if centred else None
        self.x = None
        self.out = f.room("out", rows * n)
        self.dx = f.room("dx", rows * n)

    def _normalize(self):
        # x normalized, in the room
        z, x = self.room, self.x
        if self.bias:
            self._of.centre(x, z)
            x = z
        self._of.normalize(x, z)
        return z

    def __call__(self, x):
        rows, n = self.rows, self.features
        self.x = self.f.accept(x, rows * n, self.name)
        if self.bias:
            self.f.spread(self.bias.value, self.out, rows, n)
        self.p.multiply(self._normalize(), self.weight.value, self.out, rows, n,
                        1 if self.bias else 0)
        return self.out

    def backward(self, grad):
        f, rows, n = self.f, self.rows, self.features
        dx = self.dx
        f.accept(grad, rows * n, self.name)
        z = self._normalize()
        self.p.multiply(grad, z, dx, 1, rows * n)
        f.column_sums(dx, self.weight.begin(), rows, n)
        if self.bias:
            f.column_sums(grad, self.bias.begin(), rows, n)
            self.bias.end()
        self.p.multiply(grad, self.weight.value, dx, rows, n)
        self.weight.end()
        if self.bias:
            self._of.centre(dx, dx)
        self._of.project(dx, z)
        self._of.stretch(dx)
        return dx

    def collect_params(self):
        return [self.weight, self.bias] if self.bias else [self.weight]

    def requantize(self, r, fields, scale):
        after = r.result(fields)
        r.norm(self, fields, r.took[0] / scale, after)
        return after


def norm(f, entry, given, centred):
    # -> what `build` of a norm gives
    n = entry.size("features")
    eps = small(entry)
    if given % n:
        raise ValueError("%s.features: expected a divisor of the %d values before, got %d"
                         % (entry.name, given, n))
    return Norm(f, entry.name, given // n, n, eps, centred), given


def small(entry):
    # -> eps of an entry, as (mult, shift)
    eps = entry.take("eps")
    if type(eps) is not list or [type(part) for part in eps] != [int, int]:
        raise ValueError("%s.eps: expected [mult, shift], mult / 2**shift, got %s"
                         % (entry.name, eps))
    checks.between(entry.name + ".eps", eps[0], 0, 1 << 15)
    checks.between(entry.name + ".eps", eps[1], 0, 60)
    return eps
