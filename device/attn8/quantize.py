# Integer constants from scales, for experiments at the REPL. A chip's floats have 24 bits, so the
# last bits may differ from those of attn8_host.quantize, which computes a model's in float64.
import math
from array import array

from . import checks

LOG2_E = 1.4426950408889634


def peak(what, values, length=None):
    # The largest magnitude of finite numbers, an array or a list of this length
    if not checks.typecode(values):
        checks.kind(what, values, (list, tuple))
    if length is not None and len(values) != length:
        raise ValueError("%s: expected %d values, got %d" % (what, length, len(values)))
    most = 0.0
    for value in values:
        if not isinstance(value, (int, float)) or not -1e30 < value < 1e30:
            raise ValueError("%s: expected finite numbers, got %s" % (what, value))
        most = max(most, abs(value))
    return most


def _scale(what, value):
    checks.refuse("real", what, value, 1e-30, 1e30)
    return value


def int8(values, scale):
    # values / scale, rounded half up, within +-127, as array('b')
    peak("values", values)
    _scale("scale", scale)
    out = array("b", bytes(len(values)))
    for i, value in enumerate(values):
        out[i] = int(max(-127, min(127, (value / scale + 0.5) // 1)))
    return out


def check(head_dim, scale_q, scale_k, scale_v, scale_out):
    checks.between("head_dim", head_dim, 1, checks.MAX_INPUTS)
    for part, scale in zip(("q", "k", "v", "out"), (scale_q, scale_k, scale_v, scale_out)):
        _scale("scale_" + part, scale)


def requant_constants(ratio):
    # (M, s) with M/2**s ~ ratio, 2**14 <= M < 2**15
    mult, shift = scaled(ratio, 15)
    if not 16 <= shift <= 45:
        raise ValueError("ratio of scales: expected 2**-31 to 0.5, got %s" % ratio)
    return mult, shift


def scaled(ratio, bits):
    # (n, s) with n/2**s ~ ratio and n of exactly `bits` bits
    mantissa, exponent = math.frexp(_scale("ratio of scales", ratio))
    n = int(mantissa * (1 << bits) + 0.5)
    shift = bits - exponent
    return (n >> 1, shift - 1) if n == 1 << bits else (n, shift)


def score_constants(scale, head_dim, kept=16):
    # (score_mult, score_shift, score_limit) for scores that stand for score * scale; numerators
    # reach `kept` octaves down
    octaves = _scale("score scale", scale) * LOG2_E
    largest = 2 * 127 * 127 * checks.between("head_dim", head_dim, 1, checks.MAX_INPUTS)
    if not 0 < octaves < 4:
        raise ValueError("score scale: expected 0 to 2.77, got %s" % scale)
    span = min(256.0 * kept, 256 * octaves * largest + 2)
    shift = min(28, int(math.floor(31 - math.log(span) / math.log(2))))
    while True:
        mult = max(1, int(octaves * 2.0 ** (8 + shift) + 0.5))
        half = 1 << (shift - 1)
        limit = min(((kept << (8 + shift)) - half - 1) // mult, largest)
        if limit * mult + half < 1 << 31 and mult < 1 << 30:
            return mult, shift, limit
        shift -= 1


def softmax_constants(scale):
    # (mult, shift, limit) of a softmax layer whose input stands for x * scale: see
    # attn8_host.layers.softmax
    if not 1 / (1 << 20) <= _scale("scale", scale) <= 1 << 10:
        raise ValueError("scale of what a softmax takes: expected 2**-20 to 2**10, got %s" % scale)
    step = scale * LOG2_E * 4096
    shift = 14 if step < 32768 else 6
    mult = int(math.floor(step * (1 << shift) + 0.5))
    return mult, shift, ((65536 << shift) - (1 << (shift - 1)) - 1) // mult


def logarithm_constants(octaves, head_dim):
    # (mult, shift): a sum of head_dim products stands for sum * mult / 2**shift 1/256 octaves
    _scale("octaves of a product", octaves)
    largest = checks.between("head_dim", head_dim, 1, checks.MAX_INPUTS) << 14
    shift = min(24, int(math.floor(31 - math.log(256 * octaves * largest) / math.log(2))))
    while shift >= 8:
        mult = int(256 * octaves * 2.0**shift + 0.5)
        if largest * mult + (1 << (shift - 1)) < 1 << 31:
            return mult, shift
        shift -= 1
    raise ValueError("octaves of a product: expected less than 0.1, got %s" % octaves)


def output_constants(ratio):
    # (out_num, out_shift) with out_num/2**out_shift ~ ratio, 2**29 <= out_num < 2**30
    num, shift = scaled(ratio, 30)
    if not 16 <= shift <= 45:
        raise ValueError("ratio of scales: expected 2**-15 to 16384, got %s" % ratio)
    return num, shift


# The keywords of a core, from its head_dim, the scales of its operands and its own options, which
# are among them; its tensors for so many `heads`


def exact_constants(head_dim, scale_q, scale_k, scale_v, scale_out, heads=1, **options):
    # Of all cores with a softmax in two passes
    check(head_dim, scale_q, scale_k, scale_v, scale_out)
    options["score_mult"], options["score_shift"], options["score_limit"] = score_constants(
        scale_q * scale_k / head_dim**0.5, head_dim, 24 if options.get("precise") else 16)
    options["out_num"], options["out_shift"] = output_constants(scale_v / scale_out)
    return options


def exact16_constants(head_dim, scale_q, scale_k, scale_v, scale_out, **options):
    check(head_dim, scale_q, scale_k, scale_v, scale_out)
    options["score_mult"], options["score_shift"] = requant_constants(
        scale_q * scale_k / head_dim**0.5 * LOG2_E * 2**14)
    options["out_num"], options["out_shift"] = output_constants(scale_v / scale_out)
    return options


def flash_constants(head_dim, scale_q, scale_k, scale_v, scale_out, **options):
    check(head_dim, scale_q, scale_k, scale_v, scale_out)
    octaves = scale_q * scale_k / head_dim**0.5 * LOG2_E
    options["score_mult"], options["score_shift"] = logarithm_constants(octaves, head_dim)
    options["out_num"], options["out_shift"] = output_constants(scale_v / scale_out)
    return options


def linear_constants(head_dim, scale_q, scale_k, scale_v, scale_out, phi="relu+1", normalize=True,
                     **made):
    check(head_dim, scale_q, scale_k, scale_v, scale_out)
    made["phi"], made["normalize"] = phi, normalize
    ratio = scale_v / scale_out
    if not normalize:
        ratio *= 2**24 if phi == "elu+1" else 2**16 * scale_q * scale_k
    if phi == "elu+1":
        for name, scale in (("table_q", scale_q), ("table_k", scale_k)):
            table = [i * scale + 1 if i < 128 else math.exp((i - 256) * scale) for i in range(256)]
            unit = max(table) / 4095
            made[name] = array("H", [max(1, int(y / unit + 0.5)) for y in table])
            if not normalize:
                ratio *= unit
    made["out_num"], made["out_shift"] = output_constants(ratio)
    return made


def performer_constants(head_dim, scale_q, scale_k, scale_v, scale_out, num_features=32, seed=1,
                        features=None, heads=1, **made):
    # features: float [heads, num_features, head_dim]; None: random ones of this seed and the next
    check(head_dim, scale_q, scale_k, scale_v, scale_out)
    if features is None:
        features = random_features(num_features, head_dim, seed)
        for h in range(1, heads):
            features.extend(random_features(num_features, head_dim, seed + h))
    scale = _scale("features", peak("features", features)) / 127
    made["features"] = array("b", [int(math.floor(x / scale + 0.5)) for x in features])
    octaves = scale * LOG2_E / head_dim**0.25
    for name, each in (("query", scale_q * octaves), ("key", scale_k * octaves),
                       ("norm", scale_k * scale_k * LOG2_E / head_dim**0.5 / 2)):
        made[name + "_mult"], made[name + "_shift"] = logarithm_constants(each, head_dim)
    made["out_num"], made["out_shift"] = output_constants(scale_v / scale_out)
    return made


def random_features(num_features, head_dim, seed):
    # float [num_features, head_dim]: normal vectors, each head_dim of them orthogonal, with the
    # norms that they had. xorshift32 (Marsaglia, 2003) draws them.
    checks.between("num_features", num_features, 1, 256)
    checks.between("head_dim", head_dim, 1, checks.MAX_INPUTS)
    checks.between("seed", seed, 1, 0xFFFFFFFF)
    floats = array("f", bytes(4 * num_features * head_dim))
    x = seed

    def uniform():
        nonlocal x
        x ^= (x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x ^= (x << 5) & 0xFFFFFFFF
        return ((x >> 12) + 1) / 1048577

    for _ in range(16):  # the first ones of small seeds are small
        uniform()
    for row in range(num_features):
        block = row - row % head_dim
        while True:
            drawn = [math.sqrt(-2 * math.log(uniform())) * math.cos(2 * math.pi * uniform())
                     for _ in range(head_dim)]
            norm = math.sqrt(sum(y * y for y in drawn))
            for _ in range(2):  # a second time takes off what rounding left
                for other in range(block, row):
                    start = other * head_dim
                    square = share = 0.0
                    for i in range(head_dim):
                        square += floats[start + i] * floats[start + i]
                        share += floats[start + i] * drawn[i]
                    for i in range(head_dim):
                        drawn[i] -= share / square * floats[start + i]
            left = math.sqrt(sum(y * y for y in drawn))
            if left > norm / 1000:  # else it lay within the others, and another is drawn
                break
        for i in range(head_dim):
            floats[row * head_dim + i] = drawn[i] * (norm / left)
    return floats


def local_global_constants(head_dim, scale_q, scale_k, scale_v, scale_out, gate=0.0, heads=1,
                           **options):
    # gate: what the sigmoid is taken of, one number or [heads, head_dim]
    scale_out = _scale("scale_out", scale_out) / 32
    made = exact_constants(head_dim, scale_q, scale_k, scale_v, scale_out, **options)
    if isinstance(gate, (int, float)):
        gate = [gate] * heads * head_dim
    peak("gate", gate, heads * head_dim)
    made["gate"] = array("H", [int(32768 / (1 + math.exp(-max(min(y, 60), -60))) + 0.5)
                               for y in gate])
    return made
