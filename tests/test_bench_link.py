"""`attn8 bench link`, and how well the link uses a line: by counted bytes, on any machine."""

import os

import pytest

from attn8_host.boards.board import Board
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.link import Client
from attn8_host.link.protocol import SCRATCH
from attn8_host.proof.bench import link

BAUD = 57600
SIZE = 16384


def test_the_figures_of_a_line(attn8_folder, monkeypatch):
    monkeypatch.setattr(link, "SECONDS", 0)
    virtual = VirtualBoard(root=attn8_folder, baud=BAUD)
    with Board(virtual.port, kind="virtual", close=virtual.stop) as board:
        results = [found.as_dict() for found in link.bench_link(board, BAUD, 4096, lambda *_: None)]
    assert [result["direction"] for result in results] == ["to_board", "from_board"]
    for result in results:
        assert result["baud"] == BAUD
        assert 0 < result["line_rate_fraction"] <= 1
        assert result["bytes_per_s"] == pytest.approx(result["line_rate_fraction"] * BAUD / 10)
        assert result["mpremote_bytes_per_s"] > 0


class Ideal(Client):
    """Reckons how long the frames would take between two ends that need no time themselves.

    The host's next frame waits for the reply after which it was sent, a reply for its request, and
    each for those before it on the line. One byte takes one unit of time.
    """

    def __init__(self, stream):
        super().__init__(stream, timeout=60, deadline=60)
        self.now = self.sent = self.answered = 0
        self.arrived = {}  # at the board, by sequence number

    def _write(self, data):
        self.sent = max(self.sent, self.now) + len(data)
        self.arrived[data[3]] = self.sent
        super()._write(data)

    def _next_frame(self, end):
        frame = super()._next_frame(end)
        assert frame  # nothing is lost
        self.answered = max(self.answered, self.arrived[frame.sequence]) + len(frame.pack())
        self.now = self.answered
        return frame


def test_the_line_is_hardly_ever_idle(board):
    with board.serve() as client:
        ideal = Ideal(client.stream)
        ideal.reserve(SIZE)
        start = ideal.now
        ideal.write(SCRATCH, os.urandom(SIZE))
        written = ideal.now
        ideal.read(SCRATCH, SIZE)
    # 75 bytes of 85 are data, and 1020 of 1034
    assert SIZE / (written - start) > 0.87
    assert SIZE / (ideal.now - written) > 0.97


class Meter:
    """A serial port that counts the bytes that pass each way."""

    def __init__(self, serial):
        self.serial = serial
        self.sent = self.received = 0

    def __getattr__(self, name):
        return getattr(self.serial, name)

    def write(self, data):
        self.sent += len(data)
        return self.serial.write(data)

    def read(self, size=1):
        data = self.serial.read(size)
        self.received += len(data)
        return data


def test_mpremote_takes_more_than_twice_the_bytes(board, monkeypatch):
    data = os.urandom(SIZE)
    with board.serve() as client:
        client.reserve(SIZE)
        before = client.statistics.sent
        client.write(SCRATCH, data)
        sent = client.statistics.sent - before
        before = client.statistics.received
        client.read(SCRATCH, SIZE)
        received = client.statistics.received - before
    meter = Meter(board.transport.serial)
    monkeypatch.setattr(board.transport, "serial", meter)
    board.write_file(link.PATH, data)
    assert meter.sent > 2 * sent
    meter.received = 0
    assert board.read_file(link.PATH) == data
    assert meter.received > 2 * received
    board.execute(f"import os\nos.remove({link.PATH!r})")
