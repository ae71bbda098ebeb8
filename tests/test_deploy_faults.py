"""Deployments that are killed, and file systems that are full: a whole version stays.

`pytest tests/test_deploy_faults.py --kills 100 --sizes 1000` makes the full run.
"""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from attn8_host.boards.board import Board
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.cli import main
from attn8_host.deploy import LIB, apply, plan
from attn8_host.errors import RemoteError
from attn8_host.model import load
from attn8_host.paths import MODELS
from tests.blocks import BLOCKS

MODEL = MODELS / "digits.safetensors"

WHOLE = """
import attn8
import attn8.link
model = attn8.load("/models/digits.safetensors")
print(repr(sum(model())))
"""


def kill(process):
    """Kills a process and those that it started: a compiler that starts just then has the port."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while True:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.001)


def test_a_deploy_that_is_killed_at_any_moment_leaves_a_board_that_runs(tmp_path, request):
    kills, rng = request.config.getoption("--kills"), random.Random(1)
    virtual = VirtualBoard(root=tmp_path, baud=2_000_000)  # a rate at which bytes are under way
    deploy = [sys.executable, "-m", "attn8_host", "deploy", "--board", virtual.port]
    x = np.arange(-32, 32, dtype=np.int8)
    expected = load(MODEL)(x)
    try:
        assert main([*deploy[3:], "--model", str(MODEL)]) == 0
        source, killed, longest = True, 0, 3.0
        while killed < kills:
            command = [*deploy, "--source"] if source else deploy
            start = time.monotonic()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
            try:
                process.wait(rng.uniform(0.3, longest))
                longest = time.monotonic() - start
            except subprocess.TimeoutExpired:
                kill(process)
                killed += 1
            status = process.wait()
            assert status in (0, -signal.SIGKILL)
            with Board(virtual.port) as board:
                assert board.evaluate(WHOLE, range(-(1 << 31), 1 << 31)) is not None
            with Board(virtual.port) as board, board.serve() as client:
                client.load("/models/digits.safetensors")
                tensors = client.infer(x).tensors
                assert all((tensors[n] == want.ravel()).all() for n, want in expected.items())
            if status == 0:
                source = not source
            longest *= 1.02
        for command in (deploy, [*deploy, "--dry-run"]):
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        assert "0 files to send, 0 to remove" in done.stdout
    finally:
        virtual.stop()


OLD = {"__init__.py": b"v = 1\n", "gone.py": b"z = 1\n" * 300, "part/x.py": b"v = 1\n" * 300}
NEW = {"__init__.py": b"v = 2\n", "part/x.py": b"v = 2\n" * 600, "sub/new.py": b"w = 2\n" * 900}

# A file system in a file, in place of the board's, from each start of the board on
MOUNT = """
image = open("image", "r+b")
device = Blocks(image)
image.seek(0)
if not any(image.read(512)):
    vfs.{kind}.mkfs(device)
vfs.umount("/")
vfs.mount(vfs.{kind}(device), "/")
os.chdir("/")
"""

CONTENT = """
def files(folder):
    for entry in os.ilistdir(folder):
        path = folder + "/" + entry[0]
        if entry[1] & 0x4000:
            yield from files(path)
        elif entry[0] != "SHA256SUMS":
            with open(path, "rb") as file:
                yield path, file.read()
print(repr(list(files(""))))
"""


def content(board):
    return dict(board.evaluate(CONTENT, [(str, bytes)]))


def at(package):
    return {f"{LIB}/{path}": data for path, data in package.items()}


@pytest.mark.parametrize(("kind", "least", "most"), [
    ("VfsLfs2", 10, 80), ("VfsFat", 50, 120),
])  # fmt: skip
def test_a_file_system_that_is_full_anywhere_keeps_a_whole_version(
    tmp_path, request, kind, least, most
):
    sizes = request.config.getoption("--sizes")
    virtual = VirtualBoard(root=tmp_path, heap_size="2M")
    outcomes = []
    with Board(virtual.port, close=virtual.stop) as board:
        for blocks in range(least, most, max(1, (most - least) // sizes)):
            (tmp_path / "image").write_bytes(bytes(512 * blocks))
            (tmp_path / "boot.py").write_text(BLOCKS + MOUNT.format(kind=kind))
            board.enter_repl()
            try:
                apply(board, plan(board, OLD))
            except RemoteError as error:
                assert "No space left" in str(error) or "28" in str(error)
                assert content(board) == {}
                outcomes.append("none")
                continue
            try:
                apply(board, plan(board, NEW))
                assert content(board) == at(NEW)
                outcomes.append("new")
            except RemoteError as error:
                assert "No space left" in str(error) or "28" in str(error)
                assert content(board) == at(OLD)
                outcomes.append("old")
    print(kind, {outcome: outcomes.count(outcome) for outcome in outcomes})
    assert outcomes[-1] == "new" and "old" in outcomes
