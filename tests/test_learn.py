"""The example of a board that learns from presses of a button, on the virtual board."""

import runpy
import sys

from attn8_host.paths import DEVICE


def test_a_sensor_that_was_mounted_anew_is_learned(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["play.py"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    runpy.run_path(str(DEVICE.parent / "examples/learn/play.py"), run_name="__main__")
    said = capsys.readouterr().out.splitlines()
    page = (DEVICE.parent / "docs/training.md").read_text()
    assert "\n".join(said) in page
    assert said[1] == "as NumPy computes them: every bit"
