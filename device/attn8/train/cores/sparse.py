from .exact import Exact


class Masked(Exact):
    # The softmax of the pairs that a mask shows; a query without keys gives zeros. All scores are
    # computed, and the weights of what is hidden are 0. masks: see _bits.

    value_widths = crosses = False

    def __init__(self, f, name, sizes, operands, causal, recompute, masks):
        super().__init__(f, name, sizes, operands, causal, recompute)
        self.masks = _bits(sizes[1], causal, masks)
        if f.typecode == "i":
            from ...kernels.fixed_mask import mask as hide
        else:
            from ...kernels.floating import mask as hide
        self._hide = hide
        self._hidden = f.number(-1e9), f.number(0.0)  # as a score, and as a weight

    def _weigh(self, scores, bits, weights, first, start):
        rows, keys, length = self.block, self.key_len, self.length
        self._hide(scores, 0, rows, keys, bits, first, length, self._hidden[0])
        self.f.softmax(scores, weights, start, rows, keys, self._scale)
        self._hide(weights, start, rows, keys, bits, first, length, self._hidden[1])


class Sparse(Masked):
    # With the mask of its options, or the bits of one for each head

    options = ["block_rows", "mask"]
    constants = ["masks"]

    def __init__(self, f, name, sizes, operands, causal, recompute, mask=None, masks=None,
                 **options):
        if masks and len(masks) != sizes[0]:
            raise ValueError("%s.constants.masks: expected one a head, %d, got %d"
                             % (name, sizes[0], len(masks)))
        super().__init__(f, name, sizes, operands, causal, recompute, masks or [mask])

    def _softmax(self, head, first, start):
        self._weigh(self.scores, self.masks[head % len(self.masks)], self.weights, first, start)


def _bits(seq_len, causal, masks):
    # masks: descriptions (see masks.build), or bits in hexadecimal -> the bits of each. What makes
    # masks is forgotten again.
    from ...unload import Unload

    unload = Unload()
    from binascii import unhexlify

    from ...masks import build
    from ...masks.mask import Mask
    from ...masks.patterns import causal as past

    found = []
    for given in masks:
        if isinstance(given, str):
            mask = Mask.from_bits(seq_len, bytearray(unhexlify(given)))
        else:
            mask = build(seq_len, *(given or ()))
        if causal:
            mask = mask.intersection(past(seq_len))
        found.append(mask.to_bits())
    unload.forget("masks")
    return found
