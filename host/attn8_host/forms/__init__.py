"""Forms of kernels: viper, and machine code for some chips, which takes fewer instructions than a
compiler's, on stock firmware.

A form in machine code is a folder of device/attn8/forms (attn8/forms/__init__.py says what is in
it) and here a module of `targets`, what it runs on. Each of its families is a file of that folder,
or of another form that says the same, in which viper functions without a body say what arguments
they take, and here the module kernels/FAMILY_FORM.py, which assembles them. `attn8 deploy` sends
the files of the forms that a board can run, the kernels in the place of those functions, and the
board takes a family once it has given known answers. The form simd, with vector instructions, is
experimental, as no chip has run it yet, and sent where ATTN8_BACKEND=simd asks for it.
"""

import ast
import os
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from .. import bundle, slim
from ..boards import BoardInfo
from ..errors import BoardError
from ..isa import compiler
from ..isa import mpy as isa
from ..paths import DEVICE
from . import kernels, mpy, targets

ROOT = DEVICE / "attn8"
VIPER = "viper"  # the form that is Python source alone, and on every board
PACKAGE = "__init__"  # the module of a form's package
STUBS = "xtensa"  # the form whose sources serve the others


def machine_forms() -> tuple[str, ...]:
    """The forms in machine code, by name."""
    return tuple(sorted(found.name for found in iter_modules(targets.__path__)))


def target(form: str) -> ModuleType:
    """What a form in machine code runs on: a module with ARCH, of its .mpy files, ISA, the emulator
    in isa.MACHINES, FUNCTION, NEEDS, the chips in words, EXPERIMENTAL, whether none of them has run
    it yet, and runs_on(info).
    """
    return import_module(f"{targets.__name__}.{form}")


def families(form: str) -> tuple[str, ...]:
    """The families of kernels that a form has: of machine code those that are assembled for it."""
    found = tuple(sorted(path.stem for path in source(VIPER).parent.glob("[a-z]*.py")))
    assembled = {module.name for module in iter_modules(kernels.__path__)}
    return tuple(f for f in found if form == VIPER or f"{f}_{form}" in assembled)


def source(form: str, module: str = PACKAGE) -> Path:
    """The device's source of a family of a form, or of its package.

    A family that says the same as that of STUBS has none of its own.
    """
    own = ROOT / "forms" / form / f"{module}.py"
    return own if own.is_file() else ROOT / "forms" / STUBS / f"{module}.py"


def borrowed() -> dict[str, Path]:
    """The device's modules that have the source of another: {name: path of that source}."""
    return {f"attn8.forms.{form}.{family}": source(form, family) for form in machine_forms()
            for family in families(form) if source(form, family).parent.name != form}


def is_portable(path: str) -> bool:
    """Whether a file of the device package, a path within it, serves on every board.

    Others serve machine code: the forms themselves, and the answers that they have to give.
    """
    top, *rest = path.split("/")
    if top == "forms" and len(rest) > 1:
        return rest[0] == VIPER
    return top != "known"


def portable(module: str) -> str:
    """The module that stands for one on every board: viper's of the family that it serves."""
    top, *rest = module.split("/")
    if top == "forms" and len(rest) > 1:
        return "/".join([top, VIPER, *rest[1:]])
    return "/".join(["forms", VIPER, *rest]) if top == "known" else module


