"""What of the device package one model needs: the modules that loading it imports, and theirs."""

import ast
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from . import bundle, forms
from .isa.device import Device
from .paths import DEVICE
from .plan.inference import served

ROOT = DEVICE / "attn8"
ARCH = "rv32imc"  # of the emulated kernels that the load calls; the modules are any chip's
# What is imported later than by a load, or by one from elsewhere: what errors say, what feeds a
# model and what it has besides, names of the package, the server's requests, weights in the flash
BESIDE = ("batches", "feed", "link.load", "link.rate", "names", "partition", "public", "refuse",
          "stored", "stream", "tiles")


def needed(config: dict[str, Any], data: bytes) -> set[str]:
    """The modules that a board needs to load a model, run it and serve it.

    The device's own code loads the model here, so that what it imports by name is known.

    Args:
        config: of the model.
        data: its file.

    Returns:
        Their paths within attn8, such as "cores/exact" and "cores/__init__".

    Raises:
        Attn8Error: the device refuses the model.
    """
    device = Device(ARCH, forms.VIPER)
    if "text" in config:  # it takes a token at a time
        device.load("attn8.link.server")
        device.load("attn8.text")
    else:
        for need_weights in (False, True):
            served(device, config, data, need_weights)
    with TemporaryDirectory() as folder, suppress(ValueError):  # of what takes no single tokens
        path = Path(folder) / "model"
        path.write_bytes(data)
        device.load("attn8.model").load(str(path), step=True)
    waiting = [name for name in device.importer.imported if name.startswith("attn8")]
    waiting += [f"attn8.{name}" for name in BESIDE]
    modules: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in modules:
            modules.add(name)
            waiting += _imports(name)
    files = {bundle.home(name[len("attn8.") :]) for name in modules}
    return {_source(f"attn8.{name}".rstrip(".")).relative_to(ROOT).with_suffix("").as_posix()
            for name in files}


def _source(name: str) -> Path:
    path = DEVICE.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _imports(name: str) -> frozenset[str]:
    """The package's modules that one imports as it is imported, and those that it lies in."""
    path, parts = _source(name), name.split(".")
    package = parts if path.name == "__init__.py" else parts[:-1]
    found = {".".join(parts[:n]) for n in range(1, len(parts))}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
        module = ".".join(filter(None, base))
        named = {f"{module}.{alias.name}" for alias in node.names}
        found |= {each for each in (module, *named) if _source(each).is_file()}
    return frozenset(found)
