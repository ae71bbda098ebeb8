from array import array

from ..kernels import floating_pointwise as kernels


class Pointwise:
    # As pointwise.Pointwise, of floats (see floating.Float)

    def __init__(self, f):
        self.f = f
        self.one = array(f.typecode, [1.0])
        self.within = kernels.within
        self.multiply = kernels.multiply
        self.sigmoid = kernels.sigmoid
        self.tanh = kernels.tanh
        self.normal = kernels.normal
        self.density = kernels.density

    def norm(self, name, rows, n, eps):
        return Rows(self.f, rows, n, eps[0] / (1 << eps[1]))


class Rows:
    # As pointwise.Rows

    def __init__(self, f, rows, n, eps):
        self._shape = rows, n
        self._eps = eps
        self._factors = f.zeros(rows)

    def centre(self, x, out):
        kernels.centre(x, out, *self._shape)

    def normalize(self, x, out):
        kernels.normalize(x, out, *self._shape, self._eps, self._factors)

    def project(self, d, z):
        kernels.project(d, z, *self._shape)

    def stretch(self, d):
        kernels.stretch(d, self._factors, *self._shape)
