from array import array

from .. import checks

MAX_SEQ_LEN = 4096  # bits of so many take 2 MB
MOST = 4 * 0xFFFF  # bytes of spans, as offsets count them in uint16
MASKED = -(1 << 30)  # the score of a masked key, as in the exact core


class Mask:
    # Which keys each of seq_len queries may attend to. rows gives for every query the rising
    # boundaries start, end, start, end ... of the keys that it sees.
    #
    # Kept as `spans`, flat (start, end) pairs, row i from pair offsets[i] to offsets[i + 1]. Where
    # the rows so far would be the smaller for it, as `bits`, seq_len rows of `stride` bytes: key j
    # is bit j & 7 of byte j >> 3.

    def __init__(self, seq_len, rows):
        self.seq_len = length(seq_len)
        self.stride = (seq_len + 7) >> 3
        self.max_positions = seq_len * seq_len
        self.num_positions = 0
        self.spans = array("H")
        self.offsets = array("H", bytes(2 * seq_len + 2))
        self.bits = None
        i = 0
        for row in several("rows", rows):
            if i == seq_len:
                raise ValueError("mask: expected %d rows, got more" % seq_len)
            self._count(i, row)
            size = len(self.spans) + len(row)
            if self.bits is None and 2 * size > min((i + 1) * self.stride, MOST):
                self._pack(i)
            if self.bits is None:
                self.spans.extend(array("H", row))
                self.offsets[i + 1] = len(self.spans) >> 1
            else:
                _fill(self.bits, i * self.stride, row)
            i += 1
        if i != seq_len:
            raise ValueError("mask: expected %d rows, got %d" % (seq_len, i))

    @classmethod
    def from_keys(cls, seq_len, rows):
        # Each row lists the keys that the query sees, rising
        return cls(seq_len, (boundaries(keys) for keys in several("rows", rows)))

    @classmethod
    def from_bits(cls, seq_len, bits):
        # As `to_bits` gives them
        stride = (length(seq_len) + 7) >> 3
        checks.values("bits", bits, seq_len * stride)
        return cls(seq_len, (_scan(bits, i * stride, 8 * stride) for i in range(seq_len)))

    def to_bits(self):
        # bytearray [seq_len, stride]
        bits = bytearray(self.seq_len * self.stride)
        for i in range(self.seq_len):
            _fill(bits, i * self.stride, self.row(i))
        return bits

    def row(self, i):
        # The boundaries of what query i sees
        checks.between("query", i, 0, self.seq_len - 1)
        if self.bits is None:
            return self.spans[2 * self.offsets[i] : 2 * self.offsets[i + 1]]
        return _scan(self.bits, i * self.stride, self.seq_len)

    def count(self, i):
        # How many keys query i sees
        row = self.row(i)
        return sum(row[k + 1] - row[k] for k in range(0, len(row), 2))

    def hidden(self):
        # As a key_padding_mask of an attention's call: a byte for each pair, 1 where the query does
        # not see the key. bytearray [seq_len, seq_len]
        n = self.seq_len
        pairs = bytearray(b"\1" * (n * n))
        for i in range(n):
            row = self.row(i)
            for k in range(0, len(row), 2):
                for key in range(row[k], row[k + 1]):
                    pairs[i * n + key] = 0
        return pairs

    @property
    def density(self):
        return self.num_positions / self.max_positions

    @property
    def sparsity(self):
        return 1 - self.density

    def can_attend(self, query, key):
        checks.between("query", query, 0, self.seq_len - 1)
        checks.between("key", key, 0, self.seq_len - 1)
        row = self.row(query)
        return any(row[n] <= key < row[n + 1] for n in range(0, len(row), 2))

    def union(self, other):
        return self._combine(other, 1)

    def intersection(self, other):
        return self._combine(other, 2)

    def complement(self):
        n = self.seq_len
        return Mask(n, (_complement(self.row(i), n) for i in range(n)))

    def visualize(self, size=20):
        # A picture in characters of the first `size` queries and keys
        n = min(checks.between("size", size, 0, MAX_SEQ_LEN), self.seq_len)
        lines = []
        for i in range(n):
            line = ["·"] * n
            row = self.row(i)
            for k in range(0, len(row), 2):
                for j in range(row[k], min(row[k + 1], n)):
                    line[j] = "█"
            lines.append("".join(line) + "\n")
        return "".join(lines)

    def to_attention_mask(self):
        # int32 [seq_len, seq_len] for scores of all pairs: 0 where the query sees the key, else
        # MASKED, which stands for minus infinity
        return self.apply_to_scores(array("i", bytes(4 * self.seq_len * self.seq_len)))

    def apply_to_scores(self, scores):
        # int32 [seq_len, seq_len], in place: MASKED where the query does not see the key. Set, not
        # added, as the sum would wrap.
        n = self.seq_len
        checks.values("scores", scores, n * n, True, "i")
        for i in range(n):
            hidden = _complement(self.row(i), n)
            for k in range(0, len(hidden), 2):
                for j in range(hidden[k], hidden[k + 1]):
                    scores[i * n + j] = MASKED
        return scores

    def _combine(self, other, depth):
        n = self.seq_len
        checks.kind("mask", other, Mask)
        if other.seq_len != n:
            raise ValueError("mask: expected one of seq_len %d, got %d" % (n, other.seq_len))
        return Mask(n, (overlap((self.row(i), other.row(i)), depth) for i in range(n)))

    def _count(self, i, row):
        # Checks a row and adds its keys
        last = -1
        sign = -1
        for at in several("rows", row):
            if not isinstance(at, int) or not last < at <= self.seq_len:
                raise ValueError("mask: row %d: expected rising boundaries up to %d, got %s"
                                 % (i, self.seq_len, list(row)))
            self.num_positions += sign * at
            sign = -sign
            last = at
        if sign > 0:
            raise ValueError("mask: row %d: expected an end to each start, got %s" % (i, list(row)))

    def _pack(self, rows):
        # From spans to bits
        bits = bytearray(self.seq_len * self.stride)
        for i in range(rows):
            _fill(bits, i * self.stride, self.row(i))
        self.bits = bits
        self.spans = self.offsets = array("H")


