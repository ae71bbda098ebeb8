"""Kernels in hand-written machine code: fewer instructions than a compiler's, on stock firmware.

`attn8 deploy` puts them beside the viper kernels, as attn8.kernels.turbo and turbo_*, and the board
takes them once they have given known answers. With ATTN8_BACKEND=simd an ESP32-S3 gets the module
attn8.kernels.simd as well, which is turbo with vector instructions: experimental, as no chip has
run it yet (see kernels.simd_xtensa).
"""

import ast
import dataclasses
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ..boards import BoardInfo
from ..errors import BoardError
from ..paths import DEVICE
from . import mpy
from .kernels import (
    attention_rv32,
    attention_xtensa,
    chip_xtensa,
    linear_rv32,
    linear_xtensa,
    matmul_rv32,
    matmul_xtensa,
    pointwise_rv32,
    pointwise_xtensa,
    simd_xtensa,
    sparse_rv32,
    sparse_xtensa,
)

# Modules of attn8.kernels on the board, and the viper modules whose kernels each has. What only
# some cores use is on its own, to take memory where these are used alone.
MODULES: dict[str, tuple[str, ...]] = {
    "turbo": ("matmul", "attention", "pointwise"),
    "turbo_sparse": ("sparse",),
    "turbo_linear": ("linear",),
}
SIMD_FILE = "kernels/simd.mpy"
# ESP32-S2 has neither the multiply-accumulate unit nor the loops; every rv32imc chip has all
XTENSA_CHIPS = ("ESP32", "ESP32S3")

WRAPPERS: dict[str, type[mpy.Function]] = {
    "xtensawin": mpy.XtensaFunction,
    "rv32imc": mpy.Rv32Function,
}
# Each kernel has the signature of the viper kernel that it replaces, in the module of this name
KERNELS: dict[str, dict[str, ModuleType]] = {
    "xtensawin": {
        "matmul": matmul_xtensa,
        "attention": attention_xtensa,
        "pointwise": pointwise_xtensa,
        "sparse": sparse_xtensa,
        "linear": linear_xtensa,
    },
    "rv32imc": {
        "matmul": matmul_rv32,
        "attention": attention_rv32,
        "pointwise": pointwise_rv32,
        "sparse": sparse_rv32,
        "linear": linear_rv32,
    },
}
NAMES = {
    "matmul": ("pack", "matmul"),
    "attention": ("pack_keys", "pack_values", "scores", "mask_keys", "softmax", "weighted_sum"),
    "pointwise": ("swap_axes",),
    "sparse": ("list_spans", "list_bits", "pack", "attend"),
    "linear": ("fill", "accumulate", "shrink", "features", "attend"),
}
# Kernels that do at once what viper does in several
FUSED = {
    "sparse": """
def pack(k: ptr8, acc: int, v: ptr8, packed: ptr8, keys: int, head_dim: int): ...
def attend(packed: ptr8, acc: int, q: ptr8, pairs: ptr16, counts: ptr16, room: ptr32,
           table: ptr16, out: ptr8, first: int, rows: int, keys: int, head_dim: int, mult: int,
           shift: int, limit: int, num: int, out_shift: int): ...
""",
}


def files_for(info: BoardInfo, backend: str | None = None) -> dict[str, bytes]:
    """What to add to the package for a board: nothing where it cannot run turbo kernels.

    Args:
        info: of the board.
        backend: "turbo", "simd" for those with vector instructions too, or "viper" to go without
            any; None for what the environment variable ATTN8_BACKEND says, and otherwise turbo.

    Raises:
        BoardError: ATTN8_BACKEND is none of these, or simd and the board cannot run it.
    """
    wanted = backend or os.environ.get("ATTN8_BACKEND", "turbo")
    if wanted not in ("turbo", "simd", "viper"):
        raise BoardError(f"ATTN8_BACKEND: expected turbo, simd or viper, got {wanted}")
    chip = info.machine.split()[-1]
    if wanted == "simd" and (chip, info.mpy_version) != ("ESP32S3", mpy.VERSION):
        raise BoardError(
            f"backend simd: expected an ESP32-S3 that reads .mpy version {mpy.VERSION}, got "
            f"{info.machine}, version {info.mpy_version}; use turbo or viper"
        )
    if wanted == "viper" or info.mpy_version != mpy.VERSION or info.arch not in KERNELS:
        return {}
    if info.arch == "xtensawin" and chip not in XTENSA_CHIPS:
        return {}
    modules = [*MODULES, *(["simd"] if wanted == "simd" else [])]
    return {f"kernels/{module}.mpy": build(info.arch, module) for module in modules}


def build(arch: str, module: str = "turbo") -> bytes:
    """The .mpy file of a module for one instruction set, a key of KERNELS.

    Args:
        arch: the instruction set.
        module: a key of MODULES; or "simd" for turbo with the kernels of simd_xtensa in place of
            those of the same names.
    """
    functions = {}
    simd = module == "simd"
    for family in MODULES["turbo" if simd else module]:
        declared = signatures(family)
        for name in NAMES[family]:
            source = simd_xtensa if simd and hasattr(simd_xtensa, name) else KERNELS[arch][family]
            spare = getattr(source, "SPARE", {}).get(name, ())
            signature = dataclasses.replace(declared[name], spare=spare)
            functions[name] = _assemble(arch, signature, getattr(source, name))
    if arch == "xtensawin" and module in ("turbo", "simd"):
        signature = mpy.Signature("configid0", {}, returns=True)
        functions["configid0"] = _assemble(arch, signature, chip_xtensa.configid0)
    return mpy.write(arch, module, functions)


def _assemble(arch: str, signature: mpy.Signature, kernel: Callable[[Any], None]) -> bytes:
    function = WRAPPERS[arch](signature)
    kernel(function)
    function.finish()
    return function.code()


def signatures(family: str) -> dict[str, mpy.Signature]:
    """Those of the viper functions of a module of attn8.kernels, and of FUSED, by name."""
    source = (DEVICE / "attn8/kernels" / f"{family}.py").read_text(encoding="utf-8")
    source += FUSED.get(family, "")
    return {
        node.name: mpy.Signature(
            node.name,
            {argument.arg: _kind(argument) for argument in node.args.args},
            returns=node.returns is not None,
        )
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
    }


def _kind(argument: ast.arg) -> int:
    is_int = isinstance(argument.annotation, ast.Name) and argument.annotation.id == "int"
    return mpy.INT if is_int else mpy.POINTER
