"""The host's end of the link: asks the board's server (device/attn8/link/server.py)."""

import json
import struct
import time
import zlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import LinkError, RemoteError
from .frames import MAX_REPLY, MAX_REQUEST, Decoder, Frame

HELLO, LOAD, WRITE, RUN, READ, HEAP, ECHO, EXIT = range(1, 9)
OK = 0x80
ERROR = 0xFE
DAMAGED = 0xFF
TEXT, OUTPUTS = range(2)

DTYPES: dict[str, np.dtype] = {"b": np.dtype("<i1"), "H": np.dtype("<u2"), "i": np.dtype("<i4")}


class Stream(Protocol):
    """What the client needs of pyserial's Serial."""

    timeout: float | None

    @property
    def in_waiting(self) -> int: ...

    def read(self, size: int) -> bytes: ...

    def write(self, data: bytes) -> int | None: ...


@dataclass
class Output:
    """One tensor that the board computes: its name, type and number of values."""

    name: str
    dtype: np.dtype
    size: int


@dataclass
class Statistics:
    """What went over the wire, in bytes and events."""

    sent: int = 0
    received: int = 0
    payload: int = 0
    seconds: float = 0.0
    requests: int = 0
    frames: int = 0  # towards the board

    @property
    def retries(self) -> int:
        """Frames that were sent again."""
        return self.frames - self.requests


class Client:
    """Talks frames with a server that is already running on `stream`.

    Args:
        stream: an open pyserial object.
        timeout: seconds without a valid reply after which a request is sent again; the time
            doubles with each repetition.
        deadline: seconds after which a request without a reply raises LinkError.
    """

    def __init__(self, stream: Stream, timeout: float = 1.0, deadline: float = 10.0):
        self.stream = stream
        self.timeout = timeout
        self.deadline = deadline
        self.statistics = Statistics()
        self.outputs: list[Output] = []
        self.input_size = 0
        self._sequence = 0
        self._decoder = Decoder()

    def wait_ready(self) -> None:
        """Waits for the server's first frame.

        Raises:
            LinkError: it did not come within the deadline; with what came instead.
        """
        if self._receive(OK | HELLO, 0, time.monotonic() + self.deadline) is None:
            heard = bytes(self._decoder.skipped).decode("utf-8", "replace").replace("\x04", "\n")
            lines = [line for line in heard.split("\n") if line.strip(" \r>")] or ["nothing"]
            said = lines[-1].strip()
            raise LinkError(f"the board's server did not start; the board said: {said}")

    def request(self, kind: int, payload: bytes = b"", deadline: float | None = None) -> bytes:
        """Sends one request and returns the payload of its reply.

        Raises:
            RemoteError: the board answered that it cannot do this.
            LinkError: no valid answer within the deadline.
        """
        if len(payload) > MAX_REQUEST:
            raise ValueError(f"a request carries at most {MAX_REQUEST} bytes, got {len(payload)}")
        self._sequence = self._sequence % 255 + 1  # 0 is the server's own
        data = Frame(kind, self._sequence, payload).pack()
        start = time.monotonic()
        end = start + (deadline or self.deadline)
        wait = self.timeout
        self.statistics.requests += 1
        try:
            while time.monotonic() < end:
                self.stream.write(data)
                self.statistics.sent += len(data)
                self.statistics.frames += 1
                frame = self._receive(OK | kind, self._sequence, min(end, time.monotonic() + wait))
                if frame is None:
                    wait *= 2
                    continue
                if frame.kind == ERROR:
                    raise RemoteError(frame.payload.decode("utf-8", "replace"))
                self.statistics.payload += len(payload) + len(frame.payload)
                return frame.payload
        finally:
            self.statistics.seconds += time.monotonic() - start
        raise LinkError(
            f"no valid answer from the board within {end - start:.0f} s; "
            "check the cable, reset the board and try again"
        )

    def _receive(self, kind: int, sequence: int, end: float) -> Frame | None:
        """The reply to one request; None after `end` or where the board asks for it again."""
        while (left := end - time.monotonic()) > 0:
            self.stream.timeout = left
            data = self.stream.read(max(1, self.stream.in_waiting))
            self.statistics.received += len(data)
            for frame in self._decoder.feed(data):
                if frame.kind == DAMAGED:
                    return None
                if frame.sequence == sequence and frame.kind in (kind, ERROR):
                    return frame
        return None

    def echo(self, payload: bytes) -> bytes:
        """Returns what the board received of `payload` (at most 240 bytes)."""
        return self.request(ECHO, payload)

    def heap(self) -> tuple[int, int]:
        """Bytes of the board's Python heap that are (free, allocated), after a collection."""
        free, allocated = struct.unpack("<II", self.request(HEAP))
        return free, allocated

    def load(self, path: str, need_weights: bool = True, deadline: float = 60.0) -> str:
        """Loads a model file of the board's file system; returns the model's name.

        `need_weights` keeps all scores and attention weights, so that they can be read.
        """
        reply = self.request(LOAD, bytes([need_weights]) + path.encode(), deadline)
        description = json.loads(self._read(TEXT, struct.unpack("<I", reply)[0]))
        self.input_size = description["input"]
        self.outputs = [
            Output(name, DTYPES[code], size) for name, code, size in description["outputs"]
        ]
        return description["name"]

    def infer(self, x: np.ndarray, deadline: float = 60.0) -> tuple[dict[str, np.ndarray], int]:
        """Runs the model over one input, int8 [input_size].

        Returns:
            Every layer's output by name, flat, and the microseconds that the board took.

        Raises:
            ValueError: x is not of the model's size and type.
            LinkError: the tensors that came do not have the digest that the board computed.
        """
        x = np.asarray(x)
        if x.dtype != np.int8 or x.size != self.input_size:
            raise ValueError(f"input: expected {self.input_size} int8, got {x.size} {x.dtype}")
        data = x.tobytes()
        step = MAX_REQUEST - 4
        for offset in range(0, len(data), step):
            self.request(WRITE, struct.pack("<I", offset) + data[offset : offset + step])
        microseconds, digest = struct.unpack("<II", self.request(RUN, deadline=deadline))
        values = self._read(OUTPUTS, sum(o.size * o.dtype.itemsize for o in self.outputs))
        if zlib.crc32(values) != digest:
            raise LinkError("the tensors that arrived do not have the digest that the board sent")
        tensors = {}
        offset = 0
        for output in self.outputs:
            tensors[output.name] = np.frombuffer(values, output.dtype, output.size, offset)
            offset += output.size * output.dtype.itemsize
        return tensors, microseconds

    def _read(self, region: int, size: int) -> bytes:
        data = b""
        while len(data) < size:
            length = min(MAX_REPLY, size - len(data))
            data += self.request(READ, struct.pack("<BIH", region, len(data), length))
        return data

    def exit(self) -> None:
        """Ends the server; the board is back at its REPL."""
        self.request(EXIT)
