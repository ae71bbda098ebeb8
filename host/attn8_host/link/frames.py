"""The frame format of the link, and why it is so; device/attn8/link/frames.py is its other end.

The link asks the board's server over the REPL's serial line: a UART behind a USB bridge, a chip's
own USB, a socket, a pseudo-terminal. Both directions use one frame:

    magic     2 bytes   A5 8A
    type      1 byte    a request (1..127) or a reply: bit 7 set and the request's type, FD..FF
    sequence  1 byte    number of the request, modulo 256; replies carry that of their request
    length    2 bytes   of the payload, little-endian
    payload   0..75 bytes towards the board, 0..1024 bytes from it
    crc       4 bytes   CRC-32 (as in zlib) of type, sequence, length and payload, little-endian

Requests and their replies (types in hexadecimal; integers are unsigned and little-endian; a place
is a region << 24 plus an offset in it; regions: 0 description of the model, 1 its input, 2 its
outputs and then the CRC-32 of each of them, 3 scratch):

    1 HELLO    -                             -              starts the numbering at its number + 1
    2 LOAD     need_weights (1), path        length (4)     of the description, a JSON text
    3 RESERVE  length (4)                    -              makes region 3 as long
    4 WRITE    place (4), data               -
    5 MORE     data, to go where WRITE ended -
    6 RUN      - or length (4) of the input  microseconds (4), digest (4)
    7 READ     place (4), length (4)         place (4), data: as many frames as it takes
    8 HEAP     -                             bytes free (4), bytes allocated (4)
    9 RATE     register, rate, new (4 each)  -              then the line's rate changes
    A NEXT     -                             microseconds (4), digest (4)
    58 EXIT    -                             -              back to the REPL
    FD         a reply: the request takes its time; one comes before each layer that LOAD makes
    FE         a reply: the request failed; payload: what kind of error (1), one line of text
    FF         a reply: something was lost; its sequence is the number that the board waits for

**Window.** An ESP32 keeps 259 unread bytes and drops the rest, so at most 255 bytes towards the
board are unacknowledged: three full frames, two on the line while the board answers the other; 75
bytes in 85 are payload. A reply acknowledges its request and all before it. Towards the host
nothing needs a window.

**Order.** The board carries requests out in the order of their numbers, each exactly once. A number
that is still to come shows that one was lost: it answers FF. An old number shows that the host
missed a reply: it sends its last reply again, which acknowledges everything. HELLO and EXIT are
obeyed whatever their number.

**Recovery.** Nothing on the way detects loss, so every frame has its CRC, and both ends skip bytes
until the next magic and give up the rest of a frame that does not come within 50 ms. The board
answers FF to what is damaged, incomplete or no frame. After FF, after bytes that are no frame, or
after silence, the host sends its first unacknowledged frame alone, and the others once that has got
through: the window holds even while frames behind the damaged one are still unread. A part of a
READ that did not arrive is asked for again.

**Rate.** A board behind a USB-UART bridge starts at the REPL's rate. RATE names the register of the
UART's clock divider, the rate that it gives now and a new one; after the reply both ends change,
and the host says HELLO. The board goes back to the first rate where no frame comes within a second
of the change, or no whole one within four seconds of a damaged one; the host then tries a lower
rate, or stays at the first. When the session ends the first rate is back.

**Digests.** Each tensor has its own CRC-32, which the board computes from the memory the layers
wrote, as soon as a layer ran: layers may share it, so that another one overwrites what it gave. The
description then has "ends", how many outputs there are once each layer ran. NEXT runs one layer, of
a new input the first, and what READ finds of its outputs stays until the next NEXT or RUN; the last
one's reply has the run in its digest. A run's digest is the CRC-32 of these, continued from the run
before it: one number for all runs since LOAD, which the board prints after EXIT and NumPy
recomputes. The input may share memory as well: it is written before each run.

**All 256 byte values** pass, as the board switches its keyboard interrupt off while it serves.

**USB.** A reply is one transfer. Where it would end on a multiple of 64 bytes, a full packet, after
which USB-Serial/JTAG chips stall until they have more to say, one zero byte follows it.
"""

import struct
import zlib
from dataclasses import dataclass

MAGIC = b"\xa5\x8a"
MAX_REQUEST = 75
MAX_REPLY = 1024
OVERHEAD = 10  # bytes of a frame beside its payload
GAP = 0.05  # seconds of silence after which the rest of a frame is given up
WINDOW = 255  # unacknowledged bytes towards the board


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

    `skipped` holds the last bytes that belonged to no frame, for diagnosis; `count` says how many
    there were in all.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self.count = 0
        self.skipped = bytearray()

    @property
    def waiting(self) -> bool:
        """True while a frame has begun and not ended."""
        return bool(self._data)

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

    def give_up(self) -> list[Frame]:
        """Waits no longer for the rest of a frame; returns the frames that its bytes hold."""
        frames = []
        while self._data:
            self._skip(1)
            frames += self.feed(b"")
        return frames

    def _skip(self, count: int) -> None:
        if count:
            self.count += count
            self.skipped = (self.skipped + self._data[:count])[-4096:]
            del self._data[:count]
