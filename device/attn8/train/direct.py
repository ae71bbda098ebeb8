# SGD that trains a parameter as soon as a backward pass has its gradient, and keeps none: all take
# turns in the memory of the largest. A batch is one sample then, and there is no momentum.


class Direct:
    # value -= lr*grad, with grad scaled so that its Euclidean norm is at most max_norm, where that
    # is given: for each parameter alone, as they are never there together

    def __init__(self, f, params, lr, max_norm):
        self.f = f
        self.lr = lr
        self.factor = 0  # of the learning rate, see schedule.py
        self._norm = None if max_norm is None else f.number(max_norm)
        self._none = f.zeros(1)  # in the place of a velocity
        self._one = [None]
        for p in params:
            p.direct = self

    def clear(self, p):
        self.f.clear(p.grad, p.size)

    def train(self, p):
        if self._norm is not None:
            self._one[0] = p
            self.f.clip(self._one, self._norm, p.size)
        self.f.sgd(p, self._none, None, self.lr, self.factor)
