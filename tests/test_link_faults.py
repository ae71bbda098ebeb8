"""The link through a line that damages, loses and repeats; boards that reset; ports that vanish.

`pytest tests/test_link_faults.py --faults 100000` makes the full run.
"""

import os
import random
import signal
import subprocess
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attn8_host.boards.board import Board
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.deploy import deploy
from attn8_host.errors import BoardError, LinkError
from attn8_host.link import Client, client
from attn8_host.model import load
from attn8_host.paths import MODELS
from attn8_host.proof.soak import growth, soak
from tests.compiled import compiled
from tests.faults import FaultyStream

MODEL = MODELS / "digits.safetensors"
PATH = "/models/digits.safetensors"
SEEDS = 4


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_fault_gets_through_or_stops_the_link(board, seed, monkeypatch, request):
    # Both ends give up the rest of a frame after 10 ms in place of 50: more faults in the same time
    monkeypatch.setattr(client, "GAP", 0.01)
    board.execute(compiled("from attn8.link import frames\nframes.Frames.gap_ms = 10"))
    wanted = request.config.getoption("--faults") // SEEDS
    rng = random.Random(seed)
    model = load(MODEL)
    longest = 0.0
    with board.serve() as whole:
        stream = FaultyStream(whole.stream, seed, share=0)
        link = Client(stream, timeout=0.05, deadline=10)
        link.load(PATH)
        while stream.faults < wanted:
            stream.share = rng.choice((0.05, 0.2, 0.4))
            start = time.monotonic()
            if rng.random() < 0.1:
                x = np.frombuffer(rng.randbytes(64), np.int8)
                tensors = link.infer(x).tensors
                expected = {name: values.ravel() for name, values in model(x).items()}
                assert all((tensors[name] == expected[name]).all() for name in expected)
            else:
                payload = rng.randbytes(rng.randrange(300))
                assert link.echo(payload) == payload
            longest = max(longest, time.monotonic() - start)
            stream.share = 0
            assert link.heap()[0] > 0
    board.execute(compiled("from attn8.link import frames\nframes.Frames.gap_ms = 50"))
    assert link.statistics.faults > wanted // 4  # garbage between frames, for one, costs nothing
    print(f"{stream.faults} faults, {link.statistics.requests} requests, longest {longest:.2f} s")


class Trigger:
    """A stream that calls `action` before frame number `at` is written."""

    def __init__(self, stream, at, action):
        self.stream = stream
        self.at = at
        self.action = action

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, data):
        if self.at == 0:
            self.action()
        self.at -= 1
        self.stream.write(data)


def exchange(link, model):
    """Every kind of request; what came back is compared."""
    x = np.arange(-32, 32, dtype=np.int8)
    assert link.echo(bytes(range(200))) == bytes(range(200))
    link.load(PATH, deadline=link.deadline)
    tensors = link.infer(x, deadline=link.deadline).tensors
    assert all((tensors[name] == values.ravel()).all() for name, values in model(x).items())


def test_a_reset_at_every_frame_of_an_exchange(attn8_folder):
    model = load(MODEL)
    virtual = VirtualBoard(root=attn8_folder)

    def reset():
        found = subprocess.run(
            ["pgrep", "-P", str(virtual.process.pid)], capture_output=True, text=True
        )
        os.kill(int(found.stdout), signal.SIGKILL)

    try:
        with Board(virtual.port) as board:
            with board.serve() as served:
                link = Client(served.stream)
                exchange(link, model)
            for at in range(link.statistics.requests):
                lost = pytest.raises(LinkError, match=r"no valid answer|has started again")
                with lost, board.serve() as served:
                    link = Client(Trigger(served.stream, at, reset), timeout=0.05, deadline=0.2)
                    start = time.monotonic()
                    try:
                        exchange(link, model)
                    finally:
                        seconds = time.monotonic() - start
                assert seconds < 5
                with board.serve() as served:
                    assert served.echo(b"back") == b"back"
    finally:
        virtual.stop()


class Port:
    """A virtual board whose port can vanish and come back under the same name."""

    def __init__(self, folder):
        self.root = folder
        self.name = folder.parent / "port"
        self.plug_in()

    def plug_in(self):
        self.virtual = VirtualBoard(root=self.root)
        self.name.unlink(missing_ok=True)
        self.name.symlink_to(self.virtual.port)

    def pull_out(self):
        self.virtual.stop()


def test_a_port_that_vanishes_and_comes_back(attn8_folder):
    model = load(MODEL)
    port = Port(attn8_folder)
    try:
        for at in (0, 9):
            with (
                pytest.raises(LinkError, match="is gone"),
                Board(str(port.name)) as board,
                board.serve() as served,
            ):
                exchange(Client(Trigger(served.stream, at, port.pull_out)), model)
            port.plug_in()
            with Board(str(port.name)) as board, board.serve() as link:
                exchange(link, model)
    finally:
        port.pull_out()


def test_soak_connects_again_and_sees_no_drift(attn8_folder):
    port = Port(attn8_folder)
    looks = 0

    def advance(seen):
        nonlocal looks
        looks += 1
        if looks == 1:
            port.pull_out()
            port.plug_in()

    try:
        outcome = soak(lambda: Board(str(port.name)), 3, 0, advance)
    finally:
        port.pull_out()
    assert outcome.passed
    assert outcome.reconnects == 1
    assert outcome.inferences > 2


LEAK = """
from attn8.link.server import Server
def leak(self, payload, whole, run=Server._run, kept=[]):
    kept.append(bytearray(32))
    return run(self, payload, whole)
Server._run = leak
"""


def test_soak_does_not_pass_where_the_board_keeps_something(attn8_folder):
    port = Port(attn8_folder)
    try:
        with Board(str(port.name)) as board:
            deploy(board)
        (attn8_folder / "boot.py").write_text(compiled(LEAK))
        outcome = soak(lambda: Board(str(port.name)), 3, 0, lambda seen: None)
    finally:
        port.pull_out()
    assert outcome.wrong == 0 and outcome.heap_drift >= 64 and not outcome.passed


def test_what_was_imported_before_a_deployment_meets_no_file_of_it(attn8_folder):
    (attn8_folder / "boot.py").write_text("import attn8.link")
    port = Port(attn8_folder)
    try:
        with Board(str(port.name)) as board:
            assert deploy(board).sent
            with board.serve() as client:
                client.load(PATH)
    finally:
        port.pull_out()


@given(st.lists(st.sampled_from([0, 32, 288, 16440]), min_size=24, max_size=24))
def test_what_one_look_finds_too_much_is_no_growth(noise):
    # Of which each half has one that finds nothing too much
    noise[3] = noise[20] = 0
    assert growth([70_000 + n for n in noise]) == 0
    assert growth([70_000 + n + 16 * i for i, n in enumerate(noise)]) >= 16


def test_soak_does_not_pass_where_the_board_never_comes_back(attn8_folder, monkeypatch):
    monkeypatch.setattr("attn8_host.proof.soak.PATIENCE", 1.5)
    monkeypatch.setattr("attn8_host.proof.soak.ROUND", 1)
    port = Port(attn8_folder)
    try:
        with pytest.raises(BoardError):
            soak(lambda: Board(str(port.name)), 1, 0, lambda seen: port.pull_out())
    finally:
        port.pull_out()
