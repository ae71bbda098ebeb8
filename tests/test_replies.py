"""Bad payloads in valid frames: every call ends within its deadline, as an error of one line.

`pytest tests/test_replies.py --payloads 1000` makes the full run.
"""

import json
import random
import struct
import time

import numpy as np
import pytest

from attn8_host.errors import LinkError, RemoteError, explained
from attn8_host.link import Client, replies
from attn8_host.link.frames import MAX_REPLY, Decoder, Frame
from attn8_host.link.protocol import ERROR, HEAP, HELLO, LOAD, OK, READ, RUN, WORKING

DEADLINE = 0.05  # seconds without progress
SLOW = 2.0  # seconds that no call takes, on a computer with other work
MODEL = {"name": "m", "input": 4, "code": "b", "outputs": [["a", "b", 4], ["c", "i", 2]]}
RIGHT = json.dumps(MODEL).encode()
OUTPUTS = bytes(12 + 8)

WRONG: list[dict[str, object]] = [
    {"name": None}, {"name": ""}, {"name": "x" * 900}, {"input": -1}, {"input": 1.5},
    {"input": True}, {"input": 1 << 40}, {"outputs": []}, {"outputs": {}}, {"outputs": [1]},
    {"outputs": [["a", "b", 1 << 40]]}, {"outputs": [["a", "b", -1]]},
    {"more": 1}, {"code": "q"}, {"code": None}, {"code": []},
    {"ends": 1}, {"ends": [1]}, {"ends": [True, 2]}, {"ends": [-1, 2]}, {"ends": [2, 1]},
    {"outputs": [["a", "q", 4]]}, {"outputs": [["a", ["b"], 4]]}, {"outputs": [["a", "b"]]},
    {"outputs": [["a", "b", 1], ["a", "b", 1]]}, {"outputs": [[1, "b", 1]]},
    {"outputs": [["a", "b", "4"]]}, {"outputs": [["a", "b", None]]},
]  # fmt: skip

DESCRIPTIONS = [
    b"", b"{", b"null", b"[]", b"7", b"{}", b"[" * 1000, b"\xff\xfe", b'{"name": 1}', b"NaN",
    *(json.dumps(MODEL | wrong).encode() for wrong in WRONG),
]  # fmt: skip


class Liar:
    """A server that answers every request in a valid frame, some of them with what is none."""

    baudrate = 115200
    timeout = 0.0

    def __init__(self, seed, share):
        self.random = random.Random(seed)
        self.share = share
        self.text = self.random.choice(DESCRIPTIONS) if self.random.random() < share else RIGHT
        self.decoder = Decoder()
        self.out = bytearray()
        self.endless = bytearray()  # what comes again and again where nothing else does

    @property
    def in_waiting(self):
        return len(self.out)

    def flush(self):
        pass

    def read(self, size):
        if not self.out and self.endless:
            time.sleep(0.001)
            self.out += self.endless
        data = bytes(self.out[:size])
        del self.out[:size]
        return data

    def write(self, data):
        for frame in self.decoder.feed(data):
            self.endless.clear()
            for kind, payload in self.replies(frame):
                reply = Frame(kind, frame.sequence, payload).pack()
                self.out += reply
                if self.random.random() < self.share / 4:
                    self.endless += reply

    def replies(self, frame):
        if frame.kind == READ:
            place, length = struct.unpack("<II", frame.payload)
            region = {0: self.text, 2: OUTPUTS}.get(place >> 24, b"") + bytes(length)
            start = place & 0xFFFFFF
            right = struct.pack("<I", place) + region[start : start + min(length, MAX_REPLY - 4)]
        else:
            right = {LOAD: struct.pack("<I", len(self.text)), RUN: bytes(8), HEAP: bytes(8)}.get(
                frame.kind, b""
            )
        if frame.kind == HELLO or self.random.random() >= self.share:
            return [(OK | frame.kind, right)]
        noise = self.random.randbytes(self.random.randrange(24))
        return self.random.choice([
            [(OK | frame.kind, b"")], [(OK | frame.kind, right[:4])], [(OK | frame.kind, noise)],
            [(OK | frame.kind, right + noise)], [(OK | frame.kind, b"\xff" * len(right))],
            [(OK | frame.kind, struct.pack("<I", 5 << 24) + right[4:])],
            [(OK | frame.kind, struct.pack("<I", self.random.randrange(1 << 25)) + right[4:])],
            [(ERROR, noise)], [(ERROR, b"")], [(WORKING, b"")] * 3, [(0x99, right)], [],
        ])


