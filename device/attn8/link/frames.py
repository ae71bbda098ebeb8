# Frames over the REPL's serial line; attn8_host.link.frames holds the format and the reasons.
import select
import struct
import sys
from binascii import crc32

MAGIC = b"\xa5\x8a"
MAX_REQUEST = 75  # payload bytes: three such frames fit a chip's 259-byte receive buffer
MAX_REPLY = 1024
FRAME = 6 + MAX_REPLY + 4 + 1  # bytes of the longest reply


class Frames:
    gap_ms = 50  # silence after which the rest of a frame is given up

    def __init__(self, scratch=None):
        # scratch: what has memory that a reply may be put together in (see forms.Scratch), if it is
        # not to have its own
        stream = sys.stdin.buffer
        poll = select.poll()
        poll.register(stream, select.POLLIN)
        self._ipoll = poll.ipoll
        self._readinto = stream.readinto
        self._write = sys.stdout.buffer.write
        self._byte = bytearray(1)
        self._in = memoryview(bytearray(4 + MAX_REQUEST + 4))
        self._scratch = scratch
        self._out = None if scratch else memoryview(bytearray(FRAME))

    def _read(self, view, timeout):
        # Byte by byte: readinto of more would block for ever where a byte was lost
        ipoll = self._ipoll
        readinto = self._readinto
        byte = self._byte
        for i in range(len(view)):
            for _ in ipoll(timeout):
                break
            else:
                return False
            readinto(byte)
            view[i] = byte[0]
        return True

    def receive(self, timeout):
        # -> the type of the next frame, whose `sequence` and `payload` hold until the next call;
        # 0 for a damaged frame or for bytes that are none; None after `timeout` ms of silence.
        view = self._in
        byte = self._byte
        matched = 0
        skipped = False
        while matched < 2:
            if not self._read(byte, self.gap_ms if skipped or matched else timeout):
                return 0 if skipped or matched else None
            if byte[0] == MAGIC[matched]:
                matched += 1
            else:
                skipped = True
                matched = 1 if byte[0] == MAGIC[0] else 0
        if not self._read(view[:4], self.gap_ms):
            return 0
        kind, self.sequence, length = struct.unpack("<BBH", view)
        if length > MAX_REQUEST or not self._read(view[4 : 8 + length], self.gap_ms):
            return 0
        if crc32(view[: 4 + length]) != struct.unpack_from("<I", view, 4 + length)[0]:
            return 0
        self.payload = view[4 : 4 + length]
        return kind

    def send(self, kind, sequence, parts=()):
        # One frame with the payload that `parts`, byte buffers, hold in turn. It is one write: on
        # USB one transfer, which must not end on a full packet, or the host may wait for another.
        out = self._out
        if out is None:
            self._scratch.claim(FRAME)
            out = memoryview(self._scratch.bytes)
        end = 6
        for part in parts:
            start = end
            end += len(part)
            out[start:end] = part
        struct.pack_into("<2sBBH", out, 0, MAGIC, kind, sequence, end - 6)
        struct.pack_into("<I", out, end, crc32(out[2:end]))
        end += 4
        if not end % 64:
            out[end] = 0
            end += 1
        self._write(out[:end])