def declared(form: str, name: str) -> Any:
    """What the package of a form says by a name: BACKEND, a str, or RANK, an int."""
    for node in ast.parse(source(form).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise ValueError(f"{source(form)}: {name} is missing")


def backends() -> dict[str, tuple[str, ...]]:
    """The words of ATTN8_BACKEND, and the forms in machine code that are deployed for each.

    A form comes with those of lower rank, which have what it lacks.
    """
    ranks: dict[str, int] = {form: declared(form, "RANK") for form in machine_forms()}
    words: dict[str, tuple[str, ...]] = {VIPER: ()}
    for form in sorted(ranks, key=lambda form: ranks[form]):
        lower = (other for other in ranks if ranks[other] <= ranks[form])
        words[declared(form, "BACKEND")] = tuple(lower)
    return words


def files_for(info: BoardInfo, backend: str | None = None) -> dict[str, bytes]:
    """What to add to the portable package for a board: nothing where it runs no machine code.

    Args:
        info: of the board.
        backend: a word of `backends`, None for what the environment variable ATTN8_BACKEND says,
            and otherwise turbo.

    Raises:
        BoardError: there is no such word, or it is simd and the board cannot run it.
    """
    wanted = backend or os.environ.get("ATTN8_BACKEND", "turbo")
    known = backends()
    if wanted not in known:
        *others, last = sorted(known)
        raise BoardError(f"ATTN8_BACKEND: expected {', '.join(others)} or {last}, got {wanted}")
    reads = info.mpy_version == mpy.VERSION
    forms = [form for form in known[wanted] if reads and target(form).runs_on(info)]
    for form in known[wanted]:
        asked = target(form).EXPERIMENTAL and declared(form, "BACKEND") == wanted
        if asked and form not in forms:
            raise BoardError(
                f"backend {wanted}: expected {target(form).NEEDS} that reads .mpy version "
                f"{mpy.VERSION}, got {info.machine}, version {info.mpy_version}; use turbo or viper"
            )
    return files(forms)


def experimental(paths: Iterable[str]) -> tuple[str, ...]:
    """The forms among files of the package that no chip has run yet."""
    forms = {path.split("/")[1] for path in paths if path.startswith("forms/") and "/" in path[6:]}
    return tuple(sorted(f for f in forms - {VIPER} if target(f).EXPERIMENTAL))


def files_of(isa: str, backend: str) -> dict[str, bytes]:
    """The files that are added for the chips of one instruction set."""
    return files([form for form in backends()[backend] if isa == target(form).ISA])


def files(forms: list[str]) -> dict[str, bytes]:
    """The files of some forms in machine code, of one instruction set: {path: content}."""
    found = {}
    for form in forms:
        for module in (PACKAGE, *families(form)):
            found[f"forms/{form}/{module}.mpy"] = build(form, module, True)
    if forms:
        arch = target(forms[0]).ARCH
        for module in (PACKAGE, *sorted({family for form in forms for family in families(form)})):
            found[f"known/{module}.mpy"] = _compile(ROOT / f"known/{module}.py", arch, True)
    return found


@cache
def build(form: str, module: str, slimmed: bool = False) -> bytes:
    """The .mpy file of a family of a form, or of its package, with its kernels in machine code.

    Args:
        slimmed: whether it is for a chip, where internal names are others (see slim.py).
    """
    path, wanted = source(form, module), target(form)
    named = _compile(path, wanted.ARCH)
    compiled = _compile(path, wanted.ARCH, True) if slimmed else named
    stubs = signatures(path)
    if not stubs:
        return compiled
    assembles = wanted if module == PACKAGE else kernels_of(form, module)
    table = mpy.table_index(compiled)
    stored = [each.qstr for each in isa.stored_functions(isa.read(named))]
    code = {}
    for name, signature in stubs.items():
        kernel = name.lstrip("_")
        spare = getattr(assembles, "SPARE", {}).get(kernel, ())
        function = wanted.FUNCTION(replace(signature, spare=spare, table=table))
        getattr(assembles, kernel)(function)
        function.finish()
        code[stored.index(name)] = function.code()
    return mpy.link(compiled, code)


def kernels_of(form: str, family: str) -> ModuleType:
    """The module that assembles a family of a form."""
    return import_module(f"{kernels.__name__}.{family}_{form}")


def signatures(path: Path) -> dict[str, mpy.Signature]:
    """Those of the viper functions of a module of the device, by name."""
    return {
        node.name: mpy.Signature(
            node.name,
            {argument.arg: _kind(argument) for argument in node.args.args},
            returns=node.returns is not None,
        )
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(decorator) == "micropython.viper" for decorator in node.decorator_list)
    }


def _kind(argument: ast.arg) -> int:
    is_int = isinstance(argument.annotation, ast.Name) and argument.annotation.id == "int"
    return mpy.INT if is_int else mpy.POINTER


def _compile(path: Path, arch: str, slimmed: bool = False) -> bytes:
    module = path.relative_to(ROOT).as_posix()
    packaged = slim.package().sources if slimmed else {}
    source = packaged.get(module) or bundle.moved(module, path.read_bytes())
    return compiler.compile_source(source.decode(), arch, path.name)
