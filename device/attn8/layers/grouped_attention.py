from array import array
from binascii import unhexlify

from .. import checks, forms, memory, signals, tables
from ..dense16 import Dense16, Linear16, in_pairs
from ..kernels.objects import part
from .dense import expect

TOKENWISE = True

# 16384 times the sine of 0, 1 .. 128 512ths of a turn
SINES = array("h", unhexlify(
    "0000c90092015b022403ed03b5047e0546060e07d6079d0864092b0af10ab70b7c0c410d060eca0e8d0f5010"
    "1211d311941254131314d21490154c160917c4177e183719ef19a71a5d1b121cc61c791d2b1edc1e8c1f3a20"
    "e72093213d22e7228e233524da247e252026c1266027fe279a283529ce29652afb2a8f2b212cb22c412dcf2d"
    "5a2ee42e6c2ff22f7630f9307931f8317432ef326833df335334c6343735a53512367d36e5364b37b0371238"
    "7138cf382b398439db39303a823ad33a213b6d3bb63bfd3b423c853cc53c033d3f3d783daf3de33d153e453e"
    "723e9d3ec53eeb3e0f3f303f4f3f6b3f853f9c3fb13fc43fd43fe13fec3ff53ffb3fff3f0040"
))

_none = [array("h")]  # zeros for a centre where there is none, which all share
_of_piece = []  # views of the centre, k, v and q for some of the heads, which all share


