"""A faster line, negotiated: both ends change, or both stay; a lost board comes back by itself."""

import pytest

from attn8_host.boards import uart
from attn8_host.boards.board import Board
from attn8_host.boards.supervisor import CLKDIV
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.errors import LinkError

BAUD = 115200
DATA = bytes(range(256)) * 16


@pytest.fixture
def port(attn8_folder):
    virtual = VirtualBoard(root=attn8_folder, baud=BAUD)
    yield virtual.port
    virtual.stop()


def opened(port):
    return Board(port, kind="virtual", clkdiv=CLKDIV)


class Cable:
    """A stream over which nothing whole comes at rates beyond `fastest`, from one end or both."""

    def __init__(self, stream, fastest, to_board, from_board):
        self.__dict__.update(stream=stream, fastest=fastest, broken=(to_board, from_board))

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def __setattr__(self, name, value):
        setattr(self.stream, name, value)

    def _spoilt(self, data, broken):
        return bytes(255 - x for x in data) if broken and self.baudrate > self.fastest else data

    def write(self, data):
        return self.stream.write(self._spoilt(data, self.broken[0]))

    def read(self, size):
        return self._spoilt(self.stream.read(size), self.broken[1])


def test_the_link_goes_to_the_fastest_rate_and_the_repl_comes_back_at_its_own(port):
    with opened(port) as board:
        for _ in range(2):
            with board.serve() as link:
                assert link.stream.baudrate == 921600
                link.timeout = link.deadline  # a slow computer is no fault of the line
                # What one end sends at another rate than the other's arrives as garbage
                assert link.echo(DATA) == DATA
                assert link.statistics.faults == 0
            assert board.transport.serial.baudrate == BAUD
            assert board.execute("print('back')") == "back\n"


@pytest.mark.parametrize(
    ("fastest", "rates", "to_board", "from_board", "expected"),
    [
        (460800, uart.RATES, True, True, 460800),
        (460800, uart.RATES, True, False, 460800),
        (460800, uart.RATES, False, True, 460800),  # the board hears, and is not heard
        (BAUD, (921600,), False, True, None),
    ],
)
def test_a_line_that_cannot_carry_a_rate_gets_a_lower_one(
    port, fastest, rates, to_board, from_board, expected, monkeypatch
):
    with Board(port, kind="virtual") as board:
        cable = Cable(board.transport.serial, fastest, to_board, from_board)
        monkeypatch.setattr(board.transport, "serial", cable)
        with board.serve() as link:
            assert link.speed_up(CLKDIV, rates) == expected
            assert link.stream.baudrate == (expected or BAUD)
            assert link.echo(DATA) == DATA
        assert board.execute("print('back')") == "back\n"


def test_a_board_without_such_a_register_stays_at_its_rate(port):
    with Board(port, kind="virtual") as board, board.serve() as link:
        assert link.speed_up(4, uart.RATES) is None
        assert link.speed_up(CLKDIV, (10**9,)) is None  # its clock cannot be divided so
        assert link.echo(DATA) == DATA


def test_a_host_that_died_leaves_a_board_that_can_be_used(port):
    board = opened(port)
    session = board.serve()
    session.__enter__()
    assert board.transport.serial.baudrate == 921600
    board.transport.serial.close()  # with no word to the board
    with opened(port) as board, board.serve() as link:
        assert link.echo(DATA) == DATA


def test_a_session_that_fails_gives_the_repl_back_at_its_rate(port):
    with opened(port) as board:
        with pytest.raises(LinkError, match="lost"), board.serve():
            raise LinkError("lost")
        assert board.execute("print('back')") == "back\n"


@pytest.mark.parametrize(
    ("machine", "address"),
    [
        ("Generic ESP32 module with ESP32", 0x3FF40014),
        ("Generic ESP32 module with SPIRAM with ESP32", 0x3FF40014),
        ("LOLIN_S2_MINI with ESP32-S2FN4R2", None),
        ("Generic ESP32S2 module with ESP32S2", 0x3F400014),
        ("Generic ESP32S3 module with ESP32S3", 0x60000014),
        ("ESP32C3 module with ESP32C3", 0x60000014),
        ("ESP32C6 module with ESP32C6", None),
        ("linux [GCC 14.2.1] version", None),
    ],
)
def test_the_register_is_that_of_the_chip(machine, address):
    assert uart.clkdiv(machine, "/dev/ttyUSB9") == address
