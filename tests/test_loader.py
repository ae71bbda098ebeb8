"""Files that a board takes in blocks arrive whole, over any line, or the host says why not."""

import contextlib

import numpy as np
import pytest

from attn8_host.boards import Board, loader
from attn8_host.boards.answers import literal
from attn8_host.boards.board import BAUD
from attn8_host.boards.supervisor import CLKDIV
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.errors import RemoteError
from tests.faults import FaultyStream

HEAD = 6  # of a part, before its path
SIZES = (0, 1, loader.BLOCK - 2 * (HEAD + 2) - 1, loader.BLOCK, 1, 3 * loader.BLOCK + 5, 0, 700)


@pytest.fixture
def root(tmp_path):
    return tmp_path


@pytest.fixture
def board(root):
    virtual = VirtualBoard(root=root)
    with Board(virtual.port, kind="virtual", close=virtual.stop) as board:
        yield board


def made():
    """Files of some sizes, half of their bytes random."""
    rng = np.random.default_rng(0)
    return {f"/{i}": rng.integers(0, 256, size).astype(np.uint8).tobytes()[: size // 2]
            + bytes(size - size // 2) for i, size in enumerate(SIZES)}


def there(root):
    return {f"/{path.name}": path.read_bytes() for path in root.iterdir()}


@pytest.mark.parametrize("inflates", [True, False])
def test_files_arrive_as_they_were(board, root, monkeypatch, inflates):
    if not inflates:
        monkeypatch.setattr(loader, "INFLATES", "print(False)")
    steps = []
    for _ in range(2):  # the second time in place of those that are there
        loader.send(board, made(), lambda *step: steps.append(step))
        assert there(root) == made()
    assert steps[-1] == (sum(SIZES), sum(SIZES)) and len(steps) > 8
    assert board.execute("print('back')") == "back\n"


def test_blocks_are_of_their_size_and_hold_everything():
    blocks = list(loader._blocks(made()))
    assert max(len(block) for block, _ in blocks) == loader.BLOCK
    assert sum(size for _, size in blocks) == sum(SIZES)
    assert sum(len(block) - size for block, size in blocks) == (HEAD + 2) * (len(SIZES) + 5)


def test_nothing_to_send_is_sent(board, root):
    loader.send(board, {})
    assert there(root) == {}


def test_a_line_with_faults_carries_them(board, root, monkeypatch):
    serve = board.serve
    faulty = []

    @contextlib.contextmanager
    def serving(program):
        with serve(program) as link:
            stream = link.stream
            link.stream = FaultyStream(stream, seed=1, share=0.02)
            faulty.append(link.stream)
            yield link
            link.stream = stream

    monkeypatch.setattr(board, "serve", serving)
    files = {path: data[:5000] for path, data in made().items()}
    loader.send(board, files)
    assert faulty[0].faults > 5
    assert there(root) == files


def test_a_file_that_cannot_be_written_is_named(board, root):
    (root / "taken").mkdir()
    with pytest.raises(RemoteError, match=r"^the board says: /taken: Is a directory$"):
        loader.send(board, {"/first": b"1", "/taken": b"2", "/last": b"3"})
    assert sorted(path.name for path in root.iterdir()) == ["first", "taken"]
    assert board.execute("print('back')") == "back\n"


def test_the_line_goes_faster_where_it_can(root):
    virtual = VirtualBoard(root=root, baud=BAUD)
    with Board(virtual.port, kind="virtual", clkdiv=CLKDIV, close=virtual.stop) as board:
        rates = []
        loader.send(board, made(), lambda *_: rates.append(board.transport.serial.baudrate))
        assert set(rates) == {921600}
        assert board.transport.serial.baudrate == BAUD
    assert there(root) == made()


def test_it_leaves_nothing_but_modules(board):
    listed = "print(sorted([name for name in globals() if type(globals()[name]) is not type(sys)]))"
    before = board.execute(f"import sys\n{listed}")
    with board.keeping():
        loader.send(board, {"/a": b"1"})
        assert "Loader" in board.execute(listed)
    after = board.execute(listed)
    assert set(literal(after, [str])) - set(literal(before, [str])) == {"crc32", "kbd_intr"}
