"""The link: frames, echo of every byte, damage noticed and repaired, the REPL afterwards."""

import ast
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attn8_host import modelfile
from attn8_host.boards.board import Board
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.errors import LinkError, RemoteError
from attn8_host.link import Client, protocol, replies
from attn8_host.link import client as requests
from attn8_host.link.frames import MAX_REQUEST, OVERHEAD, WINDOW, Decoder, Frame
from attn8_host.paths import DEVICE, MODELS
from tests.compiled import compiled

frames = st.builds(
    Frame, st.integers(0, 255), st.integers(0, 255), st.binary(max_size=300)
)


@given(sent=st.lists(frames, max_size=5), cuts=st.lists(st.integers(1, 40), max_size=60))
def test_frames_survive_any_partition_of_the_stream(sent, cuts):
    stream = b"".join(frame.pack() for frame in sent)
    decoder, found = Decoder(), []
    for cut in cuts:
        found += decoder.feed(stream[:cut])
        stream = stream[cut:]
    found += decoder.feed(stream)
    assert found == sent
    assert not decoder.skipped


@given(garbage=st.binary(max_size=50), frame=frames, more=frames)
def test_frames_are_found_after_garbage(garbage, frame, more):
    # Garbage may end in what looks like a header: then the frame comes out once more bytes follow
    decoder = Decoder()
    found = decoder.feed(garbage + frame.pack() + more.pack() + bytes(2000))
    assert found[-2:] == [frame, more]


