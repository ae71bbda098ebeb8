"""Proofs: what a board computes against what NumPy computes, bit for bit."""

from .compare import Verification, verify

__all__ = ["Verification", "verify"]
