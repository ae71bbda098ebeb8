"""Writes what lists the device package's files, for whoever cannot list a folder.

    python -m tools.device_files

- package.json, from which `mpremote mip install` copies the package to a board;
- device/attn8/names.py, which says where each public name of the package is.

Run it when a file of device/attn8 comes or goes; a test compares.
"""

import ast
import json

from attn8_host import __version__
from attn8_host.deploy import package_sources
from attn8_host.paths import DEVICE

PACKAGE = DEVICE.parent / "package.json"
NAMES = DEVICE / "attn8/names.py"
FUNCTIONS = {"backend": "forms", "load": "model", "serve": "link.server"}  # and where they are
PACKAGES = ("masks", "quantize", "train")  # those with public names of their own
LOADED = {"checks", "cores", "find", "forms", "memory", "signals", "tables"}  # as attn8 itself is


def package() -> str:
    """package.json: each file's place on the board, below /lib, and in this repository."""
    urls = [[f"attn8/{name}", f"device/attn8/{name}"] for name in package_sources()]
    return json.dumps({"urls": urls, "deps": [], "version": __version__}, indent=2) + "\n"


def _imported() -> set[str]:
    """The package's modules that its own files import by `from .. import NAME`."""
    top = DEVICE / "attn8"
    found = set()
    for path in top.rglob("*.py"):
        depth = len(path.relative_to(top).parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module is None and node.level == depth:
                found |= {alias.name for alias in node.names}
    return found


def names() -> str:
    """names.py: classes of cores and layers, functions, and modules of the package."""
    found = dict(FUNCTIONS)
    for path in sorted((DEVICE / "attn8/layers").glob("[!_]*.py")):
        # A layer is called; what it is made of is not, and has no name at the REPL
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            methods = {item.name for item in getattr(node, "body", ())
                       if isinstance(item, ast.FunctionDef)}
            if isinstance(node, ast.ClassDef) and "__call__" in methods:
                found[node.name] = f"layers.{path.stem}"
    for path in sorted((DEVICE / "attn8/cores").glob("[!_]*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name.lower() == path.stem.replace("_", ""):
                found[node.name] = f"cores.{path.stem}"
    found["Model"] = "model"
    for name in sorted({*PACKAGES, *_imported()} - LOADED):
        found[name] = name
    # Keywords, as the interpreter knows these as words: dir and TAB find no others
    lines = [f'    {name}="{found[name]}",\n' for name in sorted(found, key=str.lower)]
    return (
        "# Where the public names of the package are. Written by tools/device_files.py.\n"
        "NAMES = dict(\n" + "".join(lines) + ")\n"
    )


if __name__ == "__main__":
    NAMES.write_text(names(), encoding="utf-8")
    PACKAGE.write_text(package(), encoding="utf-8")
