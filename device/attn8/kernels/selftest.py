# Known answers that the kernels in machine code have to give before they are used.
from array import array
from binascii import crc32
from binascii import unhexlify as a2b

from .. import tables
from . import turbo_operands

# Of ESP32-S3 and ESP32: both have MAC16 and loops, one has vector instructions
CONFIGID0 = {"simd": (0xC2F0FFFE,), "turbo": (0xC2F0FFFE, 0xC2BCFFFE)}
# The sizes reach every loop: blocks and rests, aligned rows and others
MATMUL = {
    36: a2b("bc212045c7f819c2090ac0067d22f7f611e4"),
    39: a2b("b4b91215400111c90a47d5f002f01d26d9ef"),
    48: a2b("aa10fb811c0ef6b71ea6dff393fa0c24ebfc"),
}  # inputs: two rows of nine outputs
ATTENTION = a2b(  # nine tokens of head_dim 5, causal
    "81b6eb205586bbf0255a8abff4295e8ec3f82d628fc4f92e6397cc01365ea2d70c412c9cd1063b39"
    "b0e51a4f08"
)
SPARSE = 0x22410FB5  # CRC of the outputs of 22 tokens of head_dim 29
# Its mask: three rows as spans; then, as bits (see `seen`), rows of 0 to 18 keys. With the limit
# below some weigh nothing, and the others reach the tiles of all sizes.
SPANS = array("H", (0, 1, 0, 2, 0, 1, 2, 3))
OFFSETS = array("H", (0, 1, 2, 4))
LINEAR = 0x1B20039E  # CRC of outputs and denominators of seven tokens of head_dim 29


def numbers(typecode, n, step):
    return array(typecode, [(i * step) % 255 - 127 for i in range(n)])


def fault(name, turbo):
    # What is wrong with the kernels of a module; None if nothing is
    if name == "turbo_sparse":
        return None if crc32(sparse(turbo)) == SPARSE else "failed the self-test"
    if name == "turbo_linear":
        return None if crc32(linear(turbo)) == LINEAR else "failed the self-test"
    if hasattr(turbo, "configid0") and turbo.configid0() not in CONFIGID0[name]:
        return "were built for another chip"
    for inputs in MATMUL:
        if matmul(name, turbo, inputs) != MATMUL[inputs]:
            return "failed the self-test of matmul"
    if attention(name, turbo) != ATTENTION:
        return "failed the self-test of attention"
    if swap_axes(turbo) != bytes((0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11)):
        return "failed the self-test of swap_axes"


def matmul(form, turbo, inputs):
    x = numbers("b", 2 * inputs, 37)
    w = bytearray([v + 128 for v in numbers("b", 9 * inputs, 91)])
    constants = array("i")
    for j in range(9):
        packed = 500 * j - 2000 + (inputs << 14) - (sum(w[j * inputs : (j + 1) * inputs]) << 7)
        constants.extend(array("i", [packed, 20000 + j, 7 + j % 3, 0]))
    w = turbo_operands.weights(form, w, inputs, 9)
    turbo.pack(w, constants, inputs, 9)
    out = array("b", bytes(18))
    row = bytearray(turbo_operands.row(form, inputs))
    turbo.matmul(w, 0, x, constants, 0, 0, out, row, 2, inputs, 9, 0)
    return bytes(out)


def attention(form, turbo):
    n, d = 9, 5
    q, k, v = [numbers("b", n * d, step) for step in (37, 91, 53)]
    keys, values, row = [bytearray(size) for size in turbo_operands.room(form, n, d)]
    scores = array("i", bytes(4 * n * n))
    weights = array("H", bytes(2 * n * n))
    sums = array("i", bytes(4 * n))
    out = array("b", bytes(n * d))
    turbo.pack_keys(k, keys, 0, n, d)
    turbo.pack_values(v, values, n, d)
    turbo.scores(keys, 0, q, 0, scores, row, 0, n, n, d, 1)
    turbo.mask_keys(scores, b"\0\0\1\0\0\0\0\0\1", n, n)
    turbo.softmax(scores, 0, weights, sums, tables.EXP2, 0, n, n, 1, 20000, 19, 100000)
    turbo.weighted_sum(values, 0, weights, sums, out, 0, n, n, n, d, 1 << 29, 29)
    return bytes(out)


def swap_axes(turbo):
    out = bytearray(12)
    turbo.swap_axes(bytes(range(12)), out, 3, 2, 2)
    return bytes(out)


def seen():
    # Made when it is wanted: what other modules are tested with needs it not
    bits = bytearray(76)
    for row in range(19):
        for key in range(22):
            if key * 5 % 22 < row:
                bits[4 * row + key // 8] |= 1 << key % 8
    return bits


def sparse(turbo):
    n, d = 22, 29
    aligned = seen()
    q, k, v = [numbers("b", n * d, step) for step in (37, 91, 53)]
    packed, room = [bytearray(size) for size in turbo_operands.sparse_room(n, d, True)]
    pairs = array("H", bytes(540))
    counts = array("H", bytes(20))
    out = array("b", bytes(n * d))
    turbo.pack(k, 0, v, packed, n, d)
    for first, rows in ((0, 3), (3, 9), (12, 10)):
        if not first:
            turbo.list_spans(pairs, 0, SPANS, counts, OFFSETS, 0, 0, rows)
        else:  # in words, and at an odd address in bytes
            bits = aligned if first == 3 else memoryview(b"\0" + aligned)[1:]
            turbo.list_bits(pairs, 0, bits, counts, 0, 4, first - 3, rows)
        turbo.attend(packed, 0, q, pairs, counts, room, tables.EXP2, out, first, rows, n, d, 20000,
                     19, 72000, 1 << 29, 29)
    return bytes(out)


def linear(turbo):
    # phi(x) = 20*max(x, 0) + 1; the denominator is given for the last two rows
    n, d = 7, 29
    q, k, v = [numbers("b", n * d, step) for step in (37, 91, 53)]
    table = array("H", [20 * x + 1 if x < 128 else 1 for x in range(256)])
    state, kv, z = [array("i", b"\7" * size) for size in (4 * d * d, 4 * d * d, 4 * d)]
    sums = array("i", bytes(4 * n))
    phi = array("H", bytes(2 * n * d))
    out = array("b", bytes(n * d))
    turbo.fill(z, 0, d)
    turbo.fill(state, 0, d * d)
    turbo.accumulate(state, 0, bytearray(2 * d), k, v, table, z, 0, n, d)
    p = turbo.shrink(state, 0, z, kv, d, d, 10000)
    turbo.features(q, table, phi, 0, n, d)
    turbo.attend(kv, 0, phi, z, sums, out, 0, 5, d, d, p, 0, 1 << 29, 29)
    turbo.features(q, table, phi, 5, 2, d)
    turbo.attend(kv, 0, phi, z, sums, out, 5, 2, d, d, -2, 1 << 16, 1 << 29, 33)
    return bytes(out) + bytes(sums)
