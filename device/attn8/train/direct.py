# SGD that trains a parameter as soon as a backward pass has its gradient, and keeps none: all take
# turns in the memory of the largest. A batch is one sample then, and there is no momentum.
from ..kernels.fixed_optimizers import root
from .schedule import ONE


class Direct:
    # value -= lr*grad, with grad scaled so that its Euclidean norm is at most max_norm, where that
    # is given: for each parameter alone, as they are never there together

    def __init__(self, f, params, lr, max_norm):
        self.f = f
        self.lr = lr
        self.factor = 0  # of the learning rate, see schedule.py
        self.norm = None if max_norm is None else f.number(max_norm)
        self._none = f.zeros(1)  # in the place of a velocity
        self._one = [None]
        for p in params:
            p.direct = self

    def clear(self, p):
        self.f.clear(p.grad, p.size)

    def train(self, p):
        if self.norm is not None:
            self._one[0] = p
            self.f.clip(self._one, self.norm, p.size)
        self.step(p)

    def step(self, p):
        self.f.sgd(p, self._none, None, self.lr, self.factor)


class Columns:
    # The weight of a Dense, which trains n of its columns at a time, to the same bits: its gradient
    # is made once for its norm, perhaps twice, and then again, piece by piece. The columns of dx
    # that a piece gives come before it trains, so that dx may be x itself.

    def __init__(self, f, layer, n):
        rows, m, k = layer.rows, layer.outputs, layer.inputs
        self.weight = layer.weight
        self.inputs = k
        self.n = n
        self.size = n * m
        self.grad = layer.weight.grad
        self.value = None
        self._product_weight = f.product(n, m, rows, (1, k), (1, m), (1, n))
        if layer.dx is not None:
            self._product_x = f.product(n, rows, m, (1, k), (m, 1), (1, k))
        if self.size > len(f.operands):
            f.operands = f.zeros(self.size)  # where values of a piece lie side by side

    def __call__(self, f, grad, x, dx):
        n, k, words = self.n, self.inputs, f.words
        m = self.size // n
        weight, direct = self.weight, self.weight.direct
        mult, counted = ONE, direct.norm is not None
        if counted:
            mult = self._clipped(f, grad, x, direct.norm)
        self.value = f.operands
        at = 0
        while at < k:
            before = f.overflows
            self._product_weight(x, grad, self.grad, at)
            if counted:
                f.recount(before)
            if dx is not None:
                self._product_x(weight.value, grad, dx, at, 0, at)
            if mult < ONE:
                words.scale(self.grad, 0, self.grad, self.size, mult, 15)
            f.copy(weight.value, self.value, at, 0, m, n, k, n)
            direct.step(self)
            f.copy(self.value, weight.value, 0, at, m, n, n, k)
            at += n

    def _clipped(self, f, grad, x, norm):
        # By what a gradient is scaled whose norm is over `norm`, in 2**-15; see Fixed.clip
        n, size, words = self.n, self.weight.size, f.words
        peak = at = total = 0
        while at < self.inputs:
            self._product_weight(x, grad, self.grad, at)
            peak = max(peak, words.peak(self.grad, 0, self.size))
            at += n
        shift = f.shift(peak, size)
        if not shift and (peak + 1) * (root(size) + 1) < norm:
            return ONE
        before = f.overflows
        while at:
            at -= n
            self._product_weight(x, grad, self.grad, at)
            total += words.squares(self.grad, 0, self.size, shift)
        f.recount(before)
        return f.share(total, norm, shift)
