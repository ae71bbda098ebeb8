"""Sends files to a board: a small loader first, then blocks of them over the link, compressed.

A block is what a board unpacks at a time: parts of files, one behind another, each with a head of
whether it begins its file (1 byte), the length of its path (1) and its own (4), little-endian. It
is a raw deflate stream with a window of 4 kB, or as it is where the firmware has no `deflate`.
"""

import ast
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

from ..errors import RemoteError, explained
from ..link.protocol import RUN, SCRATCH
from ..paths import DEVICE
from .board import Board

LOADER = Path(__file__).with_name("loader.upy")
BLOCK = 12288  # bytes before they are compressed: a board holds two of these, and the window
WINDOW_BITS = 12

INFLATES = """
try:
    import deflate
    print(True)
except ImportError:
    print(False)
"""

Progress = Callable[[int, int], None]  # bytes done, bytes in all


def send(board: Board, files: Mapping[str, bytes], progress: Progress | None = None) -> None:
    """Writes files on a board, whose folders exist.

    Args:
        board: at its REPL.
        files: by their paths, in the order in which they are written.
        progress: called after each block.

    Raises:
        RemoteError: the board cannot write there, for one because its file system is full.
        BoardError, LinkError: it does not answer.
    """
    packs = board.evaluate(INFLATES, bool)
    blocks = [(_packed(block) if packs else block, size) for block, size in _blocks(files)]
    total, done = sum(size for _, size in blocks), 0
    board.require(loader(board.clkdiv is not None))
    with board.serve("load()\n") as link:
        try:
            link.reserve(max((len(block) for block, _ in blocks), default=0))
            for block, size in blocks:
                link.write(SCRATCH, block)
                link.request(RUN, struct.pack("<IB", len(block), packs), board.flash_seconds)
                done += size
                if progress:
                    progress(done, total)
        except RemoteError as error:
            said = str(error)
            if found := re.fullmatch(r"OSError: (.+): (\d{1,4})", said):
                said = f"{found[1]}: {os.strerror(int(found[2]))}"
            raise RemoteError(f"the board says: {explained(said)}", error.kind) from None


@cache
def loader(rate: bool) -> str:
    """What a board runs; `rate`: whether the rate of its line may change."""
    device = [DEVICE / "attn8/link/frames.py"]
    if rate:
        device.append(DEVICE / "attn8/link/rate.py")
    sources = [path.read_text(encoding="utf-8") for path in (*device, LOADER)]
    text = "\n".join(ast.unparse(ast.parse(source)) for source in sources)  # without comments
    return re.sub("^ +", lambda spaces: " " * (len(spaces[0]) // 4), text, flags=re.M)


def _blocks(files: Mapping[str, bytes]) -> Iterator[tuple[bytes, int]]:
    """Blocks, and how many bytes of files are in each."""
    block, size = bytearray(), 0
    for path, data in files.items():
        name, start = path.encode(), 0
        while True:
            head = 6 + len(name)
            if len(block) + head >= BLOCK:
                yield bytes(block), size
                block, size = bytearray(), 0
            part = data[start : start + BLOCK - len(block) - head]
            block += struct.pack("<BBI", not start, len(name), len(part)) + name + part
            size += len(part)
            start += len(part)
            if start == len(data):
                break
    if block:
        yield bytes(block), size


def _packed(block: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -WINDOW_BITS)
    return packer.compress(block) + packer.flush()
