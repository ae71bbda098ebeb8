# Serves a model over the link. Whoever misses a reply asks again: a repeated request gets the same
# reply and is not carried out twice. attn8_host.link.client is the other end.
import gc
import json
import struct
import time
from binascii import crc32

import micropython
import uctypes

from . import frames

HELLO, LOAD, WRITE, RUN, READ, HEAP, ECHO, EXIT = range(1, 9)
OK = 0x80  # added to the request's type
ERROR = 0xFE  # payload: one line of text
DAMAGED = 0xFF  # the frame did not arrive whole: send it again
TEXT, OUTPUTS = range(2)  # what READ reads from

_itemsizes = {"b": 1, "H": 2, "i": 4}


class Server:
    def __init__(self):
        self._frames = frames.Frames()
        self._model = None
        self._regions = [[], []]
        self._reply = bytearray(8)
        self._handlers = {
            HELLO: self._hello, LOAD: self._load, WRITE: self._write, RUN: self._run,
            READ: self._read, HEAP: self._heap, ECHO: self._echo, EXIT: self._exit,
        }

    def run(self, idle):
        # Until EXIT, or `idle` ms without a valid frame: a host that died leaves a working REPL
        last = time.ticks_ms()
        last_crc = None
        answer = OK, b""
        self._frames.send(OK | HELLO, 0)
        self._serving = True
        while self._serving:
            left = idle - time.ticks_diff(time.ticks_ms(), last)
            if left <= 0:
                return
            kind, sequence, payload = self._frames.receive(left)
            if kind is None:
                if sequence:
                    self._frames.send(DAMAGED, 0)
                continue
            if self._frames.crc != last_crc:
                last_crc = self._frames.crc
                answer = self._answer(kind, payload)
            self._frames.send(answer[0], sequence, answer[1])
            last = time.ticks_ms()

    def _answer(self, kind, payload):
        # -> (type, payload parts) of the reply
        try:
            handler = self._handlers.get(kind)
            if handler is None:
                raise ValueError("unknown request %d" % kind)
            return OK | kind, handler(payload)
        except MemoryError:
            gc.collect()
            text = "out of memory with %d bytes of heap free; use a smaller model" % gc.mem_free()
        except Exception as error:
            text = str(error) or type(error).__name__
        return ERROR, (text.encode()[: frames.MAX_REPLY],)

    def _hello(self, payload):
        return ()

    def _echo(self, payload):
        return (bytes(payload),)  # a later frame may overwrite it

    def _exit(self, payload):
        self._serving = False
        return ()

    def _heap(self, payload):
        gc.collect()
        struct.pack_into("<II", self._reply, 0, gc.mem_free(), gc.mem_alloc())
        return (self._reply,)

    def _load(self, payload):
        # payload: need_weights, path. The reply is the length of a JSON text in region TEXT.
        from ..model import load

        self._model = None
        self._regions = [[], []]
        gc.collect()
        model = load(bytes(payload[1:]).decode(), bool(payload[0]))
        outputs = []
        for name, code, values in model.outputs:
            # As bytes, whatever the type: a memoryview would count in elements
            size = len(values) * _itemsizes[code]
            self._regions[OUTPUTS].append(uctypes.bytearray_at(uctypes.addressof(values), size))
            outputs.append([name, code, len(values)])
        text = json.dumps({"name": model.name, "input": len(model.input), "outputs": outputs})
        self._regions[TEXT] = [text.encode()]
        self._model = model
        gc.collect()
        struct.pack_into("<I", self._reply, 0, len(self._regions[TEXT][0]))
        return (memoryview(self._reply)[:4],)

    def _need_model(self):
        if self._model is None:
            raise ValueError("no model is loaded")
        return self._model

    def _write(self, payload):
        # payload: offset, int8 values for the model's input
        offset = struct.unpack_from("<I", payload)[0]
        target = self._need_model().input
        values = payload[4:]
        if offset + len(values) > len(target):
            raise ValueError(
                "input: takes %d values, %d came" % (len(target), offset + len(values))
            )
        uctypes.bytearray_at(uctypes.addressof(target) + offset, len(values))[:] = values
        return ()

    def _run(self, payload):
        # The reply: microseconds, CRC-32 of all outputs
        model = self._need_model()
        start = time.ticks_us()
        model()
        elapsed = time.ticks_diff(time.ticks_us(), start)
        crc = 0
        for part in self._regions[OUTPUTS]:
            crc = crc32(part, crc)
        struct.pack_into("<II", self._reply, 0, elapsed, crc)
        return (self._reply,)

    def _read(self, payload):
        # payload: region, offset, length. Regions are the concatenation of their parts.
        region, offset, length = struct.unpack("<BIH", payload)
        if region >= len(self._regions) or length > frames.MAX_REPLY:
            raise ValueError("read: no such region, or over %d bytes" % frames.MAX_REPLY)
        parts = []
        for part in self._regions[region]:
            size = len(part)
            if offset < size and length:
                piece = memoryview(part)[offset : offset + length]
                parts.append(piece)
                length -= len(piece)
                offset = 0
            elif offset >= size:
                offset -= size
        if length:
            raise ValueError("read: past the end")
        return parts


def serve(idle=20000):
    # Serves on the REPL's serial line until the host says EXIT or falls silent for `idle` ms
    server = Server()
    micropython.kbd_intr(-1)
    try:
        server.run(idle)
    finally:
        micropython.kbd_intr(3)
