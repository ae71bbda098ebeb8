"""Layer types: a module each, of the name that a config's "type" has (see base.LayerType)."""

from ..discover import entries
from ..errors import ModelError
from .base import LayerType


def types() -> dict[str, LayerType]:
    """All layer types by name."""
    found: dict[str, LayerType] = entries(__name__, "TYPE")
    for name, kind in found.items():
        kind.name = name
    return found


def get(name: str) -> LayerType:
    """A layer type.

    Raises:
        ModelError: there is none of this name.
    """
    if name not in types():
        raise ModelError(f"unknown layer type {name}; expected one of {', '.join(types())}")
    return types()[name]
