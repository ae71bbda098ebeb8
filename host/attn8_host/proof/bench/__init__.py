"""Measurements: what the link carries and what the kernels cost."""
