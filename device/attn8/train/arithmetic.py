# The numbers that training computes with. Layers, losses and optimizers work with any of these.
#
# Fixed point: a word w of 32 bits stands for w / 2**frac. Q16.16 saturates at +-(2**30 - 1), one
# bit below the word: the sum of any two values fits a word, and each is a small integer of
# MicroPython; so does Q24.8. Q8.8 saturates at +-(2**15 - 1). What saturates is counted in
# `overflows`.
# The chip multiplies 32 by 32 bits into 32. So
# - a matrix product first brings every row of its operands to 14 bits: m = round(w / 2**e) with
#   the smallest e that makes all |m| <= 16383 (rows of values below 1/4 stay exact in Q16.16).
#   Products of eight mantissas are summed exactly, shifted right by `guard`, and summed up; the
#   total is rounded once to the format, and only that can saturate.
# - a product with a constant is w * mult / 2**shift, rounded half up, exact for all w.
# - attention weights are multiples of 2**-15 and multiply as such.
import math
from array import array

from .. import checks, forms, tables
from ..kernels import fixed as kernels
from ..kernels import fixed_optimizers as optimizers
from ..kernels.objects import part
from .parameter import Parameter
from .schedule import ONE

BLOCK = 8  # rows of a product's second operand that are packed at a time
LEFT = 512  # words of a first operand that are packed at a time where memory is to be saved; where
# parameters train directly, half of these, and a quarter of the rows
MAX_COLUMNS = 512  # of a softmax: the sum of its numerators stays below 2**24


def get(name):
    if name == "Q16.16":
        return Fixed(name, 16, (1 << 30) - 1)
    if name == "Q24.8":
        return Fixed(name, 8, (1 << 30) - 1)
    if name == "Q8.8":
        return Fixed(name, 8, (1 << 15) - 1)
    if name in ("float", "double"):
        from .floating import Float

        return Float(name)
    raise ValueError("numbers: expected Q16.16, Q24.8, Q8.8, float or double, got %s" % name)


