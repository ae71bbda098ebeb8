"""Attention cores: a module each, of the name that a config's "core" has (see base.Core)."""

from ..discover import entries
from ..errors import ModelError
from .base import Core


def all_cores() -> dict[str, Core]:
    """All cores by name."""
    found: dict[str, Core] = entries(__name__, "CORE")
    return found


def get(name: str) -> Core:
    """A core.

    Raises:
        ModelError: there is none of this name.
    """
    if name not in all_cores():
        raise ModelError(f"there is no core {name}; expected one of {', '.join(all_cores())}")
    return all_cores()[name]
