"""`attn8 watch`: what it shows is what the board computed, and what it cannot show it refuses."""

import io
import os
import signal as signals
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from rich.console import Console, Group
from rich.text import Text

from attn8_host import modelfile
from attn8_host.boards import Board
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.cli import main
from attn8_host.deploy import push
from attn8_host.errors import BoardError, LinkError, ModelError, RemoteError
from attn8_host.model import load
from attn8_host.modelfile import pack
from attn8_host.paths import MODELS
from attn8_host.stream import Stream
from attn8_host.watch import follow, played, sensed
from attn8_host.watch.history import KEPT, History
from attn8_host.watch.results import WHOLE, About, Result, Shown
from attn8_host.watch.terminal import heat, picture, pooled
from tests.test_cli import refused
from tests.test_stream import signal
from tests.watching import CLASSES, HEADS, WINDOW, Kept, classifier

DIGITS = MODELS / "digits.safetensors"
TARGET = "/models/watched.safetensors"
DRIVER = """
class Sensor:
    channels = 6
    def __init__(self):
        self.file = open("/signal.bin", "rb")
    def read(self, sample):
        return self.file.readinto(sample) == 24
"""


def test_the_last_results_are_kept_by_number():
    history = History()
    for i in range(KEPT + 7):
        assert history.add(i) == i
    assert list(history.since(0)) == list(range(7, KEPT + 7))
    assert list(history.since(KEPT + 5)) == [KEPT + 5, KEPT + 6]
    assert list(history.since(history.count)) == []


def expected(shown, x, result):
    """Holds a result to be what NumPy says of an int8 input."""
    want = shown.model(x.ravel())
    assert (result.probabilities == shown.probabilities(want)).all()
    assert len(result.maps) == sum(heads for heads, *_ in shown.layers.values())
    for got, wanted in zip(result.maps, shown.maps(want), strict=True):
        assert (got == wanted).all()
    assert 0 < result.microseconds < 10**7 and 0 < result.heap[0] < result.heap[1]


def test_a_recording_is_what_numpy_says(board):
    model = load(DIGITS)
    shown = Shown(model)
    rng = np.random.default_rng(0)
    recording = played.Recording(rng.random((3, 64)), [None] * 3, np.array([2, 0, 1]))
    found = []
    played.play(board, "/models/digits.safetensors", 5, found.append, shown=shown,
                recording=recording, speed=1000, keep=True)
    assert [result.truth for result in found] == [2, 0, 1, 2, 0]  # over and over
    for i, result in enumerate(found):
        assert result.by_board and (result.signal.ravel() == recording.values[i % 3]).all()
        expected(shown, model.feed(recording.values[i % 3]), result)
        assert result.probabilities.sum() == pytest.approx(1)
        sums = np.array([each.sum(axis=1) for each in result.maps])
        assert np.abs(sums / WHOLE - 1).max() < 0.001


@pytest.fixture(scope="module")
def sensing(board):
    """The board with a model for its sensor, and the signal that this will give."""
    model = classifier()
    x = signal(np.random.default_rng(1), 3000)
    push(board, TARGET, pack(model.config, model.tensors))
    push(board, "/signal.bin", x.astype("<i4").tobytes())
    return model, x


@pytest.mark.board("virtual")
@pytest.mark.parametrize(("hop", "keep"), [(5, True), (16, False)])
def test_a_sensor_gives_what_a_stream_says(board, sensing, hop, keep):
    model, x = sensing
    shown = Shown(model, ["rest", "wave", "shake"])
    assert shown.layers == {"attn": (HEADS, WINDOW, WINDOW)}
    wanted = []
    Stream(model, hop, lambda stream: wanted.append(stream.result))(x[: WINDOW + 5 * hop])
    found = []
    sensed.sense(board, TARGET, len(wanted), found.append, shown=shown, driver=DRIVER, hop=hop,
                 rate=100, keep=keep)
    assert len(found) == len(wanted) == 6
    if not found[-1].gaps:  # else windows begin where the machine had time again
        for i, (result, values) in enumerate(zip(found, wanted, strict=True)):
            assert (result.signal == x[i * hop : i * hop + WINDOW]).all()
            assert (result.probabilities == shown.probabilities({model.output: values})).all()
        assert len({result.answer for result in found}) > 1
    for result in found:
        assert result.by_board == keep
        expected(shown, model.feed(result.signal), result)


