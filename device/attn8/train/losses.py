from .. import checks
from . import arithmetic

# A loss gives its value and leaves its gradient in `grad`. Gradients of the samples of a batch are
# summed, not averaged: small ones would be lost below the last bit.


class CrossEntropy:
    # log(sum(exp(logits))) - logits[label]; the gradient is softmax(logits) - onehot(label)

    def __init__(self, f, classes):
        self.f = f
        self.classes = checks.between("classes", classes, 2, arithmetic.MAX_COLUMNS)
        self._scale = f.softmax_scale(1, 1)
        self._one = f.number(1.0)
        self.grad = f.zeros(classes)

    def __call__(self, logits, label):
        f = self.f
        f.accept(logits, self.classes, "logits")
        checks.between("label", label, 0, self.classes - 1)
        total = f.softmax(logits, self.grad, 0, 1, self.classes, self._scale)
        self.grad[label] -= self._one
        return f.saturate(f.log(total) + max(logits) - logits[label])


class MSE:
    # mean((y - target)**2) over `size` values; the gradient is 2*(y - target)/size

    def __init__(self, f, size):
        self.f = f
        self.size = size
        self._factor = f.factor(1, size)
        self._product = f.product(1, 1, size, (size, 1), (size, 1), (1, 1))
        self.grad = f.zeros(size)
        self._value = f.zeros(1)

    def __call__(self, y, target):
        f = self.f
        f.accept(y, self.size, "outputs")
        f.accept(target, self.size, "target")
        grad = self.grad
        f.subtract(y, target, grad, self.size)
        self._product(grad, grad, self._value)
        f.scale(self._value, self._value, 1, self._factor)
        f.scale(grad, grad, self.size, self._factor)
        f.add(grad, grad, grad, self.size)
        return self._value[0]
