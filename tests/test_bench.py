"""What `attn8 bench --isa` counts, against the recorded figures; README shows those."""

import json

import numpy as np
import pytest

from attn8_host import isa
from attn8_host.cli import main
from attn8_host.cores.exact import Exact, exact_constants
from attn8_host.errors import Attn8Error
from attn8_host.model import load
from attn8_host.numerics.integers import EXP2
from attn8_host.paths import MODELS
from attn8_host.proof.bench import growth, llama2c, on_board, published, tinymind
from tools import record_bench


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
    said = capsys.readouterr().out
    assert "MultiHeadAttention" in said and ("published" in said) == (arch == "xtensawin")


def test_published_figures_are_those_of_the_documents():
    text = (record_bench.ROOT / "docs/forms.md").read_text(encoding="utf-8")
    rows = published.figures()
    assert len(rows) == 6
    for row in rows:
        assert f"| {row['cycles_per_mac']:.1f} |" in text and row["source"] in text, row


def test_growth(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(growth, "EMBED_DIM", 16)
    monkeypatch.setattr(growth, "LENGTHS", (16, 32, 128))
    path, png = tmp_path / "growth.json", tmp_path / "growth.png"
    assert main(["bench", "growth", "--isa", "rv32imc", "--core", "exact", "--core", "linear",
                 "--json", str(path), "--png", str(png)]) == 0
    outcome, = json.loads(path.read_text())
    assert outcome["backends"].keys() == {"turbo", "viper"} and png.read_bytes()[:4] == b"\x89PNG"
    for found in outcome["backends"].values():
        exact, linear = ([point["instructions"] for point in found[name]]
                         for name in ("exact", "linear"))
        assert exact[0] < exact[1] and linear[2] < 5 * linear[1] < exact[2]
        assert [point["counted"] for point in found["exact"]] == [True, True, False]
    said = capsys.readouterr().out
    assert "~" in said and "128" in said
    assert main(["bench", "growth", "--core", "none"]) == 2
    assert "there is no core none" in capsys.readouterr().err


# Instructions a multiply-accumulate of a whole encoder layer, and an element of its parts: at most
ENCODER = {"xtensawin": (3.35, {"layer_norm": 16, "gelu": 4.2, "add": 6.4}),
           "rv32imc": (3.4, {"layer_norm": 18.6, "gelu": 4.3, "add": 6.4})}  # fmt: skip


@pytest.mark.parametrize("arch", isa.ARCHES)
def test_an_encoder_layer(arch, tmp_path, capsys):
    path = tmp_path / "encoder.json"
    assert main(["bench", "encoder", "--isa", arch, "--json", str(path)]) == 0
    turbo, viper = json.loads(path.read_text())
    assert turbo["macs"] == 786432
    whole, parts = ENCODER[arch]
    assert turbo["instructions_per_mac"] <= whole < viper["instructions_per_mac"]
    for part, most in parts.items():
        assert turbo["per_element"][part] <= most < viper["per_element"][part]
    assert round(sum(turbo["parts"].values()) / turbo["macs"], 3) == turbo["instructions_per_mac"]
    assert "layer_norm, an element" in capsys.readouterr().out
    rows = record_bench.figures({"kernels": [], "encoder": [turbo, viper]})
    assert rows["encoder layer, turbo | 64 x 32 x 4 x 64 | mac"] == turbo["instructions_per_mac"]
    assert rows["add, viper | 64 x 32 | element"] == viper["per_element"]["add"]


def test_tinymind_wants_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(tinymind.shutil, "which", lambda name: name)
    with pytest.raises(Attn8Error, match="expected a checkout of"):
        tinymind.measure(tmp_path)
    monkeypatch.setattr(tinymind.shutil, "which", lambda name: None)
    with pytest.raises(Attn8Error, match=r"riscv64-unknown-elf-g\+\+ is missing: install it"):
        tinymind.measure(tmp_path)


def test_llama2_c_wants_a_checkout_and_a_model_like_its_own(tmp_path, monkeypatch):
    stories = load(MODELS / "stories.safetensors", False)
    monkeypatch.setattr(llama2c.shutil, "which", lambda name: name)
    with pytest.raises(Attn8Error, match=r"expected a checkout of github\.com/karpathy/llama2\.c"):
        llama2c.build(tmp_path, "run.c", 4)
    monkeypatch.setattr(llama2c.shutil, "which", lambda name: None)
    with pytest.raises(Attn8Error, match="riscv64-unknown-elf-gcc is missing: install it"):
        llama2c.build(tmp_path, "run.c", 4)
    with pytest.raises(Attn8Error, match=r"expected a model of llama2\.c with a tied head"):
        llama2c.sizes_of(load(MODELS / "digits.safetensors", False))
    sizes = llama2c.sizes_of(stories)
    assert sizes == {"dim": 64, "hidden_dim": 172, "layers": 5, "heads": 8, "kv_heads": 4,
                     "vocab_size": 512, "context": 192}
    made = llama2c.weights(sizes)
    matrices = sum(values.size for key, values in made.items() if not key.startswith("rms"))
    assert llama2c.products(sizes) == matrices + 5 * 2 * 64 * 100
    norms = sum(values.size for values in made.values()) - matrices
    assert len(llama2c.grouped(made, 4)) == 4 * norms + matrices + 4 * matrices // 4


def test_lines_name_code_that_is_there():
    for line in record_bench.RESULTS.read_text().splitlines():
        entry = json.loads(line)
        assert "renamed" in entry or {"commit", "date", "toolchain", "method"} <= entry.keys()
    now = record_bench.code_digest()
    assert len(now) == 64 and now == record_bench.code_digest()


def test_a_change_that_is_not_committed_is_not_recorded(monkeypatch):
    monkeypatch.setattr(record_bench.sys, "argv", ["record_bench"])
    monkeypatch.setattr(record_bench, "_git", lambda *arguments: " M device/attn8/model.py")
    with pytest.raises(SystemExit, match="commit what is to be measured first"):
        record_bench.main()


def test_naive_viper_is_right():
    source = on_board._naive_sources()[1].replace("import micropython", "")
    naive: dict = {}
    exec(source, naive)
    rng = np.random.default_rng(0)
    q, k, v = rng.integers(-127, 128, (3, 12, 8)).astype(np.int8)
    constants = exact_constants(8, 0.03, 0.03, 0.03, 0.02)
    out, scores, weights = bytearray(96), [0] * 12, [0] * 12
    operands = (x.tobytes() for x in (q, k, v))
    naive["attend"](*operands, out, 12, 8, 8, list(constants.values()), EXP2.tolist(), scores,
                    weights)
    expected = Exact(**constants)(q, k, v)
    assert (np.frombuffer(out, np.int8) == expected.ravel()).all()


def test_on_a_board(tmp_path, capsys):
    path = tmp_path / "bench.json"
    assert main(["bench", "--board", "virtual", "--json", str(path)]) == 0
    outcome = json.loads(path.read_text())
    assert outcome["method"] == "emulated" and outcome["backend"] == "viper"
    assert outcome["layer"]["instructions_per_mac"] is None
    assert [row["name"] for row in outcome["kernels"]] == [
        "projection, viper", "attention, one head, viper"]
    assert outcome["layer"]["microseconds"] < outcome["layer_naive"]["microseconds"]
    assert outcome["layer_naive"]["microseconds"] < outcome["layer_plain"]["microseconds"]
    least, most = outcome["plain_to_naive"]
    assert 1 < least <= most
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    assert main(["bench", "--board", "virtual", "--backend", "turbo"]) == 2
    error = capsys.readouterr().err
    assert "has no turbo kernels" in error and len(error.splitlines()) == 1


def test_readme_shows_the_newest_figures():
    readme = record_bench.README.read_text()
    table = record_bench.table(record_bench.newest())
    assert record_bench.with_table(readme, table) == readme
    assert table in readme


LIMITS = {  # instructions on xtensawin, rv32imc
    "matmul, int8 out, turbo | 33 x 64 x 64 | mac": (2.1, 3.6),
    "scores, turbo | 32 x 32 x 16 | mac": (1.75, 3.6),
    "weights x V, turbo | 32 x 32 x 16 | mac": (2.15, 4.0),
    "softmax, turbo | 32 x 32 | score": (25, 26),
    "MultiHeadAttention, turbo | 32 x 64 x 4 | mac": (2.4, 4.0),
}


@pytest.mark.parametrize("name", LIMITS)
def test_targets(name):
    newest = record_bench.newest()
    for arch, limit in zip(("xtensawin", "rv32imc"), LIMITS[name], strict=True):
        assert record_bench.figures(newest[arch])[name] <= limit


def test_machine_code_beats_the_compiler():
    # 7.22: the best C++ peer at -O2 on the same work; beside it, C of the same layer
    newest = record_bench.newest()["rv32imc"]
    ours = newest["layer"]["instructions_per_mac"]
    assert ours < 7.22 and ours < newest["layer_c"]["instructions_per_mac"]
