# From what a sensor gives to a model's int8 input, in integers: the numerics page has the formula.
from array import array

from . import checks
from .kernels.feed import feed as kernel
from .kernels.objects import typecode

MOST = (1 << 30) - 1
_CODES = {ord("f"): 0, ord("i"): 1, ord("l"): 1, ord("h"): 2}  # of the kernel


def feed(values, channels, inner, out):
    # values: array('f'), array('h') or array('i'), or a list of numbers, as many as out int8
    # holds; channels int32 [channels, 4]: frac, offset, mult, shift; inner: values between one of a
    # channel and the next channel's. What is beyond int8 is clamped; NaN and inf are refused.
    check(values)
    n = len(out)
    if len(values) != n:
        raise ValueError("feed: expected %d values, got %d" % (n, len(values)))
    count = len(channels) // 4
    wrong = put(values, 0, channels, count, inner, out, 0, n, None)
    if wrong < n:
        raise ValueError("feed: value %d, channel %d: expected a finite number, got %s"
                         % (wrong, wrong // inner % count, values[wrong]))
    return out


def check(values):
    if typecode(values) & 127 not in _CODES and not isinstance(values, (list, tuple)):
        raise TypeError("feed: expected array('f'), array('h'), array('i') or a list of numbers, "
                        "got %s" % type(values).__name__)


def put(values, start, channels, count, inner, out, first, n, one):
    # out[first + i] of values[start + i], i < n, where `check` lets them pass -> n, or the first i
    # that is not finite. one: (array('i'), array('f')) of one value each, where a list's numbers
    # pass through; None makes them. Allocates nothing else.
    code = _CODES.get(typecode(values) & 127)
    if code is not None:
        return kernel(values, code, start, first, channels, count, inner, out, n)
    whole, real = one or (array("i", [0]), array("f", [0.0]))
    for i in range(n):
        value = values[start + i]
        if type(value) is int:
            whole[0] = max(-MOST, min(MOST, value))
            kernel(whole, 1, 0, first + i, channels, count, inner, out, 1)
            continue
        real[0] = checks.kind("feed", value, float)
        if kernel(real, 0, 0, first + i, channels, count, inner, out, 1) < 1:
            return i
    return n
