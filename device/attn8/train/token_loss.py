from .. import signals
from ..kernels import cache
from .losses import CrossEntropy


class TokenCrossEntropy:
    # Cross entropy of each of `tokens` rows of logits, a label each; a row with a label below 0
    # does not count. -> the mean of those that do; the gradients of the rows are those of each
    # alone, so that those of a sample are summed, as those of a batch are.

    def __init__(self, f, tokens, classes):
        self.f = f
        self.tokens = tokens
        self.classes = classes
        self.grad = f.zeros(tokens * classes)
        self._one = CrossEntropy(f, classes)
        self._row = f.zeros(classes)
        self._bytes = classes * signals.ITEMSIZES[f.typecode]
        self._whole = f.typecode == "i"

    def __call__(self, logits, labels):
        f, n, one = self.f, self._bytes, self._one
        f.accept(logits, self.tokens * self.classes, "logits")
        f.clear(self.grad, len(self.grad))
        total = count = 0
        for i in range(self.tokens):
            if labels[i] >= 0:
                cache.copy(logits, i * n, self._row, 0, n)
                total += one(self._row, int(labels[i]))
                cache.copy(one.grad, 0, self.grad, i * n, n)
                count += 1
        if not count:
            return total
        return total // count if self._whole else total / count
