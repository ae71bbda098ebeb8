from .. import checks


class ClipNorm:
    # Scales all gradients by one factor so that their joint Euclidean norm is at most max_norm

    def __init__(self, f, params, max_norm):
        self.f = f
        self.params = params
        self.max_norm = f.number(max_norm)
        self._size = checks.between("parameters", sum(p.size for p in params), 1, 1 << 20)

    def __call__(self):
        self.f.clip(self.params, self.max_norm, self._size)
