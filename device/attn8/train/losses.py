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
        if logits is not f.given:
            f.accept(logits, self.classes, "logits")
        checks.between("label", label, 0, self.classes - 1)
        total = f.softmax(logits, self.grad, 0, 1, self.classes, self._scale)
        self.grad[label] -= self._one
        return f.saturate(f.log(total) + max(logits) - logits[label])
