"""Proofs: what a board computes against what NumPy computes, bit for bit."""
