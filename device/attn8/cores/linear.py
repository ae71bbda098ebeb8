from array import array

from .. import checks, forms
from ..kernels.objects import part
from . import key_mask, operands

MOST = (1 << 30) - 1 + (1 << 30)
MAX_FEATURE = 4095
ZERO = array("i", (0,))


class Linear:
    # Linear attention over one head, O(seq_len) time and O(head_dim**2) memory:
    # out = phi(q) @ (phi(k).T @ v) / (phi(q) @ sum(phi(k))). phi is one of
    #   "relu"    max(x, 0)
    #   "relu+1"  max(x, 0) + 1, in steps of int8
    #   "elu+1"   x + 1 or e**x as tables of 256 numbers of 12 bits, indexed by the byte, for q and
    #             for k; of more than 2056 tokens those for k get as many bits less as sums need
    # Without `normalize` out = phi(q) @ (phi(k).T @ v), and the output's ratio has 16 more bits, or
    # 24 with "elu+1".
    # The constants come from the host: attn8_host.quantize.linear_constants.
    #
    # Causal, and token by token with `step`, the state runs along; row t is then what the first
    # t + 1 tokens alone would give. need_weights keeps kv, rounded and transposed, z and each row's
    # denominator in `sums`. output: with "int32" results are int32, and are not clamped.
    # Keys that a key_padding_mask [seq_len] of its call hides never come into the state.
    # steps: without, the state is in the `buffers`, as no step goes on with it.

    masks_keys = True
    shares_state = True  # it takes `steps`
    constants = ("out_num", "out_shift", "table_q", "table_k")
    options = ("block_rows", "normalize", "phi")
    tensors = {}

    def __init__(self, seq_len, head_dim, out_num, out_shift, phi="relu+1", table_q=None,
                 table_k=None, normalize=True, causal=False, need_weights=False, block_rows=8,
                 buffers=None, output="int8", steps=True):
        checks.between("head_dim", head_dim, 1, 1024)
        if phi == "elu+1":
            self._table_q = _table("table_q", table_q)
            self._table_k = _table("table_k", table_k)
        elif phi in ("relu", "relu+1"):
            one = 1 if phi == "relu+1" else 0
            self._table_q = array("H", [x + one if x < 128 else one for x in range(256)])
            self._table_k = self._table_q
        else:
            raise ValueError("phi: expected relu, relu+1 or elu+1, got %s" % (phi,))
        most_q = max(1, max(self._table_q))
        checks.between("seq_len", seq_len, 1, 1 << 15)
        # The state's sums of phi(k)*(v + 128) stay within int32
        coarser = 0
        while 255 * seq_len * ((max(self._table_k) + (1 << coarser >> 1)) >> coarser) > MOST:
            coarser += 1
        if coarser:
            half = 1 << (coarser - 1)
            self._table_k = array("H", [(y + half) >> coarser for y in self._table_k])
        most_k = max(1, max(self._table_k))
        self._limit = MOST // (most_q * head_dim)
        self._denominator = 0
        self._static_shift = 0
        checks.kind("normalize", normalize, bool)
        if not normalize:
            while 128 * most_k * seq_len >> self._static_shift > self._limit:
                self._static_shift += 1
            self._denominator = 1 << (24 if phi == "elu+1" else 16)
            out_shift -= self._static_shift + coarser
        self._allocate(seq_len, head_dim, head_dim, out_num, out_shift, causal, need_weights,
                       block_rows, output)
        self.buffers = forms.buffers(buffers, self._kernels, self.block_rows, head_dim, head_dim,
                                     most=0 if need_weights else 4 * head_dim * head_dim)
        self._share(need_weights, steps)
        if normalize and most_k * seq_len > self._limit:
            # phi(q) @ z could pass int32: z is rounded as kv is, as one row without an offset
            self._z = array("i", bytes(4 * head_dim))

    def feature_map(self, x):
        # phi of a key's value x, an int8, as the sums have it
        return self._table_k[checks.between("x", x, -128, 127) & 255]

    def _allocate(self, seq_len, head_dim, num_features, out_num, out_shift, causal, need_weights,
                  block_rows, output):
        checks.between("out_num", out_num, 1 << 29, (1 << 30) - 1)
        checks.between("out_shift", out_shift, 16, 45)
        checks.between("block_rows", block_rows, 1, 1 << 15)
        self.seq_len = seq_len
        self.head_dim = head_dim
        self.num_features = num_features
        self.out_num = out_num
        self.out_shift = out_shift
        self.causal = causal
        self.length = 0  # tokens in the state
        self._kernels = forms.choose("linear", num_features, head_dim)
        self._finish = self._kernels.attend
        self._down = 0  # see kernels.int32
        self._code = "b"
        if output != "int8":
            checks.refuse("output", output)
            from ..kernels.int32 import attend

            self._finish = attend
            self._code = "i"
        self.block_rows = 1 if causal else min(block_rows, seq_len)
        self._result = None if need_weights else memoryview(b"")  # of a block of rows
        self.sums = array("i", bytes(4 * (seq_len if need_weights else self.block_rows)))

    def _share(self, need_weights, steps):
        # kv is made of the state for each block of queries: cores that run in turn have one.
        # -> what gives room for more of the state
        size = 4 * self.num_features * self.head_dim
        self.kv = self._own("i", size) if need_weights else self.buffers.array("i", size)
        room = self._own if steps or need_weights else self.buffers.array
        self._state = room("i", size, "state")
        self.z = room("i", 4 * self.num_features, "z")
        self._z = self.z  # as the denominators use it
        self.outputs = [("kv", "i", self.kv), ("z", "i", self.z),
                        ("sums", "i", self.sums)] if need_weights else []
        return room

    @staticmethod
    def _own(code, size, name=""):
        return array(code, bytes(size))

    @staticmethod
    def room(seq_len, head_dim, phi=None, causal=False, need_weights=False, block_rows=8,
             features=None, steps=True, **constants):
        m = len(features) // head_dim if features else head_dim
        rows = 1 if causal else min(block_rows, seq_len)
        own = 4 * (seq_len if need_weights else rows)
        shared = sum(forms.choose("linear", m, head_dim).room(rows, m, head_dim))
        state = 4 * m * (head_dim + (4 if features else 1))
        if need_weights:
            own += 4 * m * head_dim
        else:
            shared += 4 * m * head_dim
        if steps or need_weights:
            own += state
        else:
            shared += state
        if features:
            narrowed = 4 * rows * head_dim if m > 64 else 0
            return own + m * (head_dim + 4) + narrowed, shared + 4 * rows * m
        return own + (1024 if phi == "elu+1" else 512), shared

    @classmethod
    def from_scales(cls, seq_len, head_dim, scale_q, scale_k, scale_v, scale_out, phi="relu+1",
                    normalize=True, **options):
        # As Exact.from_scales
        made = constants(head_dim, scale_q, scale_k, scale_v, scale_out, phi, normalize,
                         **options)
        return cls(seq_len, head_dim, **made)

    def __call__(self, q, k, v, out, key_padding_mask=None):
        n = self.seq_len * self.head_dim
        operands(q, k, v, out, n, n, self._code)
        if key_padding_mask is not None:
            key_mask(key_padding_mask, self.seq_len, 0, out,
                        n * (1 if self._code == "b" else 4))
        return self.run(q, k, v, out, key_padding_mask)

    def run(self, q, k, v, out, key_padding_mask=None, at=0):
        self.reset()
        n = self.seq_len
        first = 0
        hidden = False
        while first < n:
            end = first + 1 if self.causal else n
            if key_padding_mask is not None:  # a run of keys that are shown, or of hidden ones
                hidden = bool(key_padding_mask[first])
                last = end
                end = first + 1
                while end < last and bool(key_padding_mask[end]) == hidden:
                    end += 1
            if not hidden:
                self._add(k, v, first, end - first)
                self._empty = False
            self.length = end
            if self.causal:
                self._attend(q, out, first, 1)
            first = end
        if not self.causal:
            self._attend(q, out, 0, n)
        return out

    def step(self, q, k, v, out):
        # The next token, int8 [head_dim] each; out may be one of the others
        d = self.head_dim
        checks.values("q", q, d)
        checks.values("k", k, d)
        checks.values("v", v, d)
        checks.values("out", out, d, True, self._code)
        checks.between("tokens", self.length + 1, 1, self.seq_len)
        self._add(k, v, 0, 1)
        self._empty = False
        self._attend(q, out, 0, 1)
        self.length += 1
        return out

    def reset(self):
        # The next token is the first one of a new sequence
        self.length = 0
        self._empty = True  # no key came into the state
        self._kernels.fill(self._state, 0, self.num_features * self.head_dim)
        self._kernels.fill(self.z, 0, self.num_features)

    def _add(self, k, v, first, tokens):
        self._kernels.accumulate(self._state, 0, self.buffers.parts[0], k, v, self._table_k, self.z,
                                 first, tokens, self.head_dim)

    def _attend(self, q, out, first, rows):
        p = self._shrink()
        while rows > 0:
            n = min(rows, self.block_rows)
            self._features(q, first, n)
            at, result = first, out
            if self._result is not None:
                unit = self.head_dim if self._code == "b" else 4 * self.head_dim
                at, result = 0, part(self._result, out, first * unit, n * unit)
            if self._finish is self._kernels.attend:
                self._finish(self.kv, 0, self.buffers.parts[1], self._z, self.sums, result, at, n,
                             self.num_features, self.head_dim, p, self._denominator, self.out_num,
                             self.out_shift)
            else:
                self._finish(self.kv, 0, self.buffers.parts[1], self._z, self.sums, result, at, n,
                             self.num_features, self.head_dim, p, self._denominator, self.out_num,
                             self.out_shift, self._down)
            first += n
            rows -= n

    def _shrink(self):
        p = self._kernels.shrink(self._state, 0, self.z, self.kv, self.num_features,
                                 self.head_dim, self._limit)
        if self._z is self.z:
            return p - self._static_shift
        return p - self._kernels.shrink(self.z, 0, ZERO, self._z, 1, self.head_dim, self._limit)

    def _features(self, q, first, rows):
        self._kernels.features(q, self._table_q, self.buffers.parts[1], first, rows, self.head_dim)


def constants(*scales, **options):
    from ..quantize import linear_constants

    return linear_constants(*scales, **options)


def _table(what, values):
    values = () if values is None else values
    if not checks.typecode(values):
        checks.kind(what, values, (list, tuple))
    if len(values) != 256:
        raise ValueError("%s: expected 256 values, got %d" % (what, len(values)))
    for value in values:
        checks.between(what, value, 0, MAX_FEATURE)
    return array("H", values)
