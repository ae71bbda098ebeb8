"""The host's end of the link: asks the board's server (device/attn8/link/server.py).

The frames, the requests and the rules of recovery are described in frames.py.
"""

import re
import struct
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import LinkError, RemoteError, explained
from . import replies
from .frames import GAP, MAX_REQUEST, WINDOW, Decoder, Frame
from .protocol import (
    AGAIN,
    ERROR,
    EXIT,
    HEAP,
    HELLO,
    INPUT,
    LOAD,
    MORE,
    NEXT,
    OK,
    OUTPUTS,
    RATE,
    READ,
    RESERVE,
    RUN,
    SCRATCH,
    TEXT,
    WORKING,
    WRITE,
)

# Ends a server whatever state it is in: zeros complete a frame that was cut short. A REPL takes the
# zeros for nothing and the frame, which has no control characters, for typed text.
RESCUE = bytes(4 + MAX_REQUEST + 4) + Frame(EXIT, 0x40).pack()

TRIAL = 1.2  # seconds after which a board has given up a rate at which it hears nothing

READ_SIZE = 8192  # bytes that one READ asks for
POLL = 0.02  # seconds that one read of the port waits

PROMPT = b"\x04>"  # of the raw REPL, after a program ended

NOISE = 20.0  # seconds of bytes that are no frame, with none in between, after which none comes

# What a board says when it has started again, whatever it served
RESTARTED = re.compile(
    rb"MPY: soft reboot|rst:0x[0-9a-f]+ \([A-Z0-9_]+\)|MicroPython [^\r\n]{3,80}; [^\r\n]{3,80}"
)


class Stream(Protocol):
    """What the client needs of pyserial's Serial."""

    timeout: float | None
    baudrate: int

    @property
    def in_waiting(self) -> int: ...

    def read(self, size: int) -> bytes: ...

    def write(self, data: bytes) -> int | None: ...

    def flush(self) -> None: ...


@dataclass
class Statistics:
    """What went over the wire, in bytes and events."""

    sent: int = 0
    received: int = 0
    payload: int = 0
    seconds: float = 0.0
    requests: int = 0
    resent: int = 0  # frames
    faults: int = 0  # times that something was lost or damaged


@dataclass
class Run:
    """What the board says of one inference."""

    tensors: dict[str, np.ndarray]  # every layer's output by name, flat
    microseconds: int
    digest: int  # of this run and all before it since the model was loaded
    layers: list[int]  # microseconds of each layer that computes; empty where they share no memory


def run_digest(tensors: dict[str, np.ndarray], previous: int = 0) -> int:
    """The digest of a run with these outputs, after runs with the digest `previous`."""
    crcs = [zlib.crc32(values.tobytes()) for values in tensors.values()]
    return zlib.crc32(np.array(crcs, "<u4").tobytes(), previous)


