"""Training in NumPy: what device/attn8/train computes, module for module and bit for bit.

With `formats.Float64` the same layers compute in double precision: what fixed point is measured
against.
"""
