"""What `attn8 bench --isa` counts, against the recorded figures; README shows those."""

import json

import pytest

from attn8_host.cli import main
from tools import isa, record_bench


@pytest.mark.parametrize("arch", isa.ARCHES)
def test_no_count_grows_unrecorded(arch, tmp_path, capsys):
    path = tmp_path / "bench.json"
    assert main(["bench", "--isa", arch, "--json", str(path)]) == 0
    outcome = json.loads(path.read_text())
    assert outcome["isa"] == arch and outcome["method"] == "counted" and outcome["backend"]
    assert {"name", "shape"} <= outcome["kernels"][0].keys()
    now = record_bench.figures(outcome)
    recorded = record_bench.figures(record_bench.newest()[arch])
    grown = {k: (v, recorded[k]) for k, v in now.items() if v > 1.02 * recorded[k]}
    assert not grown, "record them on purpose with python -m tools.record_bench"
    assert "MultiHeadAttention" in capsys.readouterr().out


def test_readme_shows_the_newest_figures():
    readme = record_bench.README.read_text()
    table = record_bench.table(record_bench.newest())
    assert record_bench.with_table(readme, table) == readme
    assert table in readme


LIMITS = {  # instructions on xtensawin, rv32imc
    "matmul, int32 out (scores) | 129 x 129 x 64 | mac": (6.0, 4.6),
    "matmul, int32 out (scores) | 129 x 129 x 16 | mac": (7.2, 5.7),
    "weights x V | 128 x 128 x 16 | mac": (8.8, 7.0),
    "softmax | 128 x 128 | score": (45, 40),
    "MultiHeadAttention, specialised | 32 x 64 x 4 | mac": (7.5, 6.0),
}


@pytest.mark.parametrize("name", LIMITS)
def test_targets(name):
    newest = record_bench.newest()
    for arch, limit in zip(("xtensawin", "rv32imc"), LIMITS[name], strict=True):
        assert record_bench.figures(newest[arch])[name] <= limit


def test_viper_beats_the_compiler():
    # 7.22: the best C++ peer at -O2 on the same work; beside it, C of the same layer
    newest = record_bench.newest()["rv32imc"]
    viper = newest["layer_viper"]["instructions_per_mac"]
    assert viper < 7.22 and viper < newest["layer_c"]["instructions_per_mac"]