class Client:
    """Talks frames with a server that is already running on `stream`.

    Args:
        stream: an open pyserial object.
        timeout: seconds of silence after which a frame is sent again; the time doubles with each
            repetition.
        deadline: seconds without progress after which an operation raises LinkError.
    """

    def __init__(self, stream: Stream, timeout: float = 1.0, deadline: float = 10.0):
        self.stream = stream
        self.timeout = timeout
        self.deadline = deadline
        self.statistics = Statistics()
        self.outputs: list[replies.Output] = []
        self.ends: list[int] = []  # of a model whose layers share memory: see frames
        self.input_size = 0
        self.input_dtype = replies.DTYPES["b"]
        self.digest = 0  # of the runs since the model was loaded
        self._sequence: int | None = None  # of the next frame; None where the board's is not known
        self._decoder = Decoder()
        self._frames: deque[Frame] = deque()
        stream.timeout = min(POLL, timeout / 2)

    def wait_ready(self, deadline: float = 25.0) -> None:
        """Waits for the server's first frame; a board that compiles sources takes its time.

        Raises:
            LinkError: the server ended or did not come within the deadline; with what came instead.
        """
        end = time.monotonic() + deadline
        while time.monotonic() < end and not self._decoder.skipped.endswith(PROMPT):
            frame = self._next_frame(end)
            if frame is not None and frame.kind == OK | HELLO:
                self._sequence = 1
                return
            self._notice_restart()
        heard = bytes(self._decoder.skipped).decode("utf-8", "replace").replace("\x04", "\n")
        lines = [line for line in heard.split("\n") if line.strip(" \r>")] or ["nothing"]
        said = explained(lines[-1].strip())
        raise LinkError(f"the board's server did not start; the board said: {said}")

    def speed_up(self, register: int, rates: Sequence[int]) -> int | None:
        """Changes the line to the first of `rates` at which both ends hear each other.

        Args:
            register: address of the clock divider of the board's UART.
            rates: in baud.

        Returns:
            That rate; None if there is none, and the line is as it was.
        """
        first = self.stream.baudrate
        for rate in rates:
            try:
                self.request(RATE, struct.pack("<III", register, first, rate))
            except RemoteError:  # the board has no such register, or cannot divide so
                return None
            self._change_rate(rate)
            try:
                self.request(HELLO, deadline=self.timeout / 2)
                return rate
            except LinkError:
                self._change_rate(first)
                time.sleep(TRIAL)
        return None

    def end(self, rate: int) -> None:
        """Ends the server, at whatever rate it is, and goes back to the rate of its REPL."""
        if self.stream.baudrate != rate:
            self.stream.write(RESCUE)
            self._change_rate(rate)

    def _change_rate(self, rate: int) -> None:
        self.stream.flush()
        time.sleep(0.02 + 4000 / self.stream.baudrate)  # twice what the board waits, and a bridge
        self.stream.baudrate = rate

    def request(self, kind: int, payload: bytes = b"", deadline: float | None = None) -> bytes:
        """Sends one request and returns the payload of its reply.

        Raises:
            RemoteError: the board answered that it cannot do this.
            LinkError: no valid answer within the deadline.
        """
        replies: list[bytes] = []

        def take(reply: bytes) -> bool:
            replies.append(reply)
            return True

        self._exchange([(kind, payload)], take, deadline)
        return replies[-1]

    def _exchange(
        self,
        requests: list[tuple[int, bytes]],
        take: Callable[[bytes], bool | None],
        deadline: float | None = None,
    ) -> None:
        """Has requests, (type, payload) each, carried out in order, with a full window under way.

        `take` gets the payloads of the last one's replies, until it returns True; None says that
        a reply brought nothing new.
        """
        if max(len(payload) for _, payload in requests) > MAX_REQUEST:
            raise ValueError(f"a request carries at most {MAX_REQUEST} bytes")
        if self._sequence is None and requests != [(HELLO, b"")]:
            self.request(HELLO)
        start = time.monotonic()
        first, self._sequence = self._sequence or 0, None
        frames = [
            Frame(kind, (first + i) & 255, payload) for i, (kind, payload) in enumerate(requests)
        ]
        try:
            error = self._carry(frames, take, deadline or self.deadline)
        finally:
            self.statistics.seconds += time.monotonic() - start
        self._sequence = (first + len(frames)) & 255
        self.statistics.requests += len(frames)
        self.statistics.payload += sum(len(frame.payload) for frame in frames)
        if error:
            raise error

    def _carry(
        self, frames: list[Frame], take: Callable[[bytes], bool | None], deadline: float
    ) -> RemoteError | None:
        """The work of _exchange; returns the board's first error, or None."""
        packed = [frame.pack() for frame in frames]
        first = frames[0].sequence
        base = 0  # the first frame that is not acknowledged
        following = 0  # the next one to send
        reached = 0  # how many were sent at least once
        last = len(frames) - 1
        alone = False  # frame `base` was sent again and goes alone
        excused = 0  # frames behind it, for which the board may still ask for it
        error = None
        layers = 0  # that the board said it works on
        wait = self.timeout
        heard = time.monotonic()  # when the last whole frame came
        skipped = self._decoder.count
        end = heard + deadline
        while True:
            window = sum(map(len, packed[base:following]))
            while following <= last and window + len(packed[following]) <= WINDOW:
                if alone and following > base:
                    break
                self._write(packed[following])
                self.statistics.resent += following < reached
                window += len(packed[following])
                following += 1
                reached = max(reached, following)
            now = time.monotonic()
            noisy = self._decoder.count > skipped and now >= heard + NOISE
            if now >= end or noisy:
                said = "; it sends what is no frame: does boot.py or main.py print?"
                raise LinkError(
                    f"no valid answer from the board within {min(deadline, now - heard):.0f} s"
                    f"{said if self._decoder.count > skipped else ''}; "
                    "check the cable, reset the board and try again"
                )
            reply = self._next_frame(min(end, now + wait))
            if reply is None:
                self._notice_restart()
                self.statistics.faults += 1
                alone, excused, following = True, 0, base
                if time.monotonic() >= now + wait:
                    wait *= 2
                continue
            heard, skipped = time.monotonic(), self._decoder.count
            place = base + ((reply.sequence - first - base) & 255)
            if reply.kind == AGAIN:
                if place == base and alone and excused:
                    excused -= 1
                elif place <= reached:
                    # All before `place` arrived; the last one's reply is needed all the same
                    self.statistics.faults += 1
                    base = min(place, last)
                    alone, excused, following = True, max(0, following - base - 1), base
            elif place < reached and reply.kind == WORKING and layers < replies.LAYERS:
                layers += 1
                end = heard + deadline
            elif place < reached and reply.kind in (OK | frames[place].kind, ERROR):
                wait = self.timeout
                if reply.kind == ERROR:
                    error = error or replies.refusal(reply.payload)
                done = place == last and (bool(error) or take(reply.payload))
                if done:
                    return error
                if done is not None:
                    end = heard + deadline
                base = min(place + 1, last)
                following = max(following, base)
                if place < last:
                    alone = False

    def _notice_restart(self) -> None:
        """Raises LinkError where what came between frames is the greeting of a board."""
        if found := RESTARTED.search(self._decoder.skipped):
            raise LinkError(
                f"the board has started again ({found[0].decode('ascii', 'replace')}): a crash, a "
                "watchdog or a weak supply; reset it and try again"
            )

    def _write(self, data: bytes) -> None:
        try:
            self.stream.write(data)
        except OSError as error:
            raise LinkError(f"the port of the board is gone ({error})") from None
        self.statistics.sent += len(data)

    def _next_frame(self, end: float) -> Frame | None:
        """The next frame that arrives; None after `end`, or where bytes came that are none."""
        heard = None  # when bytes came that are no whole frame
        while not self._frames:
            try:
                data = self.stream.read(max(1, self.stream.in_waiting))
            except OSError as error:
                raise LinkError(f"the port of the board is gone ({error})") from None
            now = time.monotonic()
            self.statistics.received += len(data)
            self._frames.extend(self._decoder.feed(data))
            # Zeros between frames mean nothing; within one they do
            if data.strip(b"\0") or (data and self._decoder.waiting):
                heard = now
            if self._frames:
                break
            if heard and now - heard > GAP:
                self._frames.extend(self._decoder.give_up())
                heard = None
                end = now
            if now >= end and not self._frames:
                return None
        return self._frames.popleft()

    def write(self, region: int, data: bytes) -> None:
        """Fills the beginning of a region of the board's memory."""
        start = MAX_REQUEST - 4
        requests = [(WRITE, struct.pack("<I", region << 24) + data[:start])]
        requests += [
            (MORE, data[offset : offset + MAX_REQUEST])
            for offset in range(start, len(data), MAX_REQUEST)
        ]
        self._exchange(requests, lambda _: True)

    def read(self, region: int, size: int, start: int = 0) -> bytes:
        """`size` bytes of a region of the board's memory, from `start` on."""
        data = bytearray()
        end = time.monotonic() + self.deadline
        while len(data) < size:
            before = len(data)
            wanted = min(size, before + READ_SIZE)

            def take(reply: bytes, wanted: int = wanted) -> bool | None:
                place, part = replies.part(reply)
                offset = place - (region << 24 | start)
                if offset == len(data) and offset + len(part) <= wanted:
                    data.extend(part)
                    return len(data) >= wanted
                if len(data) < offset < wanted:
                    self.statistics.faults += 1
                    return True  # a part is missing: ask again from there on
                if 0 <= offset < len(data):
                    return None  # it came before
                raise LinkError("the board sends what it was not asked for; reset it and try again")

            request = struct.pack("<II", region << 24 | start + before, wanted - before)
            self._exchange([(READ, request)], take)
            if len(data) > before:
                end = time.monotonic() + self.deadline
            elif time.monotonic() > end:
                raise LinkError("the board leaves out what it is asked for; reset it and try again")
        self.statistics.payload += size
        return bytes(data)

    def reserve(self, size: int) -> None:
        """Makes the board's scratch region `size` bytes long; what was in it is gone."""
        self.request(RESERVE, struct.pack("<I", size))

    def echo(self, payload: bytes) -> bytes:
        """Returns what the board received of `payload`, of any length that its heap holds."""
        self.reserve(len(payload))
        self.write(SCRATCH, payload)
        return self.read(SCRATCH, len(payload))

    def heap(self) -> tuple[int, int]:
        """Bytes of the board's Python heap that are (free, allocated), after a collection."""
        free, allocated = replies.words(self.request(HEAP), 2)
        return free, allocated

    def load(
        self, path: str, need_weights: bool = True, deadline: float = 60.0, training: bool = False
    ) -> str:
        """Loads a model file of the board's file system; returns the model's name.

        Args:
            path: of the file.
            need_weights: keep all scores and attention weights, so that they can be read.
            training: it is a training file.
            deadline: seconds that one layer may take.
        """
        kind = 2 if training else int(need_weights)
        reply = self.request(LOAD, bytes([kind]) + path.encode(), deadline)
        said = replies.description(self.read(TEXT, replies.length(reply)))
        self.digest = 0
        self.input_size = said.input_size
        self.input_dtype = said.input_dtype
        self.ends = said.ends
        self.outputs = said.outputs
        return said.name

    def infer(
        self, x: np.ndarray, deadline: float = 60.0, length: int | None = None
    ) -> Run:
        """Runs the model over one input, int8 [input_size], int16 where these are token ids.

        Args:
            x: the input.
            deadline: seconds that it may take.
            length: how many of its tokens count, where the model takes lengths.

        Raises:
            ValueError: x is not of the model's size and type.
            LinkError: a tensor that came does not have the CRC-32 that the board computed.
        """
        x = np.asarray(x)
        if x.dtype != self.input_dtype or x.size != self.input_size:
            raise ValueError(f"input: expected {self.input_size} {self.input_dtype}, "
                             f"got {x.size} {x.dtype}")
        size = sum(o.nbytes for o in self.outputs)
        times: list[int] = []
        if self.ends:
            values = b""
            self.write(INPUT, x.tobytes())
            first = b"" if length is None else struct.pack("<I", length)
            for end in self.ends:
                reply = self.request(NEXT, b"" if times else first, deadline)
                time_taken, self.digest = replies.words(reply, 2)
                times.append(time_taken)
                reached = sum(o.nbytes for o in self.outputs[:end])
                values += self.read(OUTPUTS, reached - len(values), len(values))
            values += self.read(OUTPUTS, 4 * len(self.outputs), size)
            microseconds = sum(times)
        else:
            microseconds = self.run(x.tobytes(), deadline, length)
            values = self.read(OUTPUTS, size + 4 * len(self.outputs))
        crcs = np.frombuffer(values, "<u4", offset=size)
        tensors = {}
        offset = 0
        for output, crc in zip(self.outputs, crcs, strict=True):
            end = offset + output.nbytes
            if zlib.crc32(values[offset:end]) != crc:
                raise LinkError(f"{output.name} does not have the CRC-32 that the board computed")
            tensors[output.name] = np.frombuffer(values, output.dtype, output.size, offset)
            offset = end
        return Run(tensors, microseconds, self.digest, times)

    def run(self, data: bytes, deadline: float = 60.0, length: int | None = None) -> int:
        """Fills the beginning of the input, runs the model and takes its digest.

        Args:
            data: the input's bytes.
            deadline: seconds that the board may take.
            length: how many of its tokens count; None: all.

        Returns:
            The microseconds that the board took; `digest` covers all that it computed.
        """
        payload = b"" if length is None else struct.pack("<I", length)
        self.write(INPUT, data)
        microseconds, self.digest = replies.words(self.request(RUN, payload, deadline), 2)
        return microseconds
