from array import array

from .. import checks, forms, tables
from ..forms.viper import attention
from ..kernels import performer
from ..kernels.objects import part
from .linear import Linear

LOWEST = -(1 << 24)  # below every octave that a key can have
BLOCK = 64  # features of 12 bits, times sums of 13 bits, that may be summed up within int32
MAX_FEATURES = 4 * BLOCK


class Performer(Linear):
    # FAVOR+ attention: linear attention with phi(x) = exp(features @ x - |x|**2 / 2), positive
    # random features that approximate softmax; O(seq_len). features int8 [num_features, head_dim]
    # and the constants come from the host (attn8_host.quantize.performer_constants): the
    # multipliers turn features @ x and |x|**2 into 1/256 octaves.

    constants = ("query_mult", "query_shift", "key_mult", "key_shift", "norm_mult", "norm_shift",
                 "out_num", "out_shift")
    options = ("block_rows",)
    tensors = {"features": ("b", (None, 0))}

    def __init__(self, seq_len, head_dim, features, query_mult, query_shift, key_mult, key_shift,
                 norm_mult, norm_shift, out_num, out_shift, causal=False, need_weights=False,
                 block_rows=8, buffers=None, output="int8", steps=True):
        checks.between("seq_len", seq_len, 1, 1 << 15)
        checks.between("head_dim", head_dim, 1, 1024)
        num_features = len(checks.values("features", features)) // head_dim
        checks.between("num_features", num_features, 1, MAX_FEATURES)
        checks.values("features", features, num_features * head_dim)
        self._query = _logarithm("query", query_mult, query_shift, head_dim)
        self._key = _logarithm("key", key_mult, key_shift, head_dim)
        self._norm = _logarithm("norm", norm_mult, norm_shift, head_dim)
        self._denominator = 0
        self._allocate(seq_len, head_dim, num_features, out_num, out_shift, causal, need_weights,
                       block_rows, output)
        self.buffers = forms.buffers(buffers, self._kernels, self.block_rows, num_features,
                                     head_dim, kind=Buffers,
                                     most=0 if need_weights else 4 * num_features * head_dim)
        room = self._share(need_weights, steps)
        self._z = room("i", 4 * num_features, "small z")
        self._octaves = room("i", 4 * num_features, "octaves")
        self._scales = room("i", 4 * num_features, "scales")
        if num_features > BLOCK:
            from ..kernels import int32

            self._down = 1 if num_features <= 2 * BLOCK else 2
            if output == "int8":
                self._finish = Narrowed(int32, self.block_rows * head_dim)
        self._packed = bytearray(num_features * head_dim)
        self._packed_sums = array("i", bytes(4 * num_features))
        attention.pack_keys(features, self._packed, self._packed_sums, num_features, head_dim)
        if steps:  # else the state may have no memory yet, and each run begins with this
            self.reset()

    @classmethod
    def from_scales(cls, seq_len, head_dim, scale_q, scale_k, scale_v, scale_out, num_features=32,
                    seed=1, **options):
        # As Exact.from_scales, with random features of this seed
        made = constants(head_dim, scale_q, scale_k, scale_v, scale_out, num_features,
                         seed, **options)
        return cls(seq_len, head_dim, **made)

    def reset(self):
        super().reset()
        self._kernels.fill(self._octaves, LOWEST, self.num_features)

    def _logarithms(self, x, first, rows, mult, shift, norm_mult, norm_shift):
        b = self.buffers
        attention.scores(self._packed, 0, x, self._packed_sums, b.logarithms, b.parts[0], first,
                         rows, self.num_features, self.head_dim, 0)
        performer.logarithms(b.logarithms, 0, x, first, rows, self.num_features, self.head_dim,
                             mult, shift, norm_mult, norm_shift)

    def _add(self, k, v, first, tokens):
        b = self.buffers
        while tokens > 0:
            n = min(tokens, self.block_rows)
            self._logarithms(k, first, n, self._key[0], self._key[1], self._norm[0], self._norm[1])
            performer.accumulate(self._state, b.parts[0], b.logarithms, v, self.z, self._octaves,
                                 tables.EXP2, first, n, self.num_features, self.head_dim)
            first += n
            tokens -= n

    def _attend(self, q, out, first, rows):
        # Without a key any octave will do, as all is 0, but for those that no key has raised
        if self._empty:
            self._kernels.fill(self._octaves, 0, self.num_features)
        Linear._attend(self, q, out, first, rows)  # super() would allocate
        if self._empty:
            self._kernels.fill(self._octaves, LOWEST, self.num_features)

    def _shrink(self):
        performer.shrink(self._state, 0, self.z, self._octaves, self.kv, self._z, self._scales,
                         self.num_features, self.head_dim)
        return 7

    def _features(self, q, first, rows):
        self._logarithms(q, first, rows, self._query[0], self._query[1], 0, 1)
        performer.features(self.buffers.logarithms, 0, self._scales, self.buffers.parts[1],
                           tables.EXP2, rows, self.num_features)


class Narrowed:
    # int32 results of a block of rows that become int8

    def __init__(self, kernels, size):
        self._kernels = kernels
        self._results = array("i", bytes(4 * size))
        self._sums = memoryview(b"")

    def __call__(self, kv, acc, phi, z, sums, out, first, rows, features, head_dim, p, denominator,
                 num, shift, down):
        self._kernels.attend(kv, acc, phi, z, part(self._sums, sums, 4 * first, 4 * rows),
                             self._results, 0, rows, features, head_dim, p, denominator, num, shift,
                             down)
        self._kernels.clamp(self._results, 0, out, first * head_dim, rows * head_dim)


class Buffers(forms.Buffers):
    # With the logarithms of a block of rows

    def __init__(self, form, rows, num_features, head_dim, **within):
        super().__init__(form, rows, num_features, head_dim, **within)
        self.logarithms = self.array("i", 4 * rows * num_features, "logarithms")


def constants(*scales, **options):
    from ..quantize import performer_constants

    return performer_constants(*scales, **options)


def _logarithm(what, mult, shift, head_dim):
    # 2**14*head_dim*mult and its rounding stay in int32; a logarithm stays below 2**23
    checks.between(what + "_shift", shift, 8, 28)
    most = ((1 << 30) - 1 + (1 << 30) - (1 << (shift - 1))) // (head_dim << 14)
    checks.between(what + "_mult", mult, 0, most)
    return mult, shift