def ratio(num, den=1):
    # (mult, shift) with mult / 2**shift ~ num/den, 2**14 <= mult <= 2**15: computed in integers,
    # so that boards with shorter floats agree. A float num is taken to 30 binary places.
    if isinstance(num, float):
        num, den = int(num * (1 << 30) + 0.5), den << 30
    if not 0 < num <= den <= num << 15:
        raise ValueError("ratio: expected 2**-15 to 1, got %s/%s" % (num, den))
    shift = 15
    while num << shift < den << 14:
        shift += 1
    return (((num << (shift + 1)) // den) + 1) >> 1, shift


def root_ratio(num, den):
    # The same for sqrt(num/den)
    square = (num << 60) // den
    root = 1 << 30
    while root * root > square:
        root = (root + square // root) >> 1
    return ratio(root, 1 << 30)


class Numbers:
    # What all have. rooms: of the layers that are being made (see rooms.py). given: an array
    # that another layer has made, whose words need no check

    rooms = None
    given = []  # nothing that is given

    def zeros(self, n):
        raise NotImplementedError

    def room(self, kind, n):
        return self.rooms.take(kind, n) if self.rooms else self.zeros(n)

    def phase(self, first, last, start=0, end=2):
        # What is asked for next is needed from one to another of the phases 0 to 3 of a layer's
        # backward pass, and of 0 to 2 of its forward pass
        if self.rooms:
            self.rooms.phases = first, last, start, end

    def parameter(self, name, n, piece=None):
        return Parameter(self, name, n, piece)

    def gradient(self, name, n):
        # Of a parameter
        if self.rooms:
            return self.rooms.gradient(name.rpartition(".")[0], n)
        return self.zeros(n)


class Fixed(Numbers):
    def __init__(self, name, frac, limit):
        self.name = name
        self.typecode = "i"
        self.frac = frac
        self.limit = limit
        self.up = 16 - frac
        self.count = array("i", [0])
        self.products = forms.choose("fixed_product")
        self.words = forms.choose("fixed_words")
        self.spread = self.words.spread  # (x, out, rows, columns); these are called often
        self.relu = self.words.relu  # (x, gate, out, n)
        self._softmax = forms.choose("fixed_softmax")
        self._zero = array("i", [0])
        self._pointwise = None
        self.operands = array("i")

    @property
    def overflows(self):
        return self.count[0]

    def recount(self, n):
        self.count[0] = n

    def zeros(self, n):
        # From a range: made from bytes it would take its room twice
        x = array("i", range(n))
        self.clear(x, n)
        return x

    def clear(self, x, n):
        self.words.spread(self._zero, x, n, 1)

    def number(self, x):
        # A float as a word of this format
        return max(-self.limit, min(self.limit, math.floor(x * (1 << self.frac) + 0.5)))

    def saturate(self, x):
        # A positive number of any size as a word
        if x <= self.limit:
            return x
        self.count[0] += 1
        return self.limit

    def accept(self, x, n, what):
        # Checks an array that comes from outside
        if x is self.given:
            return x
        checks.values(what, x, n, False, "i")
        peak = self.words.peak(x, 0, n)
        if peak > self.limit:
            raise ValueError("%s: expected values up to %d, got %d" % (what, self.limit, peak))
        return x

    def product(self, rows, cols, inner, a, b, out, add=False):
        # One for all layers that are made together
        made = self.rooms.products if self.rooms else []
        wanted = rows, cols, inner, a, b, out, add
        for said, product in made:
            if said == wanted:
                return product
        product = Product(self, rows, cols, inner, a, b, out, add)
        made.append((wanted, product))
        return product

    def pointwise(self):
        # What layers need that compute value by value
        if not self._pointwise:
            from .pointwise import Pointwise

            self._pointwise = Pointwise(self)
        return self._pointwise

    def piece(self, view, x, first, n):
        # n words of x, as the memoryview `view`
        return part(view, x, 4 * first, 4 * n)

    def copy(self, x, out, start, to, rows, columns, step, stride):
        # Rows of so many words, `step` apart in x and `stride` in out
        kernels.copy(x, out, start, to, rows, columns, step, stride)

    def column_sums(self, x, out, rows, columns):
        self.words.column_sums(x, 0, out, rows, columns, self.limit, self.count)

    def add(self, x, y, out, n):
        self.words.add(x, y, out, n, 0, self.limit, self.count)

    def subtract(self, x, y, out, n):
        self.words.add(x, y, out, n, -1, self.limit, self.count)

    def scale(self, x, out, n, factor):
        self.words.scale(x, 0, out, n, factor[0], factor[1])

    def hide(self, scores, rows, columns, length, first):
        # Below all others what a softmax is to give 0: the scores of keys from `length` on, and of
        # those behind a row's own, first + its number
        kernels.hide(scores, rows, columns, length, first, -self.limit)

    def factor(self, num, den):
        # What `scale` takes
        return ratio(num, den)

    def softmax_scale(self, num, den):
        # For softmax(scores * sqrt(num/den)): the steps of the forward pass are 2**-15 octaves,
        # half of log2(e) = sqrt(2.0813689810056077); 17 octaves below the largest nothing is left
        square = 2234852924  # log2(e)**2 * 2**30
        mult, shift = root_ratio(num * square, den << 32)
        limit = ((17 << 15) << shift) // mult >> self.up
        return mult, shift, limit, root_ratio(num, den)

    def softmax(self, scores, out, offset, rows, columns, scale):
        return self._softmax.softmax(scores, 0, out, offset, tables.EXP2, rows, columns, scale[0],
                                     scale[1], self.up, scale[2])

    def softmax_backward(self, weights, offset, d, rows, columns, scale):
        mult, shift = scale[3]
        self._softmax.softmax_backward(weights, 0, offset, d, rows, columns, self.up, mult, shift,
                                       self.limit, self.count)

    def log(self, total):
        # The logarithm of what softmax returned
        return kernels.log(total, self.frac)

    def sgd(self, param, velocity, momentum, lr, factor):
        decay, shift = momentum or (0, 15)
        self.words.sgd(param.value, 0, param.grad, velocity, param.size, decay, shift,
                       (lr[0] * factor + (ONE >> 1)) >> 15, lr[1], self.limit, self.count)

    def adam_constants(self, beta1, beta2, lr, eps):
        # 1 - beta as (mult, shift); the quotient that lr multiplies has 12 fractional bits
        rate1, rate2 = (ratio((1 << b[1]) - b[0], 1 << b[1]) for b in (beta1, beta2))
        shift = lr[1] - self.frac + 12
        for what, found in (("1 - beta1", rate1[1]), ("1 - beta2", rate2[1]), ("lr", shift)):
            checks.between(what + ": shift", found, 16, 45)
        return array("i", rate1 + rate2 + (lr[0], shift, max(1, eps[0] << 15 >> eps[1])))

    def adam(self, param, first, second, constants, lr, factor):
        constants[4] = (lr[0] * factor + (ONE >> 1)) >> 15
        optimizers.adam(param.value, 0, param.grad, first, second, param.size, self.up, constants,
                        self.limit, self.count)

    def clip(self, params, norm, size):
        # Scales the gradients, `size` values in all, where their joint norm is over `norm`
        peak = 0
        for p in params:
            peak = max(peak, self.words.peak(p.grad, 0, p.size))
        shift = self.shift(peak, size)
        total = 0
        for p in params:
            total += self.words.squares(p.grad, 0, p.size, shift)
        mult = self.share(total, norm, shift)
        if mult < ONE:
            for p in params:
                self.words.scale(p.grad, 0, p.grad, p.size, mult, 15)

    def shift(self, peak, size):
        # By how many bits so many values are shifted, of which none is over `peak`: the sum of
        # their squares stays below 2**30, itself no small integer: it would take memory
        most = optimizers.root(0x3FFFFFFF // size) - 1
        shift = 0
        while peak >> shift >= most:
            shift += 1
        return shift

    def share(self, total, norm, shift):
        # By what values are scaled that, shifted so, have this sum of squares, in 2**-15
        root = optimizers.root(total)
        if norm >> shift > root:
            return ONE
        return (norm << (15 - shift) if shift < 15 else norm >> (shift - 15)) // max(root, 1)


class Product:
    # out[i, j] = sum_k a[i, k]*b[j, k] for rows x cols x inner, or added to out where `add`.
    # a, b and out are given as (stride of i or j, stride of k) and (of i, of j), in words, and may
    # start at an offset: transposes, slices and sliding windows need no copy. again: a is that of
    # the product before, of the same shape.

    def __init__(self, f, rows, cols, inner, a, b, out, add):
        checks.between("rows", rows, 1, 1 << 15)
        checks.between("cols", cols, 1, 1 << 15)
        checks.between("inner", inner, 1, 1 << 15)
        self.f = f
        guard = 1
        while 8 << (guard - 1) < inner:
            guard += 1
        half = int(bool(f.rooms and f.rooms.direct))
        block, group = rows, min(cols, BLOCK >> 2 * half)
        if f.rooms and f.rooms.recompute:
            block = max(1, min(rows, (LEFT >> half) // inner))
        room = f.products.room(block, group, inner) >> 2
        if room > len(f.operands):
            f.operands = f.zeros(room)
        self.shape = array("i", (rows, inner, out[0], out[1], guard, f.frac, f.limit, int(add),
                                 cols, a[0], a[1], b[0], b[1], block, group))

    def __call__(self, a, b, out, a_offset=0, b_offset=0, offset=0, again=False):
        f = self.f
        shape = self.shape
        f.products.matmul(a, 0, b, out, a_offset, b_offset, offset,
                          again and shape[13] == shape[0], shape, f.operands, f.count)