@pytest.mark.board("virtual")
@pytest.mark.parametrize(("source", "message"), [
    (DRIVER.replace("== 24", "== 23"), "the sensor has no more samples"),
    (DRIVER.replace("channels = 6", "channels = 5"), "the sensor has 5 channels, and the model"),
    (DRIVER.replace("channels = 6", "channels = 4"), "stream: expected channels along"),
    (DRIVER.replace("/signal", "/absent"), "ENOENT"),
    (DRIVER.replace("== 24", "== 24 and print('hm') is None"), "the board said: 'hm'"),
])
def test_a_sensor_that_fails_is_one_line(board, sensing, source, message):
    model, _ = sensing
    with pytest.raises((RemoteError, LinkError)) as error:
        sensed.sense(board, TARGET, None, lambda result: None, shown=Shown(model), driver=source,
                     hop=5, rate=1000, keep=True)
    assert message in str(error.value) and "\n" not in str(error.value)


def reader():
    found = []
    made = sensed.Reader(Shown(classifier()), False, found.append)
    made.line(f"tensor 0 i {CLASSES} head")
    made.line("channels 6")
    return made, found


@pytest.mark.parametrize("lines", [
    ["1 2 3"], ["1 2 3 4 5 x"], ["part 1 AAAA"], ["part 0 AAA"], ["parts 0 AAAA"], ["result 1 2"],
    ["part 0 AAAA", "result 1 2 3 0 0"], ["result 1 2 3 0 0"], [""],
    [*["1 2 3 4 5 6"] * WINDOW, "part 0 AAAAAAAAAAAAAAAA", "result 1 2 3 0 1"],
])
def test_what_the_line_damages_is_said(lines):
    made, found = reader()
    *first, last = lines
    for said in first:
        made.line(said)
    with pytest.raises(LinkError, match="expected samples and results, the board said"):
        made.line(last)
    assert not found


def test_results_that_are_not_those_of_numpy_are_said():
    made, found = reader()
    for _ in range(WINDOW):
        made.line("1 2 3 4 5 6")
    made.line("part 0 AAAAAAAAAAAAAAAA")  # three zeros
    with pytest.raises(LinkError, match="not those of NumPy"):
        made.line("result 1 2 3 0 2077607535")
    assert not found


def test_a_board_without_room_for_weights_has_numpy_compute_them(tmp_path):
    model = load(MODELS / "speakers.safetensors")
    shown = Shown(model)
    recording = played.Recording(np.zeros((1, 32, 12), np.float32), [9])
    view = Kept()
    with VirtualBoardPort() as port:
        source = partial(played.play, shown=shown, recording=recording, speed=1000, keep=True)
        about = About("", shown.classes, shown.layers, "")
        assert follow.follow(lambda: Board(port), model, MODELS / "speakers.safetensors", source,
                             about, [view], 2) == 2
    assert [state for state, _ in view.said] == ["starting", "live", "ended"]
    for _, result in view.results:
        assert not result.by_board and result.length == 9 and len(result.signal) == 9
        want = model(model.feed(recording.values[0]).ravel(), 9)
        assert (result.probabilities == shown.probabilities(want)).all()
        assert all((a == b).all() for a, b in zip(result.maps, shown.maps(want), strict=True))


class VirtualBoardPort:
    """The port of a virtual board that is short of memory."""

    def __enter__(self):
        self.board = VirtualBoard(heap_size="170K")
        return self.board.port

    def __exit__(self, *_):
        self.board.stop()


