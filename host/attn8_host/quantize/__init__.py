"""From scales and float weights to the integers of the specification, in float64.

A quantised value x stands for x * scale. Formulas: the numerics section of the README.
"""

from ..numerics.scales import (
    logarithm_constants,
    output_constants,
    quantize,
    requant_constants,
    score_constants,
)
from .cores import (
    CONSTANTS,
    decode_constants,
    exact_constants,
    flash_constants,
    heads_scale,
    linear_constants,
    local_global_constants,
    performer_constants,
    random_features,
    sliding_constants,
)
from .model import linear, quantize_model

__all__ = [
    "CONSTANTS",
    "decode_constants",
    "exact_constants",
    "flash_constants",
    "heads_scale",
    "linear",
    "linear_constants",
    "local_global_constants",
    "logarithm_constants",
    "output_constants",
    "performer_constants",
    "quantize",
    "quantize_model",
    "random_features",
    "requant_constants",
    "score_constants",
    "sliding_constants",
]
