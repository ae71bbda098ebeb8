"""What the pages show at the REPL is what a board answers."""

import ast
import doctest
import re
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from attn8_host import cores, layers
from attn8_host.cli import main
from attn8_host.paths import DEVICE
from attn8_host.plan.inference import one_layer, plan
from attn8_host.quantize.file import quantize_file

ROOT = DEVICE.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


SESSIONS = [page for page in PAGES if ">>> " in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", SESSIONS, ids=[page.stem for page in SESSIONS])
def test_examples(remote, page):
    text = page.read_text().replace("```", "")  # what a block shows last ends with it
    examples = doctest.DocTestParser().get_examples(text)
    assert examples
    remote.board.enter_repl()  # each page starts with the whole of the board's memory
    for example in examples:
        assert remote.board.execute(shown(example.source)) == example.want, example.source


def test_the_demo_prints_what_the_readme_shows(capsys, monkeypatch, tmp_path):
    """Every row; of a computer its name alone, and of memory within 2 %."""
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--board", "virtual"]) == 0
    found, shown = (dict(re.findall(r"^│ (.*?) +│ +(.*?) +│", text, re.M)) for text in (
        capsys.readouterr().out, (ROOT / "README.md").read_text(encoding="utf-8")))
    assert list(found) == list(shown)
    own = ("board", "firmware", "time per inference", "of 95 % at most", "link")
    (taken,), (said,) = (map(int, re.findall(r"^(\d+) bytes$", rows.pop("RAM").replace(",", "")))
                         for rows in (found, shown))
    assert taken == pytest.approx(said, rel=0.02)
    for name in found.keys() - own:
        assert found[name] == shown[name], name


def test_every_layer_and_what_it_says_is_in_the_table():
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", (ROOT / "docs/models.md").read_text(), re.M)
    loadable = {name: kind for name, kind in layers.types().items()
                if type(kind).build is not layers.base.LayerType.build}
    assert {kind for kind, _ in rows} == loadable.keys()
    for kind, says in rows:
        assert set(loadable[kind].fields) <= set(re.findall(r"`(\w+)`", says)), kind


def test_every_option_of_a_core_is_in_the_table():
    page = (ROOT / "docs/mechanisms.md").read_text()
    for core in cores.all_cores().values():
        assert all(f"`{option}`" in page for option in core.options)


def test_every_core_has_a_row_of_limits():
    text = (ROOT / "docs/mechanisms.md").read_text().partition("## Limits")[2].partition("## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", text, re.M))
    assert rows.keys() == cores.all_cores().keys()
    for name, tokens in rows.items():
        most = cores.get(name).max_seq_len
        assert f"{most:,}" in tokens or name == "sliding", name


PUBLISHED = {  # mechanism: bytes of attention in float32, beside q, k and v; options of plan
    "local_global": (8 * 2048 * (64 + 16) * 4,
                     {"window": 32, "global_indices": [*range(0, 2048, 128)]}),
    "performer": (8 * 2048 * 256 * 4, {"num_features": 256}),
    "flash": (8 * 128 * 128 * 4, {"block_size": 128}),
}


@pytest.mark.parametrize("core", PUBLISHED)
def test_memory_of_long_sequences(core):
    text = (ROOT / "docs/mechanisms.md").read_text()
    row = rf"^\| `{core}` \| ([\d.]+) \| ([\d.]+) \|"
    ((published, planned),) = re.findall(row, text, re.M)
    attention, options = PUBLISHED[core]
    assert (attention + 3 * 2048 * 512 * 4) / 2**20 == float(published)
    layer = plan(*one_layer(core, 2048, 512, 8, options=options), predicted=lambda: (0, 0))
    assert round(layer.ram / 2**20, 1) == float(planned) < float(published)
    assert not any(layer.fits.values())


def test_the_model_of_the_readme_can_be_quantized(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    sizes = {"embed": (16, 6), "head": (4, 16)}
    sizes |= {f"attn.{part}": (16, 16) for part in ("q", "k", "v", "out")}
    tensors = {}
    for name, (outputs, inputs) in sizes.items():
        tensors[f"{name}.weight"] = rng.normal(size=(outputs, inputs)) / np.sqrt(inputs)
        tensors[f"{name}.bias"] = rng.normal(size=outputs)
    code = re.search(r"^    from pathlib import Path\n(    .*\n)+", PAGES[0].read_text(), re.M)
    source = textwrap.dedent(code[0]).replace("tensor.numpy()", "tensor")
    exec(source, {"model": SimpleNamespace(state_dict=lambda: tensors)})
    np.save("windows.npy", rng.normal(size=(9, 32, 6)))
    found = quantize_file(
        Path("gestures_float.safetensors"), Path("windows.npy"), Path("gestures.safetensors")
    )
    assert found.cosine > 0.95


def shown(source: str) -> str:
    """Code that prints the value of an expression as a REPL does."""
    try:
        ast.parse(source, mode="eval")
    except SyntaxError:
        return source
    return f"_ = {source}\nif _ is not None: print(repr(_))"
