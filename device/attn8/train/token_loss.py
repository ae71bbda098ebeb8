from array import array

from .. import checks, signals
from ..kernels import cache
from ..kernels.objects import typecode
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


class TokenLabels:
    # Makes of what a sample says of its `count` tokens an array that the next one overwrites: of
    # each the label, or where it says None the id that comes next; -1 where that does not count.
    # tokens: that a sample has at most whose last value is its length, else None.

    def __init__(self, count, classes, tokens):
        self._found = array("h", bytes(2 * count))
        self._classes = classes
        self._heeds = tokens == count
        self._size = count + (tokens is not None)

    def __call__(self, i, x, labels):
        found = self._found
        left = len(found)
        if self._heeds:
            left = checks.between("sample %d: length" % i, x[len(x) - 1], 1, left)
        if labels is None and typecode(x) & 127 == ord("h") and len(x) == self._size:
            labels, first = x, 1
            left -= 1
        elif isinstance(labels, (list, tuple, array)) and len(labels) == len(found):
            first = 0
        else:
            raise ValueError("sample %d: label: expected a list of %d, one a token, got %s"
                             % (i, len(found), labels))
        count = 0
        for t in range(len(found)):
            label = -1
            if t < left and labels[t + first] >= 0:
                label = labels[t + first]
                count += 1
                if not isinstance(label, int) or label >= self._classes:
                    checks.between("sample %d: label" % i, label, 0, self._classes - 1)
            found[t] = label
        if not count:
            raise ValueError("sample %d: no token of it has a label" % i)
        return found
