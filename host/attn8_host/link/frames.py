"""The frame format of the link; device/attn8/link/frames.py is its other end.

    magic     2 bytes   A5 8A
    type      1 byte    a request (1..127), or with bit 7 set the reply to it
    sequence  1 byte    the request's number modulo 256; its reply carries the same
    length    2 bytes   of the payload, little-endian
    payload   0..240 bytes towards the board, 0..1024 bytes from it
    crc       4 bytes   CRC-32 (as in zlib) of type, sequence, length and payload, little-endian

Why so: an ESP32 keeps 259 unread bytes and drops the rest, so a whole frame towards it stays within
255 and only one is ever unacknowledged: the reply is the acknowledgement. All 256 byte values pass,
as the board switches its keyboard interrupt off while it serves. Nothing on the way detects loss,
so each frame carries a CRC. A repeated request gets the same reply again and is not carried out
twice, which makes recovery one rule: no valid reply, ask again.
"""

import struct
import zlib
from dataclasses import dataclass

MAGIC = b"\xa5\x8a"
MAX_REQUEST = 240
MAX_REPLY = 1024
OVERHEAD = 10  # bytes of a frame beside its payload


@dataclass(frozen=True)
class Frame:
    kind: int
    sequence: int
    payload: bytes = b""

    def pack(self) -> bytes:
        """The frame as bytes."""
        body = struct.pack("<BBH", self.kind, self.sequence, len(self.payload)) + self.payload
        return MAGIC + body + struct.pack("<I", zlib.crc32(body))


class Decoder:
    """Finds the frames in a stream of bytes; skips what is none.

    `skipped` holds the bytes that belonged to no frame, for diagnosis.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self.skipped = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Takes more of the stream; returns the frames that are now whole, in order."""
        self._data += data
        frames: list[Frame] = []
        while True:
            start = self._data.find(MAGIC)
            if start < 0:
                keep = 1 if self._data.endswith(MAGIC[:1]) else 0
                self._skip(len(self._data) - keep)
                return frames
            self._skip(start)
            if len(self._data) < 6:
                return frames
            kind, sequence, length = struct.unpack_from("<BBH", self._data, 2)
            if length > MAX_REPLY:
                self._skip(1)
                continue
            end = 6 + length + 4
            if len(self._data) < end:
                return frames
            body = bytes(self._data[2 : end - 4])
            if zlib.crc32(body) != struct.unpack_from("<I", self._data, end - 4)[0]:
                self._skip(1)  # not the whole frame: a true one may begin within it
                continue
            del self._data[:end]
            frames.append(Frame(kind, sequence, body[4:]))

    def _skip(self, count: int) -> None:
        self.skipped += self._data[:count]
        del self._data[:count]