class GroupedAttention:
    # Causal attention with a cache, int16 [rows, embed_dim] -> [rows, embed_dim] int8 or int16: of
    # num_heads heads of queries, num_heads / num_kv_heads share each head of keys and values. A
    # call begins a sequence of `rows` tokens; step(x) adds one token, of seq_len at most.
    #
    # linears: q, k, v (of int16 results) and out, Linear16 each. constants: score_mult,
    # score_shift, out_num, out_shift. turns: int32 [head_dim / 2], by how many 2**-32 turns a
    # position turns each pair of adjacent values of q and k. cache: int8 takes 2 * head_dim + 2
    # bytes a head and token, int16 4 * head_dim, values of whole fours of tokens. centre: int16
    # [num_kv_heads * head_dim], which goes off the keys of a cache of int8; None: zeros. later:
    # called with what makes the cache, which is made at once if there is none.

    def __init__(self, seq_len, embed_dim, num_heads, num_kv_heads, linears, score_mult,
                 score_shift, out_num, out_shift, turns=None, cache="int8", rows=1,
                 name="attention", make=signals.make, centre=None, later=None):
        checks.between(name + ".seq_len", seq_len, 1, checks.MAX_KEYS)
        checks.between(name + ".embed_dim", embed_dim, 1, checks.MAX_INPUTS)
        checks.between(name + ".num_heads", num_heads, 1, embed_dim)
        checks.between(name + ".num_kv_heads", num_kv_heads, 1, num_heads)
        checks.between(name + ".rows", rows, 1, seq_len)
        if embed_dim % num_heads:
            raise ValueError("%s.embed_dim: expected a multiple of num_heads %d, got %d"
                             % (name, num_heads, embed_dim))
        if num_heads % num_kv_heads:
            raise ValueError("%s.num_kv_heads: expected a divisor of num_heads %d, got %d"
                             % (name, num_heads, num_kv_heads))
        d = embed_dim // num_heads
        size = num_kv_heads * d
        checks.kind("linears", linears, tuple)
        checks.between("linears", len(linears), 4, 4)
        for linear, n in zip(linears, (embed_dim, size, size, embed_dim)):
            checks.kind("linears", linear, Linear16)
            if linear.inputs != embed_dim or linear.outputs != n or linear.wide:
                raise ValueError("%s: expected %d values to %d, int8 or int16, got %d to %d"
                                 % (linear.name, embed_dim, n, linear.inputs, linear.outputs))
        for linear in linears[:3]:
            if linear.output != "int16":
                raise ValueError("%s.output: expected int16, got %s" % (linear.name, linear.output))
        checks.multiplier(name + ".score", score_mult, score_shift)
        checks.between(name + ".out_num", out_num, 1 << 29, (1 << 30) - 1)
        checks.between(name + ".out_shift", out_shift, 16, 45)
        if turns is not None:
            if d % 2:
                raise ValueError("%s.turns: expected heads of an even width, got %d" % (name, d))
            checks.values(name + ".turns", turns, d // 2, False, "i")
        signals.known(name + ".cache", cache)
        self.name = name
        self.seq_len, self.embed_dim, self.rows = seq_len, embed_dim, rows
        self.num_heads, self.num_kv_heads, self.head_dim = num_heads, num_kv_heads, d
        self._constants = score_mult, score_shift, out_num, out_shift
        self._narrow = cache == "int8"
        if later is None:
            try:
                self.claim()
            except MemoryError:
                self.claim(False)
        else:
            later(self.claim)
        if self._narrow:
            if len(_none[0]) < size:
                _none[0] = array("h", bytes(2 * size))
            self._none = _none[0]
            self._centre = self._none
            if centre is not None:
                self._centre = checks.values(name + ".centre", centre, size, False, "h")
        self._kernels = kernels = forms.choose("decode8" if self._narrow else "decode16", d)
        forms.scratch.claim(*kernels.room(seq_len))
        self._turns = turns
        largest = most(d, cache)
        # q becomes the heads' results
        self._parts = [Dense16(linear, 1, make("h", linear.outputs), most=n)
                       for linear, n in zip(linears, (largest, largest,
                                                      127 * 255 if self._narrow else 32767))]
        self._most = largest
        if rows > 1:
            self._row = memoryview(b"")
            self._result = memoryview(b"")
        code = signals.CODES[linears[3].output]
        self.out = make(code, rows * embed_dim)
        self._unit = signals.ITEMSIZES[code]
        one = self.out if rows == 1 else memoryview(self.out)[:embed_dim]
        self._merge = Dense16(linears[3], 1, one)
        self._rotary = forms.choose("rotary")
        self.length = 0  # tokens in the cache

    def claim(self, whole=True):
        # Makes room for keys and values, of all heads together or, where no piece of memory is as
        # large, of each: more calls then give the same bits. None: lets it go
        self.keys = self.key_steps = self.values = self.value_steps = None
        self._pieces = pieces = []
        if whole is None:
            return
        n, kv, d = self.seq_len, self.num_kv_heads, self.head_dim
        slots = n if self._narrow else n + 3 & -4
        size = kv * (d if self._narrow else 2 * d)
        memory.require(self.name, (n + slots) * size + 2 * n * kv * self._narrow)
        if not self._narrow:
            self.keys, self.values = bytearray(n * size), bytearray(slots * size)
        elif whole or kv == 1:
            self.keys, self.key_steps, self.values, self.value_steps = self._piece(kv)
        else:
            for _ in range(kv):
                pieces.append(self._piece(1))
            while len(_of_piece) < 4:
                _of_piece.append(memoryview(b""))

    def __call__(self, x):
        n = 2 * self.rows * self.embed_dim
        checks.values(self.name, x, self.rows * self.embed_dim, False, "h")
        checks.apart(self.name, x, n, "out", self.out, self.rows * self.embed_dim * self._unit)
        self.length = 0
        for row in range(self.rows):
            self.run(x, row)
        return self.out

    def step(self, x):
        # The next token; of a layer for one row
        if self.rows != 1:
            checks.between("rows", self.rows, 1, 1)
        checks.values(self.name, x, self.embed_dim, False, "h")
        return self.run(x)

    def reset(self):
        # The next token is the first one of a new sequence
        self.length = 0

    def run(self, x, row=0):
        # The next token, a row of x; unchecked, but for the room that there is
        slot = self.length
        if slot == self.seq_len:
            raise ValueError("%s: its cache has room for %d tokens and holds %d; reset"
                             % (self.name, slot, slot))
        heads, kv, d = self.num_heads, self.num_kv_heads, self.head_dim
        kernels = self._kernels
        out = self.out
        if self.rows > 1:
            e = self.embed_dim
            x = part(self._row, x, 2 * row * e, 2 * e)
            e *= self._unit
            out = part(self._result, out, row * e, e)
        q, k, v = self._parts
        q, k, v = q.run(x), k.run(x), v.run(x)
        rotary = self._rotary
        if self._turns is not None:
            rotary.rotate(q, 0, k, self._turns, SINES, slot, heads, kv, d, self._most)
        n = slot + 1
        scores = forms.scratch.bytes
        mult, shift, num, out_shift = self._constants
        if self._pieces:
            self._attend(q, k, v, slot)
        elif self._narrow:
            rotary.put(k, 0, self._centre, self.keys, self.key_steps, slot, kv, d, self._most)
            rotary.put(v, 0, self._none, self.values, self.value_steps, slot, kv, d, 32385)
            kernels.attend(q, 0, self.keys, self.key_steps, self.values, self.value_steps, scores,
                           tables.EXP2, n, heads, kv, d, mult, shift, num, out_shift)
        else:
            kernels.put(k, v, self.keys, self.values, slot, kv * d)
            kernels.attend(q, 0, self.keys, self.values, scores, tables.EXP2, n, heads, kv, d, mult,
                           shift, num, out_shift)
        self._merge.run(q, out)
        self.length = n
        return self.out

    def _piece(self, kv):
        # Keys and values of so many heads of int8, and what one step of each stands for
        n = self.seq_len * kv
        size = n * self.head_dim
        return bytearray(size), bytearray(n), bytearray(size), bytearray(n)

    def _attend(self, q, k, v, slot):
        # As `run` does of all heads: of some at a time
        rotary, attend, d = self._rotary, self._kernels.attend, self.head_dim
        kv = self.num_kv_heads // len(self._pieces)
        heads = self.num_heads // len(self._pieces)
        views = _of_piece
        mult, shift, num, out_shift = self._constants
        n, at = 2 * kv * d, 0
        for keys, key_steps, values, value_steps in self._pieces:
            centre = part(views[0], self._centre, at, n)
            rotary.put(part(views[1], k, at, n), 0, centre, keys, key_steps, slot, kv, d,
                       self._most)
            rotary.put(part(views[2], v, at, n), 0, self._none, values, value_steps, slot, kv, d,
                       32385)
            attend(part(views[3], q, at * heads // kv, 2 * heads * d), 0, keys, key_steps, values,
                   value_steps, forms.scratch.bytes, tables.EXP2, slot + 1, heads, kv, d, mult,
                   shift, num, out_shift)
            at += n


def most(head_dim, cache):
    # The largest magnitude of q and k: scores stay below 2**29, also of keys from an int8 cache
    n = 0
    bit = 1 << 14
    while bit:
        if (n + bit) * (n + bit) * head_dim < 1 << 29:
            n += bit
        bit >>= 1
    return n - 127 if cache == "int8" else n


def build(entry, given, need_weights):
    e, rows, h = entry.size("embed_dim"), entry.rows("seq_len"), entry.size("num_heads")
    s = entry.tokens if entry.step else rows
    kv = entry.size("num_kv_heads", h)
    entry.accept(given, "int16", rows * e)
    if e % h:
        raise ValueError("%s.embed_dim: expected a multiple of num_heads %d, got %d"
                         % (entry.name, h, e))
    output, cache = entry.output(), entry.word("cache", "int8")
    size = kv * (e // h)
    linears, bias = [], entry.flag("bias", True)
    paired = in_pairs(entry, "q.", e, size)  # the others are as that of q is
    for name, n in (("q", e), ("k", size), ("v", size), ("out", e)):
        expect(entry, name + ".", e, n, False, bias, None, paired)
        linears.append(Linear16.take(entry.tensors, entry.name + "." + name, e, n,
                                     output if name == "out" else "int16", paired))
    turns = None
    base = entry.take("rotary_base", None)
    if base is not None:
        from ..entry import number

        if not number(entry.name, "rotary_base", base):
            raise ValueError("%s.rotary_base: expected a number above 0, got 0" % entry.name)
        entry.expect("turns", "i", [e // h // 2])
        turns = entry.tensors.same(entry.name + ".turns")  # in all layers of a model, mostly
    centre = entry.tensor("centre", "h", [size]) if cache == "int8" else None
    c = entry.keywords("constants")
    if len(c) > 4:
        raise ValueError("%s.constants: expected four, got %d" % (entry.name, len(c)))
    layer = GroupedAttention(s, e, h, kv, tuple(linears), c["score_mult"], c["score_shift"],
                             c["out_num"], c["out_shift"], turns, cache, rows, entry.name,
                             entry.make, centre, getattr(entry.tensors, "later", None))
    for linear in linears:  # its own takes memory
        linear.name = entry.name
    entry.gives(signals.CODES[output], layer.out)
    return layer, (output, rows * e)