def calls(client):
    client.wait_ready(DEADLINE)
    client.load("/model", deadline=DEADLINE)
    client.heap()
    client.infer(np.zeros(client.input_size, np.int8), deadline=DEADLINE)
    client.echo(b"1234")


def lied_to(seed, share):
    """Makes the calls; returns the error that one of them ended with, or None."""
    liar = Liar(seed, share)
    liar.out += Frame(OK | HELLO, 0).pack()
    start = time.monotonic()
    try:
        calls(Client(liar, timeout=0.01, deadline=DEADLINE))
        return None
    except (LinkError, RemoteError) as error:
        return error
    finally:
        assert time.monotonic() - start < SLOW, f"seed {seed}"


def test_bad_payloads_in_valid_frames(request):
    errors = [lied_to(seed, 0.2) for seed in range(request.config.getoption("--payloads"))]
    said = {type(error).__name__ for error in errors}
    assert {"LinkError", "RemoteError"} <= said
    assert not any("\n" in str(error) for error in errors if isinstance(error, LinkError))


@pytest.mark.parametrize("text", DESCRIPTIONS)
def test_a_description_that_is_none_is_refused(text):
    with pytest.raises(LinkError, match=r"^the board's server sends"):
        replies.description(text)


def test_a_description_that_is_right_is_taken():
    said = replies.description(RIGHT)
    assert (said.name, said.input_size, [o.size for o in said.outputs]) == ("m", 4, [4, 2])


class Endless(Liar):
    """Answers one kind of request with a frame that brings nothing, without end."""

    def __init__(self, kind, payload):
        super().__init__(0, 0)
        self.kind, self.payload = kind, payload

    def replies(self, frame):
        if frame.kind != READ:
            return super().replies(frame)
        self.endless += Frame(self.kind, frame.sequence, self.payload).pack()
        return [(self.kind, self.payload)]


@pytest.mark.parametrize(("kind", "payload"), [
    (OK | READ, struct.pack("<I", 3 << 24)),
    (OK | READ, struct.pack("<I", 1 << 24) + b"data"),
    (OK | READ, struct.pack("<I", 3 << 24 | 9) + b"data"),
    (0x99, b"data"), (0xFF, b""),
])  # fmt: skip
def test_what_brings_nothing_prolongs_nothing(kind, payload):
    client = Client(Endless(kind, payload), timeout=0.01, deadline=0.2)
    start = time.monotonic()
    with pytest.raises(LinkError):
        client.read(3, 100)
    assert time.monotonic() - start < SLOW


@pytest.mark.parametrize("said", [
    b"\r\nMPY: soft reboot\r\n", b"ets Jul 29 2019 12:21:46\r\nrst:0x8 (TG1WDT_SYS_RESET),boot",
    b"MicroPython v1.26.1 on 2025-09-11; Generic ESP32 with ESP32\r\nType \"help()\"\r\n>>> ",
])  # fmt: skip
def test_a_board_that_starts_again_is_noticed_by_its_greeting(said):
    liar = Liar(0, 0)
    liar.replies = lambda frame: []
    liar.endless += said
    liar.write = lambda data: None
    client = Client(liar, timeout=0.05, deadline=60)
    start = time.monotonic()
    with pytest.raises(LinkError, match="the board has started again"):
        client.load("/model", deadline=60)
    assert time.monotonic() - start < SLOW


def test_a_board_that_prints_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr("attn8_host.link.client.NOISE", 0.3)
    liar = Liar(0, 0)
    liar.write = lambda data: None
    liar.endless += b"reading 17\r\n"
    client = Client(liar, timeout=0.05, deadline=60)
    start = time.monotonic()
    with pytest.raises(LinkError, match=r"does boot\.py or main\.py print\?"):
        client.load("/model", deadline=60)
    assert time.monotonic() - start < SLOW


@pytest.mark.parametrize(("said", "full"), [
    ("MemoryError: memory allocation failed, allocating 512 bytes", True), ("MemoryError:", True),
    ("MemoryError", True), ("MemoryError: attn needs 512 bytes of memory and 40 are free", False),
    ("MemoryErrors", False), ("ValueError: MemoryError", False),
])
def test_full_memory_is_explained_and_what_explains_itself_is_not(said, full):
    wanted = ("out of memory; reset it and start no other program on it, or take a smaller model "
              f"(see attn8 plan) ({said})")
    assert explained(said) == (wanted if full else said)
