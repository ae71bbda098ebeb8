from ..kernels.fixed_optimizers import root
from .arithmetic import ratio
from .schedule import ONE

# lr, momentum, beta and eps are floats, or (mult, shift) pairs (see formats.ratio) where boards and
# host must take exactly the same. step() takes the learning rate's factor, ONE being 1 (see
# schedule.py), and clears the gradients.


def _pair(x):
    return x if isinstance(x, (tuple, list)) else ratio(x)


class SGD:
    # velocity = momentum*velocity + grad; value -= lr*velocity

    def __init__(self, f, params, lr, momentum=None):
        self.f = f
        self.params = params
        self.lr = _pair(lr)
        self.momentum = _pair(momentum) if momentum else None
        none = f.zeros(1)
        self.velocities = [f.zeros(p.size) if momentum else none for p in params]

    def step(self, factor=ONE):
        for i in range(len(self.params)):
            self.f.sgd(self.params[i], self.velocities[i], self.momentum, self.lr, factor)


class Adam:
    # m and v: running means of grad and grad**2; value -= lr * c * m/(sqrt(v) + eps), with the
    # correction of their start from zero c = sqrt(1 - beta2**t)/(1 - beta1**t) of step t.
    # In fixed point gradients count up to sqrt(2): clip their norm to 1 (see clipping.py).

    def __init__(self, f, params, lr, beta1=0.9, beta2=0.999, eps=0.001):
        self.f = f
        self.params = params
        self.lr = _pair(lr)
        beta1, beta2 = _pair(beta1), _pair(beta2)
        self.constants = f.adam_constants(beta1, beta2, self.lr, _pair(eps))
        self.correction = Correction(beta1, beta2)
        self.first = [f.zeros(p.size) for p in params]
        self.second = [f.zeros(p.size) for p in params]

    def step(self, factor=ONE):
        factor = (factor * self.correction.next() + (ONE >> 1)) >> 15
        for i in range(len(self.params)):
            self.f.adam(self.params[i], self.first[i], self.second[i], self.constants, self.lr,
                        factor)


class Correction:
    # Adam's c in Q15, step by step; it is at most 1 where 1 - beta2 <= (1 - beta1)**2

    def __init__(self, beta1, beta2):
        self._beta1 = beta1
        self._beta2 = beta2
        self._power1 = self._power2 = ONE << 14

    def next(self):
        self._power1 = _times(self._power1, self._beta1)
        self._power2 = _times(self._power2, self._beta2)
        top = min(root(((1 << 29) - self._power2) << 1), ONE - 1)
        return min(ONE, (top << 15) // (ONE - (self._power1 >> 14)))


def _times(x, pair):
    mult, shift = pair
    return ((x >> 15) * mult + (((x & 32767) * mult) >> 15)) >> (shift - 15)
