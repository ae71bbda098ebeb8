# Integer constants from scales, for experiments at the REPL. A chip's floats have 24 bits, so the
# last bits may differ from those of attn8_host.quantize, which computes a model's in float64.
import math

from . import checks

LOG2_E = 1.4426950408889634


def check(head_dim, scale_q, scale_k, scale_v, scale_out):
    checks.between("head_dim", head_dim, 1, checks.MAX_INPUTS)
    for part, scale in zip(("q", "k", "v", "out"), (scale_q, scale_k, scale_v, scale_out)):
        checks.refuse("real", "scale_" + part, scale, 1e-30, 1e30)


def requant_constants(ratio):
    # (M, s) with M/2**s ~ ratio, 2**14 <= M < 2**15
    mult, shift = _scaled(ratio, 15)
    if not 16 <= shift <= 45:
        raise ValueError("ratio of scales: expected 2**-31 to 0.5, got %s" % ratio)
    return mult, shift


def _scaled(ratio, bits):
    # (n, s) with n/2**s ~ ratio and n of exactly `bits` bits
    mantissa, exponent = math.frexp(ratio)
    n = int(mantissa * (1 << bits) + 0.5)
    shift = bits - exponent
    return (n >> 1, shift - 1) if n == 1 << bits else (n, shift)


def score_constants(scale, head_dim):
    # (score_mult, score_shift, score_limit) for scores that stand for score * scale
    octaves = scale * LOG2_E
    largest = 2 * 127 * 127 * head_dim
    if not 0 < octaves < 4:
        raise ValueError("score scale: expected 0 to 2.77, got %s" % scale)
    span = min(4096.0, 256 * octaves * largest + 2)
    shift = min(28, int(math.floor(31 - math.log(span) / math.log(2))))
    while True:
        mult = max(1, int(octaves * 2.0 ** (8 + shift) + 0.5))
        half = 1 << (shift - 1)
        limit = min(((1 << (12 + shift)) - half - 1) // mult, largest)
        if limit * mult + half < 1 << 31 and mult < 1 << 30:
            return mult, shift, limit
        shift -= 1


def logarithm_constants(octaves, head_dim):
    # (mult, shift): a sum of head_dim products stands for sum * mult / 2**shift 1/256 octaves
    largest = head_dim << 14
    shift = min(24, int(math.floor(31 - math.log(256 * octaves * largest) / math.log(2))))
    while shift >= 8:
        mult = int(256 * octaves * 2.0**shift + 0.5)
        if largest * mult + (1 << (shift - 1)) < 1 << 31:
            return mult, shift
        shift -= 1
    raise ValueError("octaves of a product: expected less than 0.1, got %s" % octaves)


def output_constants(ratio):
    # (out_num, out_shift) with out_num/2**out_shift ~ ratio, 2**29 <= out_num < 2**30
    num, shift = _scaled(ratio, 30)
    if not 16 <= shift <= 45:
        raise ValueError("ratio of scales: expected 2**-15 to 16384, got %s" % ratio)
    return num, shift
