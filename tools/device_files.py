"""Writes what lists the device package's files, for whoever cannot list a folder.

    python -m tools.device_files

- package.json, from which `mpremote mip install` copies the package to a board;
- device/attn8/names.py, which says where each public name of the package is;
- device/attn8/lines.py, what `attn8.help` says of each: how it is made, and its first sentence.

Run it when a file of device/attn8 comes or goes; a test compares.
"""

import ast
import json
import textwrap
from pathlib import Path

from attn8_host import __version__
from attn8_host.deploy import package_sources
from attn8_host.paths import DEVICE

PACKAGE = DEVICE.parent / "package.json"
NAMES = DEVICE / "attn8/names.py"
LINES = DEVICE / "attn8/lines.py"
# Functions, and where they are
FUNCTIONS = {"backend": "choice", "batch": "batches", "generate": "text", "help": "manual",
             "load": "model", "serve": "link.server"}
PACKAGES = ("masks", "quantize", "train")  # those with public names of their own
LEARNING = {"train.fit": "train", "train.samples.Samples": "train.samples"}  # what a board calls
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


def _names() -> dict[str, str]:
    """Where classes of cores and layers, functions, and modules of the package are."""
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
    found |= {"Convert": "qconvert", "ConvertToInt8": "qconvert", "Model": "run",
              "QDense": "qdense", "QMeanPool": "qmean_pool", "QReLU": "qrelu", "Stream": "stream"}
    for name in sorted({*PACKAGES, *_imported()} - LOADED):
        found[name] = name
    return found


def names() -> str:
    """names.py: where each public name is."""
    found = _names()
    # Keywords, as the interpreter knows these as words: dir and TAB find no others
    lines = [f'    {name}="{found[name]}",\n' for name in sorted(found, key=str.lower)]
    words = [f"    {name}=0,\n" for name in sorted(_builders())]
    return (
        "# Where the public names of the package are. Written by tools/device_files.py.\n"
        "NAMES = dict(\n" + "".join(lines) + ")\n"
        "# Those of masks, for the interpreter to know the words before they are looked up\n"
        "dict(\n" + "".join(words) + ")\n"
    )


def _builders() -> dict[str, str]:
    """In which modules of masks its public names are."""
    tree = ast.parse((DEVICE / "attn8/masks/__init__.py").read_text(encoding="utf-8"))
    builders = next(node.value for node in tree.body if isinstance(node, ast.Assign)
                    and ast.unparse(node.targets[0]) == "_builders")
    assert isinstance(builders, ast.Call)
    found = {str(word.arg): ast.literal_eval(word.value) for word in builders.keywords}
    return found | {"Mask": "mask"}


# What only the package gives
INTERNAL = {"self", "cls", "buffers", "make", "shared", "hide", "parts"}


def _arguments(function: ast.FunctionDef) -> str:
    """What a user gives, as written."""
    given = function.args
    plain = given.args
    defaults = [None] * (len(plain) - len(given.defaults)) + given.defaults
    said = [arg.arg if default is None else f"{arg.arg}={ast.unparse(default)}"
            for arg, default in zip(plain, defaults, strict=True) if arg.arg not in INTERNAL]
    if given.vararg:
        said.append(f"*{given.vararg.arg}")
    if given.kwarg:
        said.append(f"**{given.kwarg.arg}")
    return f"({', '.join(said)})"


def _sentence(lines: list[str], start: int) -> str:
    """The first sentence of the comment from this line on."""
    words: list[str] = []
    for line in lines[start:]:
        if not line.strip().startswith("# "):
            break
        words += line.strip()[2:].split()
    text = " ".join(words)
    return text[: text.find(". ")] if ". " in text else text.rstrip(".:")


def _methods(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> dict[str, ast.FunctionDef]:
    """Those of a class and of what it is made from."""
    found: dict[str, ast.FunctionDef] = {}
    for base in node.bases:
        found |= _methods(classes[ast.unparse(base)], classes)
    return found | {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}


def _explained(key: str, path: Path, classes: dict[str, ast.ClassDef]) -> str:
    """How something public is made, and what it is; a module where the path has none of its name"""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if getattr(node, "name", None) != key.rpartition(".")[2]:
            continue
        if isinstance(node, ast.FunctionDef):
            heads = [key + _arguments(node)]
        else:
            assert isinstance(node, ast.ClassDef)
            made = _methods(node, classes)
            heads = [key + _arguments(made.get("__init__") or made["__new__"])]
            heads += [f"{key}.{name}{_arguments(method)}" for name, method in made.items()
                      if any(ast.unparse(of) == "classmethod" for of in method.decorator_list)]
        start = node.lineno
        while not lines[start - 1].rstrip().endswith(":"):  # the end of the signature
            start += 1
        return "\n".join([*heads, "    " + _sentence(lines, start)])
    return f"{key}\n    {_sentence(lines, 0)}"


def lines() -> str:
    """lines.py: what help says."""
    top = DEVICE / "attn8"

    def file(module: str) -> Path:
        path = top / module.replace(".", "/")
        return path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"

    classes = {node.name: node for path in sorted(top.rglob("*.py"))
               for node in ast.parse(path.read_text(encoding="utf-8")).body
               if isinstance(node, ast.ClassDef)}
    found = _names()
    said = [_explained(name, file(found[name]), classes) for name in sorted(found, key=str.lower)]
    places = _builders()
    said += [_explained(f"masks.{name}", file(f"masks.{places[name]}"), classes)
             for name in sorted(places)]
    said += [_explained(name, file(module), classes) for name, module in LEARNING.items()]
    literals = []
    for text in said:
        parts = textwrap.wrap(text, 90, drop_whitespace=False, replace_whitespace=False)
        literals.append("    " + "\n    ".join(json.dumps(part, ensure_ascii=False)
                                              for part in parts) + ",\n")
    return (
        "# What `attn8.help` says. Written by tools/device_files.py.\n"
        "LINES = (\n" + "".join(literals) + ")\n"
    )


if __name__ == "__main__":
    NAMES.write_text(names(), encoding="utf-8")
    LINES.write_text(lines(), encoding="utf-8")
    PACKAGE.write_text(package(), encoding="utf-8")