def test_a_lost_board_is_looked_for_again(monkeypatch):
    monkeypatch.setattr(follow, "RETRY", 0)
    model = load(DIGITS)
    shown = Shown(model)
    recording = played.Recording(np.zeros((1, 64)), [None])
    view, opened = Kept(), []

    def play(board, target, most, take):
        def taken(result):
            take(result)
            if len(opened) == 1 and len(view.results) == 2:
                opened[0].stop()

        played.play(board, target, most, taken, shown=shown, recording=recording, speed=1000,
                    keep=True)

    def open_board():
        if len(opened) == 1:
            opened.append(None)
            raise BoardError("it is not back yet")
        opened.append(VirtualBoard())
        return Board(opened[-1].port, close=opened[-1].stop)

    about = About("digits", shown.classes, shown.layers, "")
    assert follow.follow(open_board, model, DIGITS, play, about, [view], 4) == 4
    assert [state for state, _ in view.said] == ["starting", "live", "lost", "lost", "starting",
                                                 "live", "ended"]
    assert len(view.abouts) == 2 and len(view.results) == 4
    seconds = [seconds for seconds, _ in view.results]
    assert seconds == sorted(seconds) and seconds[0] == 0


def test_a_board_that_is_not_there_ends_it():
    view = Kept()

    def absent():
        raise BoardError("no such board")

    with pytest.raises(BoardError):
        follow.follow(absent, load(DIGITS), DIGITS, None, None, [view])
    assert view.said == [("ended", "ended: no such board")]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Models and recordings that are wrong, in the current folder."""
    monkeypatch.chdir(tmp_path)
    config, tensors = modelfile.read(DIGITS)
    *layers, head = config["layers"]
    bare = {key: value for key, value in head.items() if key != "scale"}
    modelfile.write(tmp_path / "bare", config | {"layers": [*layers, bare]}, tensors)
    no_channels = {name: each for name, each in tensors.items() if name != "input.channels"}
    modelfile.write(tmp_path / "no_channels", config, no_channels)
    (tmp_path / "a.py").write_text(DRIVER)
    np.savez(tmp_path / "good.npz", inputs=np.zeros((2, 64)))
    np.savez(tmp_path / "wide.npz", inputs=np.zeros((2, 65)))
    np.savez(tmp_path / "named.npz", inputs=np.zeros((2, 64)), names=np.array(["a", "b"]))
    np.savez(tmp_path / "numbered.npz", inputs=np.zeros((2, 64)), names=np.arange(10))
    np.savez(tmp_path / "labels.npz", inputs=np.zeros((2, 64)), labels=np.array([3, 10]))


PLAY = ["--recording", "good.npz"]


@pytest.mark.parametrize(("words", "message"), [
    ([], "which model? Name a file, or take --demo"),
    ([str(DIGITS)], "where does the signal come from? Take --sensor FILE.py, or"),
    ([str(DIGITS), "--demo"], f"{DIGITS}: --demo brings its own model; leave it out"),
    (["--demo", "cats"], "--demo cats: no such demo; there are digits, speakers"),
    (["--demo", *PLAY], "--recording: --demo has a signal and classes of its own"),
    (["--demo", "--terminal", "--port", "80"], "--port: --terminal serves no page"),
    (["--demo", "--hop", "3"], "--hop: without --sensor a recording is played"),
    ([str(DIGITS), "--sensor", "a.py", "--speed", "3"], "--speed: --sensor gives the signal"),
    (["--demo", "--port", "0"], "--port: expected a whole number from 1 to 65535"),
    (["bare", *PLAY], "bare: head: the last layer has neither softmax nor scale"),
    ([str(DIGITS), "--sensor", "none.py"], "none.py: No such file or directory"),
    (["no_channels", "--sensor", "a.py"], "no_channels: expected input.channels along"),
    ([str(MODELS / "stories.safetensors"), "--sensor", "a.py"], "it takes text; attn8 generate"),
    ([str(DIGITS), "--recording", "wide.npz"], "expected numbers [samples, 64], got float64 [2, 6"),
    ([str(DIGITS), "--recording", "none.npz"], "none.npz: no such file"),
    ([str(DIGITS), "--recording", "named.npz"], "expected 10 names of classes"),
    ([str(DIGITS), "--recording", "numbered.npz"], "names: expected texts, got int64 [10]"),
    ([str(DIGITS), "--recording", "labels.npz"], "labels.npz: expected labels from 0 to 9"),
    ([str(DIGITS), *PLAY, "--names", "a,b"], "expected 10 names of classes, as many as the model"),
])  # fmt: skip
def test_what_cannot_be_shown_is_refused_before_a_board_is_asked(
    capsys, monkeypatch, files, words, message
):
    monkeypatch.setattr(Board, "__init__", None)
    assert message in refused(capsys, "watch", *words)


def test_without_the_server_library_there_is_a_line(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "websockets", None)
    for name in [name for name in sys.modules if name.startswith(("websockets.", "attn8_host.watch"
                                                                  ".server"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(Board, "__init__", None)
    line = refused(capsys, "watch", "--demo")
    assert line == ("attn8: the page needs websockets: python -m pip install 'attn8[watch]'; or "
                    "take --terminal")


def test_weights_that_come_without_their_sums_are_shares_of_their_own():
    """As the core micro has them."""
    shown = Shown(load(DIGITS))
    shown.layers = {"attn": (1, 2, 2)}
    (found,) = shown.maps({"attn.weights.0": np.array([64, 192, 0, 0])})
    assert found.tolist() == [[round(WHOLE / 4), round(WHOLE * 3 / 4)], [0, 0]]


def test_a_row_of_probabilities_for_each_token_is_refused():
    model = load(DIGITS)
    model.config["layers"][-1] |= {"type": "softmax", "rows": 2}
    with pytest.raises(ModelError, match="expected one row of probabilities, got 2"):
        Shown(model)


def test_the_terminal_shows_the_demo(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["watch", "--demo", "digits", "--board", "virtual", "--terminal", "--results", "5",
                 "--speed", "100"]) == 0
    said = capsys.readouterr().out
    for each in ("result 4", "ended after 5 results", "handwritten digits", "median", "heap",
                 "attention, as the board computed it", "attn: 0 to 0."):
        assert each in said
    assert said.count("▀") == 2 * 8 * 4  # two heads of 8 x 8, two rows a line


@pytest.mark.parametrize("width, height", [(80, 24), (80, 18), (110, 45), (200, 100)])
def test_the_terminal_has_something_of_each_part_at_any_size(width, height):
    rng = np.random.default_rng(0)
    classes = [str(c) for c in range(9)]
    about = About("model", classes, {"first": (4, 32, 32), "second": (4, 32, 32)}, "sensor")
    maps = [(rng.dirichlet(np.ones(32), 32) * WHOLE).astype(np.uint16) for _ in range(8)]
    results = [Result(rng.normal(size=(32, 12)), rng.dirichlet(np.ones(9)), maps, 900, (1, 2))] * 60
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    console.print(Group(*picture(about, results, 60, 6.0, "live", width, height)))
    lines = Text.from_ansi(console.file.getvalue()).plain.splitlines()
    assert height - 10 <= len(lines) <= height or height == 100
    said = "\n".join(lines)
    for each in "time 900 us", "heap", "signal", "probability", "attention", "first: 0 to", "▀":
        assert each in said
    assert ("of 12 channels" in said) == (height < 72)
    assert ("1 of 2 layers" in said) == (height < 40)


def test_maps_of_the_terminal():
    shares = np.zeros((40, 20))
    shares[39, 0] = 1
    assert pooled(shares).shape == (16, 16) and pooled(shares)[15, 0] == 1
    text = heat(np.array([[0.0, 1.0], [0.5, 0.25], [1.0, 0.0]]))
    assert text.plain == "▀▀\n▀▀"
    assert [str(span.style) for span in text.spans] == [
        "rgb(68,1,84) on rgb(33,145,140)", "rgb(253,231,37) on rgb(59,82,139)",
        "rgb(253,231,37)", "rgb(68,1,84)"]


def test_it_ends_with_ctrl_c():
    command = [sys.executable, "-m", "attn8_host", "watch", "--demo", "digits", "--board",
               "virtual"]
    # As a job of a shell that leaves Ctrl-C as it is
    process = subprocess.Popen(
        [sys.executable, "-c", f"import os, signal; signal.signal(signal.SIGINT, "
         f"signal.default_int_handler); os.execv({sys.executable!r}, {command!r})"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"})
    assert process.stdout.readline().startswith("Open http://127.0.0.1:")
    process.stdout.readline()  # it has a board
    process.send_signal(signals.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and said == "attn8: interrupted\n"
