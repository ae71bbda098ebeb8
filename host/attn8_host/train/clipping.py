"""Gradient clipping."""

from typing import Any

from ..numerics.parameter import Parameter


class ClipNorm:
    """Scales all gradients so that their joint Euclidean norm is at most max_norm."""

    def __init__(self, f: Any, params: list[Parameter], max_norm: float) -> None:
        self.f = f
        self.params = params
        self.max_norm = max_norm

    def __call__(self) -> None:
        self.f.clip(self.params, self.max_norm)
