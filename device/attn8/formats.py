# Number formats of the layers that do not compute in int8.
import math
from array import array

from . import checks

# typecode, bytes, fractional bits
FORMATS = {"Q8.8": ("h", 2, 8), "Q16.16": ("i", 4, 16), "Q24.8": ("i", 4, 8), "float": ("f", 4, 0),
            "double": ("d", 8, 0)}
_everything = type("", (), {"__getitem__": lambda self, part: part})()[:]  # the slice [:], once


class Format:
    # "Q8.8", "Q16.16" and "Q24.8" are signed fixed point: arrays of raw integers, a number times
    # 2**frac. rounding ("nearest", half up, or "truncate") is that of each product; overflow
    # ("wrap" or "saturate") that of each product and sum. "float" is IEEE single precision on every
    # board, "double" is for those whose own floats are doubles.

    def __init__(self, name, rounding="nearest", overflow="wrap"):
        for what, value, known in (("format", name, FORMATS),
                                   ("rounding", rounding, ("nearest", "truncate")),
                                   ("overflow", overflow, ("wrap", "saturate"))):
            if type(value) is not str or value not in known:
                raise ValueError("%s: expected one of %s, got %s"
                                 % (what, ", ".join(sorted(known)), value))
        self.name = name
        self.code, self.itemsize, self.frac = FORMATS[name]
        self._half = (1 << self.frac) >> 1 if rounding == "nearest" else 0
        self._saturate = 1 if overflow == "saturate" else 0
        self.acc = 0
        if self.frac == 0:
            from .kernels.float import matmul

            if name == "double":
                require_doubles("format")
            self.acc = self.zeros(2)
        elif self.itemsize == 2:
            from .kernels.qformat import matmul16 as matmul
        else:
            from .kernels.qformat import matmul32 as matmul
        self.matmul = matmul  # (a, acc, b, bias, out, plan)

    def zeros(self, n):
        return array(self.code, bytes(n * self.itemsize))

    def plan(self, shape, a, b, bias, out, relu=0):
        # Of a product out = bias + a @ b: shape is (rows, inner, columns); the steps are those of
        # a (row, inner), b (inner, column), bias (column), out (row, column)
        unit = self.itemsize if self.frac else 1
        steps = [unit * step for step in a + b + (bias,) + out]
        return array("i", list(shape) + steps + [self.frac, self._half, self._saturate, relu])

    def encode(self, what, value):
        # A number as an array element
        checks.refuse("real", what, value, -1e30, 1e30)
        if self.frac == 0:
            return float(value)
        if isinstance(value, int):
            raw = value << self.frac
        else:
            raw = math.floor(value * (1 << self.frac) + 0.5)
        most = 1 << (8 * self.itemsize - 1)
        if not -most <= raw < most:
            raise ValueError("%s: expected a number of %s, got %s" % (what, self.name, value))
        return raw

    def decode(self, raw):
        return raw / (1 << self.frac) if self.frac else raw

    def copy(self, what, x, target):
        # x into a memoryview of an array of this format
        checks.values(what, x, len(target), False, self.code)
        target[_everything] = x

    def fill(self, layer, entry, *shapes):
        # Takes the parameters of a layer in this format, of these shapes
        for part, shape in zip(("weights", "biases"), shapes):
            values = entry.tensor(part, self.code, shape)
            self.copy(entry.name + "." + part, values, memoryview(getattr(layer, part)))


def require_doubles(what):
    if math.ldexp(1.0, -30) + 1.0 == 1.0:
        raise ValueError("%s: this board's floats are single; take float, got double" % what)


def arithmetic(entry):
    # rounding and overflow of a layer in a format, in a model's config
    return entry.word("rounding", "nearest"), entry.word("overflow", "wrap")
