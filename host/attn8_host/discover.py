"""Layers, cores and commands are modules of a package, found by their names."""

import pkgutil
from functools import cache
from importlib import import_module
from typing import Any


@cache
def entries(package: str, attribute: str) -> dict[str, Any]:
    """What the modules of a package say of themselves, by the modules' names.

    Args:
        package: its full name.
        attribute: what a module that is an entry defines; others are left out.
    """
    found = {}
    for module in pkgutil.iter_modules(import_module(package).__path__):
        entry = vars(import_module(f"{package}.{module.name}")).get(attribute)
        if entry is not None:
            found[module.name] = entry
    return found
