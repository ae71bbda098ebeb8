"""From scales and float weights to the integers of the specification, in float64.

A quantised value x stands for x * scale. Formulas: the numerics section of the README.
"""

from .cores import CONSTANTS, exact_constants, heads_scale
from .integers import output_constants, quantize, requant_constants, score_constants
from .model import linear, quantize_model

__all__ = [
    "CONSTANTS",
    "exact_constants",
    "heads_scale",
    "linear",
    "output_constants",
    "quantize",
    "quantize_model",
    "requant_constants",
    "score_constants",
]