@given(frame=frames, data=st.data())
def test_a_flipped_bit_is_never_accepted(frame, data):
    packed = bytearray(frame.pack())
    bit = data.draw(st.integers(0, 8 * len(packed) - 1))
    packed[bit // 8] ^= 1 << bit % 8
    assert frame not in Decoder().feed(bytes(packed))
    assert all(zlib.crc32(f.pack()[2:-4]) for f in Decoder().feed(bytes(packed)))


def test_the_window_holds_three_frames_and_fits_a_chip_receive_buffer():
    largest = len(Frame(1, 2, bytes(MAX_REQUEST)).pack())
    assert largest == MAX_REQUEST + OVERHEAD
    assert 3 * largest <= WINDOW <= 255


def test_echo_of_every_length_and_every_byte(board):
    every = bytes(range(256))
    with board.serve() as client:
        client.heap()
        expected = client.statistics.received + OVERHEAD + 8
        for length in range(1101):
            payload = (every * 6)[length % 256 :][:length]
            assert client.echo(payload) == payload
            # Replies of 10 bytes, then READ's: 14 with up to 1020 of data, and one more where that
            # is whole packets of USB
            expected += OVERHEAD * (1 + max(1, -(-(length + 4) // MAX_REQUEST)))
            for offset in range(0, length, 1020):
                frame = OVERHEAD + 4 + min(1020, length - offset)
                expected += frame if frame % 64 else frame + 1
        client.heap()  # the zero after a full packet may come after its frame was taken
        assert client.statistics.received == expected
        assert client.statistics.resent == client.statistics.faults == 0


def test_a_request_too_long_is_refused_before_it_is_sent(board):
    with board.serve() as client, pytest.raises(ValueError, match="at most 75 bytes"):
        client.request(requests.LOAD, bytes(76))


def test_a_long_frame_of_zeros_may_take_its_time(attn8_folder):
    # At 57600 baud 1030 bytes take 0.18 s, more than the silence after which a board gives up a
    # frame. The host's own patience is no part of this: a machine under load may exceed a second
    virtual = VirtualBoard(root=attn8_folder, baud=57600)
    with Board(virtual.port, close=virtual.stop) as board, board.serve() as client:
        client.timeout = client.deadline
        assert client.echo(bytes(3000)) == bytes(3000)
        assert client.statistics.faults == 0


class Recorder:
    """A stream that keeps a record of the bytes that are unacknowledged, as frames go by."""

    def __init__(self, stream):
        self.stream = stream
        self.decoders = Decoder(), Decoder()
        self.under_way = {}
        self.most = 0

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, data):
        (frame,) = self.decoders[0].feed(data)
        self.under_way[frame.sequence] = len(data)
        self.most = max(self.most, sum(self.under_way.values()))
        self.stream.write(data)

    def read(self, size):
        data = self.stream.read(size)
        for frame in self.decoders[1].feed(data):
            self.under_way.pop(frame.sequence, None)
        return data


def test_the_window_is_used_and_never_exceeded(board):
    with board.serve() as client:
        recorder = Recorder(client.stream)
        assert Client(recorder).echo(bytes(5000)) == bytes(5000)
    assert 3 * (MAX_REQUEST + OVERHEAD) <= recorder.most <= 255


def test_wrong_requests_are_refused_and_the_server_goes_on(board):
    with board.serve() as client:
        with pytest.raises(RemoteError, match="no model is loaded"):
            client.request(requests.RUN)
        with pytest.raises(RemoteError, match="no such file"):
            client.load("/models/nowhere")
        with pytest.raises(RemoteError, match="unknown request 99"):
            client.request(99)
        client.load("/models/digits.safetensors")
        with pytest.raises(RemoteError, match="6 of 10 bytes lie past"):
            client.request(requests.WRITE, struct.pack("<I", 1 << 24 | 60) + bytes(10))
        with pytest.raises(RemoteError, match="10 of 10 bytes lie past the region's end"):
            client.request(requests.READ, struct.pack("<II", 2 << 24 | 10**6, 10))
        with pytest.raises(RemoteError, match="no region 7"):
            client.request(requests.READ, struct.pack("<II", 7 << 24, 10))
        with pytest.raises(RemoteError):
            client.request(requests.WRITE, b"x")
        with pytest.raises(ValueError, match="expected 64 int8"):
            client.infer(np.zeros(63, np.int8))
        assert client.echo(b"on") == b"on"


def constants(path):
    """What a module of the device assigns to names in capitals, as its source says it."""
    found = {}
    for node in ast.parse((DEVICE / "attn8" / path).read_text()).body:
        name = ast.unparse(node.targets[0]).strip("()") if isinstance(node, ast.Assign) else ""
        if name.isupper() and not name.startswith("_"):
            exec(ast.unparse(node), found)
    del found["__builtins__"]
    return found


def test_both_ends_mean_the_same_by_every_number():
    board = {name: value for path in ("link/load.py", "link/server.py", "train/served.py")
             for name, value in constants(path).items()}
    del board["NOWHERE"]  # the board's own
    board["ERRORS"] = tuple(error.__name__ for error in board["ERRORS"])
    host = {name: value for name, value in vars(protocol).items() if name.isupper()}
    assert board == host
    assert len(host) == 26


RAISE = """
from attn8.link import server
def refuse(self, payload):
    raise {error}
server.Server._load = refuse
"""


@pytest.mark.parametrize("error, kind, line", [
    ("MemoryError('no room')", "MemoryError", "out of memory: no room"),
    ("ValueError('a is memory')", "ValueError", "a is memory"),
    ("TypeError('b')", "TypeError", "b"),
    ("OSError(28)", "OSError", "28"),
    ("KeyError('no c')", "Exception", "no c"),
    ("ZeroDivisionError()", "Exception", "ZeroDivisionError"),
    ("ValueError('d' * 2000)", "ValueError", "d" * 1023),
])
def test_an_error_travels_with_its_kind(board, error, kind, line):
    board.enter_repl()
    board.execute(compiled(RAISE.format(error=error)))
    with board.serve() as client, pytest.raises(RemoteError) as refused:
        client.load("x")
    assert refused.value.kind == kind
    assert line in str(refused.value)
    with pytest.raises(RemoteError) as raised:
        board.execute(f"raise {error}")
    assert raised.value.kind == error.partition("(")[0]
    board.enter_repl()


@pytest.mark.parametrize("payload, kind, line", [
    (b"", "Exception", ""), (b"\x01", "MemoryError", "out of memory: "),
    (b"\xffmore", "Exception", "more"), (b"\x02\xff", "ValueError", "\ufffd"),
])
def test_any_payload_of_an_error_is_an_error(payload, kind, line):
    refusal = replies.refusal(payload)
    assert (refusal.kind, str(refusal)) == (kind, line)


def test_the_repl_and_its_interrupt_are_back_afterwards(board):
    with board.serve() as client:
        client.echo(b"\x03" * 100)
    assert board.execute("print(6 * 7)") == "42\n"
    board.transport.exec_raw_no_follow("print('started')\nwhile True:\n    pass\n")
    board.transport.read_until(1, b"started", timeout=60)
    board.transport.serial.write(b"\x03")
    _, error = board.transport.follow(timeout=60)
    assert b"KeyboardInterrupt" in error


def test_after_a_refused_write_more_is_refused_too(board):
    with board.serve() as client:
        client.load("/models/digits.safetensors")
        with pytest.raises(RemoteError, match="no region 7"):
            client.write(7, bytes(300))
        with pytest.raises(RemoteError, match="7 of 71 bytes lie past"):
            client.write(requests.INPUT, bytes(300))
        with pytest.raises(RemoteError, match="no region 63"):
            client.request(requests.MORE, b"x")


def test_a_server_whose_host_fell_silent_ends(board):
    _, error = board.transport.exec_raw("from attn8 import serve\nserve(300)\n", timeout=60)
    assert error == b""
    assert board.execute("print('back')") == "back\n"


def test_a_request_may_take_longer_than_the_server_waits_for_one(board):
    # As loading a model does on a chip with slow flash: the wait begins when the reply is sent
    board.execute(compiled("""
import time
from attn8.link.server import Server
def slow(self, payload):
    time.sleep(2.2)
    return ()
Server._reserve = slow
"""))
    board.transport.exec_raw_no_follow("from attn8 import serve\nserve(2000)\n")
    client = Client(board.transport.serial)
    client.wait_ready()
    client.reserve(1)
    assert client.heap()
    board.enter_repl()


class Clock:
    """The time of a line on which nothing happens but what is planned."""

    now = 0.0

    def monotonic(self):
        return self.now


class SlowBoard:
    """Answers a LOAD at one of the given seconds, and says at the others that it works on it."""

    in_waiting = 0
    timeout = 0.0

    def __init__(self, clock, working, answer):
        self.clock = clock
        self.frames = [(second, Frame(requests.WORKING, 1)) for second in working]
        self.frames.append((answer, Frame(requests.OK | requests.LOAD, 1, b"done")))

    def write(self, data):
        pass

    def read(self, size):
        self.clock.now += self.timeout
        if self.clock.now < self.frames[0][0]:
            return b""
        return self.frames.pop(0)[1].pack()


@pytest.mark.parametrize("working, error", [
    (range(50, 600, 50), None), (range(50, 150, 50), 160), ([], 60),
])
def test_a_board_may_load_as_long_as_it_goes_on(monkeypatch, working, error):
    clock = Clock()
    monkeypatch.setattr(requests, "time", clock)
    client = Client(SlowBoard(clock, working, 601))
    client._sequence = 1
    if error is None:
        assert client.request(requests.LOAD, b"", 60.0) == b"done"
    else:
        with pytest.raises(LinkError, match="within 60 s"):
            client.request(requests.LOAD, b"", 60.0)
        assert clock.now == pytest.approx(error, abs=0.1)


def test_each_layer_and_weight_that_is_loaded_is_a_sign_of_life(board):
    class Listener(Client):
        working = 0

        def _next_frame(self, end):
            frame = super()._next_frame(end)
            self.working += frame is not None and frame.kind == requests.WORKING
            return frame

    with board.serve() as client:
        listener = Listener(client.stream)
        listener.load("/models/digits.safetensors")
        config, tensors = modelfile.read(MODELS / "digits.safetensors")
        weights = [name for name in tensors if name.endswith(".weight")]
        assert listener.working == len(config["layers"]) + len(weights) > 3


def test_a_lost_session_leaves_a_board_that_can_be_used(board):
    # The host dies while the server runs: the next session ends it
    with board.serve():
        pass
    board.transport.exec_raw_no_follow("from attn8 import serve\nserve(60000)\n")
    Client(board.transport.serial).wait_ready()
    board.enter_repl(soft_reset=False)
    assert board.execute("print('back')") == "back\n"


def test_a_board_without_the_package_says_so(board):
    board.execute("import os\nos.rename('/lib/attn8', '/lib/away')")
    try:
        board.enter_repl()
        with pytest.raises(LinkError, match="no module named 'attn8'"), board.serve():
            pass
    finally:
        board.execute("import os\nos.rename('/lib/away', '/lib/attn8')")
    assert board.execute("import attn8\nprint(attn8.__version__)").strip()
