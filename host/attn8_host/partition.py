"""A raw data partition of a chip's flash: a model lies in it as in a file, and is read faster.

`attn8 flash --data` makes it. On the board its path is PATH, for attn8.load as well.
"""

import hashlib
from binascii import b2a_base64
from collections.abc import Callable

from .boards import Board
from .errors import BoardError

LABEL = "attn8"
PATH = f"partition:{LABEL}"
BLOCK = 4096  # bytes that are erased at once

FIND = f"""
from binascii import a2b_base64, hexlify
from hashlib import sha256
try:
    from esp32 import Partition
    found = Partition.find(Partition.TYPE_DATA, label={LABEL!r})
except ImportError:
    found = None
if found:
    found = found[0]
"""
SUM = """
def sum_of(size):
    found_sum, room = sha256(), bytearray(4096)
    for block in range((size + 4095) // 4096):
        found.readblocks(block, room)
        found_sum.update(memoryview(room)[: min(4096, size - 4096 * block)])
    return hexlify(found_sum.digest()).decode()
print(repr(sum_of({size})))
"""


def push(board: Board, data: bytes, progress: Callable[[int, int], None]) -> None:
    """Puts a model file into the board's partition, unless it is there already.

    The first block is written last: what is interrupted leaves no model that looks whole.

    Raises:
        BoardError: there is no such partition, it is too small, or what was written is not there.
    """
    size = board.evaluate(FIND + "print(found.ioctl(4, 0) * 4096 if found else 0)", int)
    if not size:
        raise BoardError(f"the board has no partition {LABEL}; make it with attn8 flash --data 1M")
    if len(data) > size:
        raise BoardError(f"the partition {LABEL} has {size:,} bytes, and the model {len(data):,}")
    wanted, ask = hashlib.sha256(data).hexdigest(), SUM.format(size=len(data))
    if board.evaluate(ask, str) == wanted:
        return
    board.execute("found.writeblocks(0, bytearray(4096))")
    places = [*range(BLOCK, len(data), BLOCK), 0]
    for done, place in enumerate(places, 1):
        block = b2a_base64(data[place : place + BLOCK].ljust(BLOCK, b"\xff"), newline=False)
        board.execute(f"found.writeblocks({place // BLOCK}, a2b_base64({block!r}))")
        progress(min(done * BLOCK, len(data)), len(data))
    if board.evaluate(ask, str) != wanted:
        raise BoardError(f"the partition {LABEL} does not hold what was written to it")
