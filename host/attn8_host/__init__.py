"""The host half of attn8: deploys to a board, streams inputs over serial, proves every output."""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`from_torch`, which imports torch when it is asked for."""
    if name == "from_torch":
        from .importers.torch import from_torch

        return from_torch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
