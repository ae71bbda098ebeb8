from array import array

from .. import checks
from ..kernels.objects import typecode


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
