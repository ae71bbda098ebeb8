"""The example of a board that learns a ninth speaker, of a model that is trained for less long."""

import re
import runpy
import sys

import numpy as np
import pytest

from attn8_host.paths import DEVICE
from attn8_host.proof.demos.speakers import DEMO

LEARN = DEVICE.parent / "examples/learn"


def test_a_ninth_speaker_is_learned_as_in_float64(tmp_path, monkeypatch, capsys):
    """A fourth of the demo's utterances tests what the others train. The accuracy of all, on the
    board, is within a point of PyTorch's, or within one utterance."""
    pytest.importorskip("torch")
    found = DEMO.read()
    test = np.arange(len(found.labels)) % 4 == 3
    parts = {"train": ~test, "test": test}
    arrays = {f"{part}{what}": np.array(values)[some] for part, some in parts.items()
              for what, values in (("", found.inputs), ("_lengths", found.lengths),
                                   ("_labels", found.labels))}
    np.savez(tmp_path / "speakers.npz", **arrays)
    monkeypatch.setattr(sys, "path", [str(LEARN.parent), *sys.path])
    import speakers

    monkeypatch.setattr(speakers, "EPOCHS", 15)
    monkeypatch.setattr(sys, "argv", ["ninth.py", str(tmp_path / "speakers.npz")])
    runpy.run_path(str(LEARN / "ninth.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "as NumPy computes them: every bit" in said
    rows = {what: [float(each) for each in re.findall(r"([\d.]+)%", row)]
            for what, row in re.findall(r"(.*?): +(.*)", said) if "%" in row}
    board, floats = rows["int8 on the board, after"], rows["PyTorch in float64, after"]
    assert rows["int8 on the board, before"][1] == 0 < board[1]
    assert board[0] > rows["int8 on the board, before"][0]
    assert abs(board[0] - floats[0]) <= max(1, 100 / test.sum())
