from .. import signals
from .layer_norm import LayerNorm, build_norm

TOKENWISE = True


class RMSNorm(LayerNorm):
    # x / sqrt(mean(x**2) + eps) * weight, as LayerNorm without the mean; bias is what rounds

    _centred = False

    def __init__(self, rows, weight, bias, shift, eps_mult, eps_shift, output="int8",
                 name="rms_norm", make=signals.make):
        super().__init__(rows, weight, bias, shift, eps_mult, eps_shift, output, name, make)

    def __call__(self, x):  # a layer by its own name
        return super().__call__(x)


def build(entry, given, need_weights):
    return build_norm(entry, given, RMSNorm)
