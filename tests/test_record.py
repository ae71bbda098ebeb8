"""`attn8 record`: windows of what the sensor gave, with their labels, and nothing made up."""

import numpy as np
import pytest

from attn8_host import inputs
from attn8_host.boards.board import Board
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.cli import main
from attn8_host.record import windows
from attn8_host.terminal import bars

RATE, WINDOW, HOP = 200, 20, 7
DRIVER = """
class Sensor:
    channels = 2
    def __init__(self):
        self.file = open("/signal.bin", "rb")
    def read(self, sample):
        return self.file.readinto(sample) == 8
"""


@pytest.fixture
def sensor(tmp_path):
    """A board with a recorded signal, which it gives as a sensor; a driver; the signal."""
    root = tmp_path / "board"
    root.mkdir()
    x = np.random.default_rng(0).integers(-(2**31), 2**31, (2 * RATE, 2)).astype("<i4")
    (root / "signal.bin").write_bytes(x.tobytes())
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    virtual = VirtualBoard(root=root)
    yield virtual.port, driver, x
    virtual.stop()


def command(port, driver, output, **changed):
    options = {"channels": 2, "rate": RATE, "labels": "rest,wave", "seconds": 1,
               "window": WINDOW, "hop": HOP, "wait": 0} | changed
    return ["record", "--board", port, "--sensor", str(driver), "--output", str(output),
            *(part for name, value in options.items() for part in (f"--{name}", str(value)))]


def test_windows_are_those_of_the_signal(sensor, tmp_path, capsys):
    port, driver, x = sensor
    output = tmp_path / "data.npz"
    assert main(command(port, driver, output)) == 0
    found = np.load(output)
    per = (RATE - WINDOW) // HOP + 1
    assert found["names"].tolist() == ["rest", "wave"]
    assert found["labels"].tolist() == [0] * per + [1] * per
    for label, part in enumerate((x[:RATE], x[RATE:])):
        for i in range(per):
            window = found["inputs"][label * per + i]
            assert (window == part[i * HOP : i * HOP + WINDOW].astype(np.float32)).all()
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"{2 * per} windows of 20 samples of 2 in {output} (rest {per}, wave {per})"
    config = {"input": {"shape": [WINDOW, 2]}, "layers": []}  # as quantize, run and train read them
    assert (inputs.read(output, config) == found["inputs"]).all()
    assert (inputs.read_labels(output, 2 * per, 2) == found["labels"]).all()


@pytest.mark.parametrize(("changed", "source", "message"), [
    ({"channels": 3}, DRIVER, "the sensor has 2 channels, not 3"),
    ({"seconds": 3}, DRIVER, "the sensor has no more samples"),
    ({"window": 300}, DRIVER, "--window: 300 samples take more than --seconds 1 at --rate 200"),
    ({"labels": "a,a"}, DRIVER, "expected different names"),
    ({}, "class Other: pass", "expected a class Sensor"),
    ({}, DRIVER.replace("(self):", "(self, path, n=1):"), "a Sensor needs path, and is made"),
    ({}, "def", "driver.py: invalid syntax"),
    ({}, DRIVER.replace("== 8", "== 8 and print('hm') is None"), "the board said: 'hm'"),
    ({}, DRIVER.replace("/signal", "/absent"), "ENOENT"),
])  # fmt: skip
def test_what_fails_is_one_line_and_writes_nothing(
    sensor, tmp_path, capsys, changed, source, message
):
    port, driver, _ = sensor
    driver.write_text(source)
    output = tmp_path / "data.npz"
    try:
        assert main(command(port, driver, output, **changed)) == 2
    except SystemExit as error:  # argparse's
        assert error.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not output.exists()


@pytest.mark.parametrize(("name", "message"), [
    ("none.py", "none.py: No such file or directory"), (".", ".: Is a directory"),
])
def test_a_driver_that_is_none_is_refused_before_a_board_is_asked(
    tmp_path, capsys, monkeypatch, name, message
):
    monkeypatch.setattr(Board, "__init__", None)
    assert main(command("virtual", name, tmp_path / "data.npz")) == 2
    assert capsys.readouterr().err == f"attn8: {message}\n"


def test_windows_have_samples_of_one_label_alone():
    x, y = windows([np.full((7, 1), 3), np.full((4, 1), 5), np.full((2, 1), 7)], 3, 2)
    assert x[:, :, 0].tolist() == [[3] * 3] * 3 + [[5] * 3]
    assert y.tolist() == [0, 0, 0, 1]


def test_bars():
    assert bars([0, 4, 8]) == " ▄█"
    assert bars([5, 5]) == "  "
    assert bars([-(2**31), 2**31 - 1]) == " █"


def test_an_archive_without_inputs_is_refused(tmp_path, capsys):
    np.savez(tmp_path / "other.npz", labels=np.zeros(3, int))
    with pytest.raises(Exception, match=r"other\.npz: expected an array inputs in it"):
        inputs.read(tmp_path / "other.npz", {"input": {"shape": [1]}})
