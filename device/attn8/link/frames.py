# Frames over the REPL's serial line; attn8_host.link.frames holds the format and the reasons.
import select
import struct
import sys
from binascii import crc32

MAGIC = b"\xa5\x8a"
MAX_REQUEST = 240  # payload bytes: a whole frame fits a chip's 259-byte receive buffer
MAX_REPLY = 1024
GAP_MS = 250  # silence within a frame after which its rest is given up


class Frames:
    def __init__(self):
        self._in = sys.stdin.buffer
        self._out = sys.stdout.buffer
        self._poll = select.poll()
        self._poll.register(self._in, select.POLLIN)
        self._frame = bytearray(4 + MAX_REQUEST + 4)
        self._view = memoryview(self._frame)
        self._byte = bytearray(1)
        self._head = bytearray(6)
        self._tail = bytearray(4)

    def _read(self, view, timeout):
        # Byte by byte: readinto of more would block for ever where a byte was lost
        byte = self._byte
        for i in range(len(view)):
            for _ in self._poll.ipoll(timeout):
                break
            else:
                return False
            self._in.readinto(byte)
            view[i] = byte[0]
        return True

    def receive(self, timeout):
        # -> (type, sequence, payload view); `crc` tells a repeated frame from a new one.
        # (None, 0, None) after `timeout` ms of silence, (None, 1, None) for a damaged frame.
        # Bytes that are no frame are skipped.
        view = self._view
        byte = self._byte
        matched = 0
        while matched < 2:
            if not self._read(byte, timeout):
                return None, 0, None
            if byte[0] == MAGIC[matched]:
                matched += 1
            else:
                matched = 1 if byte[0] == MAGIC[0] else 0
        if not self._read(view[:4], GAP_MS):
            return None, 1, None
        kind, sequence, length = struct.unpack("<BBH", view)
        if length > MAX_REQUEST or not self._read(view[4 : 8 + length], GAP_MS):
            return None, 1, None
        self.crc = crc32(view[: 4 + length])
        if self.crc != struct.unpack_from("<I", view, 4 + length)[0]:
            return None, 1, None
        return kind, sequence, view[4 : 4 + length]

    def send(self, kind, sequence, parts=()):
        # One frame with the payload that `parts`, byte buffers, hold in turn
        length = 0
        for part in parts:
            length += len(part)
        head = self._head
        struct.pack_into("<2sBBH", head, 0, MAGIC, kind, sequence, length)
        self._out.write(head)
        crc = crc32(memoryview(head)[2:])
        for part in parts:
            self._out.write(part)
            crc = crc32(part, crc)
        struct.pack_into("<I", self._tail, 0, crc)
        self._out.write(self._tail)