def length(seq_len):
    return checks.between("seq_len", seq_len, 1, MAX_SEQ_LEN)


def hidden(masks):
    # What a Mask hides, or those of a list one behind another (see Mask.hidden)
    pairs = bytearray()
    for mask in masks if isinstance(masks, list) else [masks]:
        pairs += checks.kind("mask", mask, Mask).hidden()
    return pairs


def several(what, values):
    # -> what a loop takes of a list, an array, a set or a generator
    try:
        return iter(values)
    except TypeError:
        raise TypeError("%s: expected several, as a list, got %s" % (what, type(values).__name__))


def boundaries(keys):
    # Of rising keys
    row = []
    for key in several("keys", keys):
        checks.between("keys", key, 0, MAX_SEQ_LEN)
        if row and key < row[-1]:
            raise ValueError("keys: expected each once, rising, got %d after %d"
                             % (key, row[-1] - 1))
        if row and key == row[-1]:
            row[-1] = key + 1
        else:
            row += (key, key + 1)
    return row


def _scan(bits, start, keys):
    row = []
    inside = 0
    for j in range(keys):
        if (bits[start + (j >> 3)] >> (j & 7)) & 1 != inside:
            row.append(j)
            inside ^= 1
    if inside:
        row.append(keys)
    return row


def _fill(bits, start, row):
    for k in range(0, len(row), 2):
        for j in range(row[k], row[k + 1]):
            bits[start + (j >> 3)] |= 1 << (j & 7)


def overlap(rows, depth):
    # The boundaries of where at least `depth` of the rows are. Starts sort before ends at the same
    # place, so that spans that touch become one.
    events = sorted(2 * at + (k & 1) for row in rows for k, at in enumerate(row))
    out = []
    level = start = 0
    for event in events:
        if event & 1:
            if level == depth and start < event >> 1:
                out += (start, event >> 1)
            level -= 1
        else:
            level += 1
            if level == depth:
                start = event >> 1
    return out


def _complement(row, seq_len):
    out = [0]
    out.extend(row)
    out.append(seq_len)
    if out[0] == out[1]:
        out = out[2:]
    if out and out[-1] == out[-2]:
        out = out[:-2]
    return out
