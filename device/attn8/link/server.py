# Serves a model over the link: carries requests out in the order of their numbers, each once.
# attn8_host.link.client is the other end, attn8_host.link.frames the description.
import gc
import struct
import time
from binascii import crc32

import micropython
import uctypes

from .. import forms, memory
from ..kernels.objects import typecode
from ..signals import ITEMSIZES
from . import frames

HELLO, LOAD, RESERVE, WRITE, MORE, RUN, READ, HEAP, RATE, NEXT = range(1, 11)
EXIT = 0x58
OK = 0x80  # added to the request's type
ERROR = 0xFE  # payload: the error's code, one line of text
AGAIN = 0xFF  # something was lost: go on from the frame of this number
TEXT, INPUT, OUTPUTS, SCRATCH = range(4)  # the regions that READ and WRITE reach

ERRORS = Exception, MemoryError, ValueError, TypeError, OSError  # by their codes, 0 of any other
NOWHERE = 63 << 24


class Server:
    def __init__(self):
        self._frames = frames.Frames(forms.scratch)
        self._model = None
        self._at = 0  # the layer that NEXT runs
        self._regions = [[], [], [], []]  # each the concatenation of its parts, arrays of any type
        self._crcs = bytearray()  # words of the outputs, once there is a model
        self._end = NOWHERE
        self._reply = bytearray(8)
        self.rate = None  # of the line, where the host asked for another
        self.digest = 0

    def run(self, idle):
        # Until EXIT, or `idle` ms without a valid frame: a host that died leaves a working REPL
        link = self._frames
        last = time.ticks_ms()
        expected = 1
        kind, sequence, parts = OK | HELLO, 0, ()
        self._serving = True
        link.send(kind, sequence, parts)
        while self._serving:
            left = idle - time.ticks_diff(time.ticks_ms(), last)
            if left <= 0:
                return
            request = link.receive(self.rate.left(left) if self.rate else left)
            if request is None:
                continue
            if self.rate:
                self.rate.heard(request != 0)
            if request == 0:
                link.send(AGAIN, expected)
                continue
            # HELLO starts the numbering, EXIT ends it: they are obeyed whatever their number
            if link.sequence == expected or request == HELLO or request == EXIT:
                sequence = link.sequence
                expected = (sequence + 1) & 255
                kind, parts = self._answer(request, link.payload)
            elif (link.sequence - expected) & 255 < 128:
                link.send(AGAIN, expected)
                continue
            # An old number comes from a host that missed replies: the last one stands for all
            if kind == OK | READ:
                self._send_span(sequence, parts)
            else:
                link.send(kind, sequence, parts)
            if kind == OK | RATE and self.rate:
                self.rate.change()
            last = time.ticks_ms()  # the work itself, such as LOAD, may take longer than `idle`

    def _answer(self, kind, payload):
        # -> (type, payload parts) of the reply
        parts = ()
        try:
            if kind == NEXT or kind == RUN:
                parts = self._run(payload, kind == RUN)
            elif kind == READ:
                place, length = parts = struct.unpack("<II", payload)  # see _send_span
                self._span(place, length)
            elif kind == WRITE:  # place (region << 24 | offset), data
                self._put(struct.unpack_from("<I", payload)[0], payload[4:])
            elif kind == MORE:  # data for the place where the last WRITE or MORE ended
                self._put(self._end, payload)
            elif kind == HEAP:
                gc.collect()
                parts = self._words(gc.mem_free(), gc.mem_alloc())
            elif kind == EXIT:
                self._serving = False
            elif kind == LOAD:
                parts = self._load(payload)
            elif kind == RESERVE:  # length that region SCRATCH gets
                self._regions[SCRATCH] = []
                gc.collect()
                self._regions[SCRATCH] = [bytearray(struct.unpack("<I", payload)[0])]
            elif kind == RATE:
                from .rate import aim

                self.rate = aim(self.rate, payload)
            elif kind != HELLO:
                raise ValueError("unknown request %d" % kind)
            return OK | kind, parts
        except Exception as error:
            kind = type(error)
            text = str(error) or kind.__name__
        code = ERRORS.index(kind) if kind in ERRORS else 0
        return ERROR, (bytes((code,)), text.encode()[: frames.MAX_REPLY - 1])

    def _words(self, *words):
        struct.pack_into("<II", self._reply, 0, *words)
        return (self._reply,)

    def _load(self, payload):
        from . import load

        memory.forget(load.__name__)
        return load.load(self, payload)

    def _run(self, payload, whole):
        # payload: the length of the input, where the model takes one and it is not the full one.
        # The reply: microseconds, and the digest of this run and all before it since LOAD. Each
        # output's CRC-32, taken once its layer ran, stands at the end of region OUTPUTS. Not the
        # whole run, but the next layer alone: its outputs can be read until the layer after it
        # runs, and the digest comes with the last one. A new input begins with the first layer.
        if whole:
            self._at = 0
        elapsed = self._step(payload)
        while whole and self._at:
            elapsed += self._step(b"")
        return self._words(elapsed, self.digest)

    def _step(self, payload):
        # Runs the next layer, or all of what has none -> microseconds; with the last one the run
        # is in the digest. payload: the length of the input, where the request says it
        model = self._model
        if model is None:
            raise ValueError("no model is loaded")
        length = struct.unpack("<I", payload)[0] if len(payload) else None
        self._regions[TEXT] = []
        parts, crcs = self._regions[OUTPUTS], self._crcs
        ends = getattr(model, "ends", None)
        at = self._at
        first, end = 0, len(crcs)
        start = time.ticks_us()
        if not ends:
            if length is None:
                model()
            else:
                model(None, length)
        else:
            if not at:
                model.begin(None, length)
            model.run(at, at + 1)
        elapsed = time.ticks_diff(time.ticks_us(), start)
        if ends:
            first, end = ends[at - 1] if at else 0, ends[at]
        for i in range(first, end):
            crcs[i] = crc32(parts[i])
        self._at = at + 1 if end < len(crcs) else 0
        if not self._at:
            self.digest = crc32(crcs, self.digest)
        return elapsed

    def _put(self, place, data):
        self._end = NOWHERE  # after a failure MORE fails too
        if place >> 24 == INPUT:
            self._at = 0
        start = 0
        for piece in self._span(place, len(data)):
            piece[:] = data[start : start + len(piece)]
            start += len(piece)
        self._end = place + start

    def _send_span(self, sequence, span):
        # As many frames as it takes; each begins with its place
        place, length = span
        end = place + length
        while place < end:
            size = min(frames.MAX_REPLY - 4, end - place)
            struct.pack_into("<I", self._reply, 0, place)
            pieces = self._span(place, size)
            pieces.insert(0, memoryview(self._reply)[:4])
            self._frames.send(OK | READ, sequence, pieces)
            place += size

    def _span(self, place, length):
        # -> the views that hold `length` bytes from a place on
        region, offset = place >> 24, place & 0xFFFFFF
        if region >= len(self._regions):
            raise ValueError("there is no region %d" % region)
        pieces = []
        left = length
        for part in self._regions[region]:
            size = len(part) * ITEMSIZES[chr(typecode(part) & 127)]
            if offset >= size:
                offset -= size
            elif left:
                # In bytes, whatever the type: a memoryview would count in elements
                part = uctypes.bytearray_at(uctypes.addressof(part), size)
                piece = memoryview(part)[offset : offset + left]
                pieces.append(piece)
                left -= len(piece)
                offset = 0
        if left:
            raise ValueError("%d of %d bytes lie past the region's end" % (left, length))
        return pieces


def serve(idle=20000):
    # Serves on the REPL's serial line until the host says EXIT or falls silent for `idle` ms
    server = Server()
    micropython.kbd_intr(-1)
    try:
        server.run(idle)
    finally:
        micropython.kbd_intr(3)
        if server.rate:
            server.rate.restore()
