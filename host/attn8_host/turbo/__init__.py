"""Kernels in hand-written machine code: fewer instructions than a compiler's, on stock firmware."""

import ast
from types import ModuleType

from ..paths import DEVICE
from . import mpy
from .kernels import attention_rv32, attention_xtensa, matmul_rv32, matmul_xtensa

WRAPPERS: dict[str, type[mpy.Function]] = {
    "xtensawin": mpy.XtensaFunction,
    "rv32imc": mpy.Rv32Function,
}
MODULES: dict[str, tuple[ModuleType, ...]] = {
    "xtensawin": (matmul_xtensa, attention_xtensa),
    "rv32imc": (matmul_rv32, attention_rv32),
}
# Each kernel has the signature of the viper kernel that it replaces: {module: names}
KERNELS = {
    "matmul": ("matmul",),
    "attention": ("pack_keys", "pack_values", "scores", "mask_keys", "softmax", "weighted_sum"),
}


def build(arch: str) -> bytes:
    """The .mpy file of all kernels for one instruction set, a key of MODULES."""
    functions = {}
    for module, (family, names) in zip(MODULES[arch], KERNELS.items(), strict=True):
        arguments = signatures(family)
        for name in names:
            function = WRAPPERS[arch](mpy.Signature(name, arguments[name]))
            getattr(module, name)(function)
            function.finish()
            functions[name] = function.code()
    return mpy.write(arch, "turbo", functions)


def signatures(family: str) -> dict[str, dict[str, int]]:
    """The arguments of the viper functions of a module: {function: {argument: INT or POINTER}}."""
    source = (DEVICE / "attn8/kernels" / f"{family}.py").read_text(encoding="utf-8")
    return {
        node.name: {argument.arg: _kind(argument) for argument in node.args.args}
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
    }


def _kind(argument: ast.arg) -> int:
    is_int = isinstance(argument.annotation, ast.Name) and argument.annotation.id == "int"
    return mpy.INT if is_int else mpy.POINTER
