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


def test_viper_beats_the_compiler():
    # The targets that are met, and the C of the same layer beside it
    newest = record_bench.newest()
    assert newest["rv32imc"]["layer_viper"]["instructions_per_mac"] < 7.22
    limits = {"xtensawin": (6.0, 7.2, 8.8), "rv32imc": (4.6, 5.7, 7.0)}
    for arch, (k64, k16, values) in limits.items():
        counts = record_bench.figures(newest[arch])
        assert counts["matmul, int32 out (scores) | 129 x 129 x 64 | mac"] <= k64
        assert counts["matmul, int32 out (scores) | 129 x 129 x 16 | mac"] <= k16
        assert counts["weights x V | 128 x 128 x 16 | mac"] <= values
