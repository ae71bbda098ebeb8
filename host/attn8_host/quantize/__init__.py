"""From float models to the integers of the specification, in float64.

A quantized value x stands for x * scale. Formulas: docs/numerics.md.
"""
