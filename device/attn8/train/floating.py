from array import array

from .. import checks
from ..formats import require_doubles
from ..kernels import floating as kernels
from .arithmetic import Numbers
from .schedule import ONE


class Float(Numbers):
    # The board's own floats, through the native emitter: for comparison, slow, and it allocates.
    # The same operations as Fixed in arithmetic.py. What is kept is of single precision, or as
    # "double", where the board's floats are, of theirs.

    overflows = 0
    # All arrays are checked: what is no number must not go on from layer to layer
    given = property(lambda self: self, lambda self, x: None)

    def __init__(self, name="float"):
        self.name = name
        self._pointwise = None
        self.typecode = "f"
        self._bytes = 4
        if name == "double":
            require_doubles("numbers")
            self.typecode = "d"
            self._bytes = 8

    def recount(self, n):
        pass

    def zeros(self, n):
        return array(self.typecode, bytes(self._bytes * n))

    def clear(self, x, n):
        kernels.spread((0.0,), x, n, 1)

    def number(self, x):
        return float(x)

    def saturate(self, x):
        return x

    def accept(self, x, n, what):
        checks.values(what, x, n, False, self.typecode)
        if not kernels.finite(x, n):
            raise ValueError("%s: expected finite numbers, got NaN or infinity" % what)
        return x

    def product(self, rows, cols, inner, a, b, out, add=False):
        shape = rows, cols, inner, a[0], a[1], b[0], b[1], out[0], out[1], add

        def product(a, b, out, a_offset=0, b_offset=0, offset=0, again=False):
            kernels.matmul(a, b, out, shape, a_offset, b_offset, offset)

        return product

    def pointwise(self):
        if not self._pointwise:
            from .floating_pointwise import Pointwise

            self._pointwise = Pointwise(self)
        return self._pointwise

    def piece(self, view, x, first, n):
        return memoryview(x)[first : first + n]

    def spread(self, x, out, rows, columns):
        kernels.spread(x, out, rows, columns)

    def copy(self, x, out, start, to, rows, columns, step, stride):
        kernels.copy(x, out, start, to, rows, columns, step, stride)

    def column_sums(self, x, out, rows, columns):
        kernels.column_sums(x, out, rows, columns)

    def add(self, x, y, out, n):
        kernels.add(x, y, out, n, 1.0)

    def subtract(self, x, y, out, n):
        kernels.add(x, y, out, n, -1.0)

    def scale(self, x, out, n, factor):
        kernels.scale(x, out, n, factor)

    def relu(self, x, gate, out, n):
        kernels.relu(x, gate, out, n)

    def hide(self, scores, rows, columns, length, first):
        kernels.hide(scores, rows, columns, length, first)

    def factor(self, num, den):
        return num / den

    def softmax_scale(self, num, den):
        return (num / den) ** 0.5

    def softmax(self, scores, out, offset, rows, columns, scale):
        return kernels.softmax(scores, out, offset, rows, columns, scale)

    def softmax_backward(self, weights, offset, d, rows, columns, scale):
        kernels.softmax_backward(weights, offset, d, rows, columns, scale)

    def log(self, total):
        return total

    def sgd(self, param, velocity, momentum, lr, factor):
        kernels.sgd(param.value, param.grad, velocity, param.size,
                    _number(momentum) if momentum else 0.0, _number(lr) * factor / ONE)

    def adam_constants(self, beta1, beta2, lr, eps):
        return 1 - _number(beta1), 1 - _number(beta2), _number(eps)

    def adam(self, param, first, second, constants, lr, factor):
        rate1, rate2, eps = constants
        kernels.adam(param.value, param.grad, first, second, param.size, rate1, rate2,
                     _number(lr) * factor / ONE, eps)

    def clip(self, params, norm, size):
        total = 0.0
        for p in params:
            total += kernels.squares(p.grad, p.size)
        if total > norm * norm:
            factor = norm / total**0.5
            for p in params:
                kernels.scale(p.grad, p.grad, p.size, factor)


def _number(pair):
    return pair[0] / (1 << pair[1])
