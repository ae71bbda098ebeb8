"""`attn8 plan --train` against what the virtual board reports, and its counts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load as from_bytes

from attn8_host import layers, modelfile
from attn8_host.boards.virtual import open_virtual
from attn8_host.cli import main
from attn8_host.deploy import deploy, push
from attn8_host.errors import Attn8Error, ModelError
from attn8_host.isa import ISAS
from attn8_host.model import load
from attn8_host.paths import MODELS, PACKAGE
from attn8_host.plan import training as training_plan
from attn8_host.plan.training import train_plan, training
from attn8_host.quantize.model import quantize_model
from attn8_host.train import session as train
from attn8_host.train import tune
from attn8_host.train.arithmetic import ratio
from attn8_host.train.memory import saving
from attn8_host.train.model import Model as Trained
from tools.train_cost import words

PATH = "/models/plan.safetensors"
DOCS = PACKAGE.parent.parent / "docs"
SHAPE = 12, 8, 2  # seq_len, embed_dim, num_heads
# What a model takes once it has trained with one sample, beside all modules of its load
MEASURE = """
import gc
from array import array
import attn8.unload
from attn8.train import load
attn8.unload.Unload._own = lambda self, parts: ()  # a load forgets nothing that it imports
def train(m):
    f = m.model.f
    words = f.zeros(len(m.input) >> (3 if f.typecode == "d" else 2))
    words[0] = words[1] = 1
    view = memoryview(m.input)
    view[:] = bytes(words)
    m()
m = load({path!r})
train(m)
m = None
gc.collect()
before = gc.mem_alloc()
m = load({path!r})
train(m)
gc.collect()
print(gc.mem_alloc() - before)
"""


@pytest.fixture(scope="module")
def large_board():
    with open_virtual(heap_size="2M") as board:
        deploy(board)
        push(board, "/models/digits.safetensors", (MODELS / "digits.safetensors").read_bytes())
        yield board


def layer(recompute: bool) -> tuple:
    config, tensors = training(None, None, SHAPE, "Q16.16")
    config["layers"][0]["recompute"] = recompute
    return config, tensors


def with_core(core: str, options: dict) -> tuple:
    config, _ = layer(False)
    config["layers"][0] |= {"core": core, "options": options}
    floats = train.initial(config, np.random.default_rng(1))
    return config, from_bytes(train.pack(config, floats))


def block(how: str) -> tuple:
    """The last block of an encoder and its head: 32 tokens of 32 values, 64 hidden ones."""
    size = {"seq_len": 32, "embed_dim": 32}
    norm = {"type": "layer_norm", "features": 32, "eps": [21475, 31]}
    config = saving({
        "format": "attn8-train", "version": 1, "name": "block", "numbers": "Q16.16",
        "input": {"size": 1024}, "loss": "cross_entropy", "clip_norm": 1.0, "batch": 1,
        "optimizer": {"type": "sgd", "lr": ratio(0.02), "momentum": ratio(0.9)}, "layers": [
            {**norm, "name": "norm1"},
            {"type": "attention", "name": "attn", "num_heads": 4, **size},
            {"type": "add", "name": "sum1", "inputs": ["input", "attn"]}, {**norm, "name": "norm2"},
            {"type": "dense", "name": "ff1", "rows": 32, "in_features": 32, "out_features": 64},
            {"type": "gelu", "name": "gelu", "approximate": "none"},
            {"type": "dense", "name": "ff2", "rows": 32, "in_features": 64, "out_features": 32},
            {"type": "add", "name": "sum2", "inputs": ["sum1", "ff2"]},
            {"type": "mean_pool", "name": "pool", **size},
            {"type": "dense", "name": "head", "in_features": 32, "out_features": 6}]}, how)
    tensors = train.initial(config, np.random.default_rng(0))
    return config, from_bytes(train.pack(config, tensors))


@pytest.mark.parametrize("make", [
    lambda: training("iris", None, SHAPE, "Q16.16"),
    lambda: training("iris", None, SHAPE, "float"),
    lambda: training("digits", None, SHAPE, "Q16.16"),
    lambda: layer(False),
    lambda: layer(True),
    lambda: with_core("local_global", {"window": 2, "global_indices": [0]}),
    lambda: with_core("linear", {"phi": "elu+1"}),
    lambda: training(None, None, (32, 16, 8), "Q16.16", "self_attention_1d"),
    lambda: training(None, None, (32, 16, 8), "double", "self_attention_1d"),
    lambda: block("recompute"), lambda: block("direct"),
], ids=["iris", "iris in floats", "digits", "attention", "attention, recompute", "local_global",
        "linear core", "linear", "linear in doubles", "block, recompute",
        "block, direct"])  # fmt: skip
def test_ram_is_what_the_board_reports(large_board, make):
    config, tensors = make()
    planned = train_plan(config, tensors, "viper", word=8, arches=())
    for entry in [config, *config["layers"]]:
        for key in ("model", "int8"):
            if key in entry:
                entry[key] = f"/models/{Path(entry[key]).name}"
    large_board.enter_repl()
    push(large_board, PATH, modelfile.pack(config, tensors))
    reported = int(large_board.execute(MEASURE.format(path=PATH)))
    assert planned.memory.ram == pytest.approx(reported, rel=0.06)


def test_a_block_takes_less_the_more_is_saved():
    """All that saves memory together: over half; and the arena is no more than what is needed while
    attention passes its gradient on: what it took, q, k, v, the context's gradient, the weights of
    a head, some rows of these and the head's v."""
    most, least = (train_plan(*block(how), arches=()).memory for how in ("fast", "direct"))
    assert least.ram < 0.48 * most.ram
    assert least.buffers["arena"] == 4 * (6 * 32 * 32 + 128 + 32 * 8)


HEAP = 110 * 1024  # bytes of it that there are
ALONE = 112_000  # that docs/training.md says


def encoder(path: Path) -> Path:
    """An int8 model of two such blocks and a head, at random."""
    size, x = {"seq_len": 32, "embed_dim": 32}, "input"
    entries: list[dict[str, Any]] = []
    for n in ("1", "2"):
        entries += [
            {"type": "layer_norm", "name": "norm" + n, "features": 32, "eps": 1e-5, "inputs": [x]},
            {"type": "attention", "name": "attn" + n, "core": "exact", "num_heads": 4,
             "causal": False, **size},
            {"type": "add", "name": "sum" + n, "inputs": [x, "attn" + n]},
            {"type": "layer_norm", "name": "second" + n, "features": 32, "eps": 1e-5},
            {"type": "dense", "name": "ff" + n, "rows": 32, "in_features": 32, "out_features": 64},
            {"type": "gelu", "name": "gelu" + n, "approximate": "none"},
            {"type": "dense", "name": "back" + n, "rows": 32, "in_features": 64,
             "out_features": 32},
            {"type": "add", "name": "x" + n, "inputs": ["sum" + n, "back" + n]}]
        x = "x" + n
    entries += [{"type": "mean_pool", "name": "pool", **size},
                {"type": "dense", "name": "head", "in_features": 32, "out_features": 6}]
    rng = np.random.default_rng(2)
    tensors = {f"{entry['name']}.{part}": rng.normal(0, 0.2, [n or 1 for n in tensor.shape])
               for entry in entries
               for part, tensor in layers.get(entry["type"]).float_tensors(entry).items()
               if tensor.needed}
    config = {"format": "attn8", "version": 1, "name": "encoder", "input": {"shape": [32, 32]},
              "layers": entries}
    made = quantize_model(config, tensors, rng.normal(size=(20, 32, 32)).astype(np.float32))
    modelfile.write(path, *made)
    return path


def test_a_board_learns_a_block_alone_in_what_the_documents_say(tmp_path):
    """With what making features leaves of the frozen block in the same boot."""
    path = encoder(tmp_path / "encoder.safetensors")
    planned = tune.planned_alone(load(path, False), path, "last:6", "sgd", "direct")
    assert 0.98 * ALONE < planned.peak_heap <= ALONE <= HEAP
    assert f"| `direct` | 156,500 | {ALONE:,} |" in (DOCS / "training.md").read_text()


def test_what_makes_layers_goes_as_soon_as_it_has(tmp_path):
    """A head that trains takes the most while it is made, served to a host: 129,000 where all that
    loads was there to the end."""
    path = encoder(tmp_path / "encoder.safetensors")
    planned = tune.planned(load(path, False), path, "head", 1, "sgd", "recompute")
    assert planned.peak_heap <= 109_000


ELU = {"core": "linear", "options": {"phi": "elu+1"}}
CORES = {  # row of the table in docs/training.md: what the layer's entry says
    "`exact`, `flash`": [{}, {"core": "flash", "options": {}}],
    "`sparse`, a window of 4": [{"core": "sparse", "options": {"mask": ["local_window", 4]}}],
    "`local_global`, a window of 4 and a global token": [
        {"core": "local_global", "options": {"window": 4, "global_indices": [0]}}],
    "`linear`, ELU + 1": [ELU],
}


def of_core(tokens: int, entry: dict[str, Any]) -> training_plan.TrainPlan:
    """One layer of attention, 16 values a token and 2 heads, planned for an ESP32-C3."""
    config = training_plan.layer_config("attention", (tokens, 16, 2), "Q16.16")
    config["layers"][0] |= entry
    tensors = from_bytes(train.pack(config, train.initial(config, np.random.default_rng(1))))
    return train_plan(config, tensors, arches=("rv32imc",))


def hundreds(size: int) -> str:
    return f"{round(size, -2):,}"


def millions(instructions: int, digits: int) -> str:
    return f"{instructions / 1e6:.{digits}f} M"


@pytest.mark.parametrize("row", CORES)
def test_a_core_that_trains_takes_what_the_documents_say(row):
    page = (DOCS / "training.md").read_text()
    for entry in CORES[row]:
        found = of_core(32, entry)
        cost = found.cost["rv32imc"]
        assert (f"\n| {row} | {hundreds(found.memory.ram)} | {hundreds(found.recompute_ram or 0)} "
                f"| {millions(cost.forward, 2)} | {millions(cost.backward, 2)} |\n") in page


def test_cores_of_96_tokens_take_what_the_documents_say():
    page = " ".join((DOCS / "training.md").read_text().split())

    def of(entry: dict[str, Any]) -> tuple[str, str]:
        found = of_core(96, entry)
        cost = found.cost["rv32imc"]
        return hundreds(found.memory.ram), millions(cost.forward + cost.backward, 1)

    exact, linear, causal = of({}), of(ELU), of({**ELU, "causal": True})
    assert (f"at 96 of them `exact` takes {exact[0]} bytes and {exact[1]} instructions, `linear` "
            f"{linear[0]} and {linear[1]}.") in page
    assert f"by chunks of 16 tokens, which takes {causal[1]} in {causal[0]} bytes." in page


@pytest.mark.parametrize(("field", "value"), [("causal", True), ("core", "micro")])
def test_other_attention_does_not_train(remote, field, value):
    """Neither from a training file nor into a model that infers otherwise."""
    config, tensors = layer(False)
    config["layers"][0][field] = value
    if field == "core":
        message = f"attn.core: {value} does not train"
        with pytest.raises(Attn8Error, match=message):
            train_plan(config, tensors)
        with pytest.raises(ModelError, match=message):
            Trained(config, tensors)
    config, tensors = layer(False)
    config["int8"] = written(remote.board, field, value)
    push(remote.board, PATH, modelfile.pack(config, tensors))
    said = remote.refused("import attn8.train\nattn8.train.load(path)", path=PATH)
    default = {"causal": "False", "core": "exact"}[field]
    assert said.startswith(
        f"{PATH}: attn.{field}: what trains has {default}, the model that it becomes, "
        f"{config['int8']}, has {value}")


def written(board, field, value):
    """The path of an int8 model on the board with one attention layer that says so."""
    path = "/models/infers.safetensors"
    entry = {"name": "attn", "type": "attention", "core": "exact", "causal": False, "seq_len": 12,
             "embed_dim": 8, "num_heads": 2} | {field: value}
    config = {"format": "attn8", "version": 1, "name": "infers", "input": {"shape": [12, 8]},
              "layers": [entry]}
    push(board, path, modelfile.pack(config, {}))
    return path


def test_recompute_saves_what_the_formula_says():
    kept = train_plan(*layer(False))
    again = train_plan(*layer(True))
    assert kept.recompute_ram == again.memory.ram
    saved = 4 * (words(*SHAPE, False) - words(*SHAPE, True))
    assert kept.memory.buffers["arena"] - again.memory.buffers["arena"] == saved
    # The row of weights and that of gradients are blocks of their own, each an array and its view
    assert kept.memory.ram - kept.recompute_ram == saved - 2 * (16 + 16)
    assert kept.attention == {"attn": 4 * words(*SHAPE, False),
                              "attn, recompute": 4 * words(*SHAPE, True)}
    for arch, cost in kept.cost.items():
        assert cost.forward < cost.backward < again.cost[arch].backward
        assert cost.step == cost.forward + cost.backward + cost.update
        # Small rows cost more than in tools/train_cost.py
        assert cost.forward_per_mac < 100 and cost.backward_per_mac < 100


@pytest.mark.parametrize("numbers, sizes, values", [
    ("Q8.8", (16, 8, 4), 616), ("Q16.16", (32, 16, 8), 2416), ("Q16.16", (64, 32, 16), 9568),
    ("Q24.8", (16, 8, 4), 616), ("float", (16, 8, 4), 616), ("double", (16, 8, 4), 616),
])  # fmt: skip
def test_published_formula_of_self_attention_1d(sizes, values, numbers):
    """6DP + 6P + ND + 4NP + P**2 of the published table's sizes: what plan says, and all arrays
    that the layer holds once it has trained, but the gradient of the input, for which none asks."""
    config, tensors = training(None, None, sizes, numbers, "self_attention_1d")
    planned = train_plan(config, tensors, arches=())
    size = values * (8 if numbers == "double" else 4)
    assert planned.attention == {"attn": size}
    constants = 4 * 15 * 7  # the shape of each product in fixed point
    held = sum(found for name, found in planned.memory.buffers.items()
               if name.startswith("attn.") and name != "attn.x" and ".f." not in name)
    unasked = sizes[0] * sizes[1] * size // values
    assert held + unasked - size == (0 if numbers in ("float", "double") else constants)
    assert numbers != "double" or set(planned.memory.fits.values()) == {False}


def test_heap_of_self_attention_1d_grows_by_the_formula(large_board):
    """On the board: from one published size to the next as many bytes more, and what the trainer
    keeps of a sample, its input and three times its target, and of the largest products; the
    published gradient of the input is not among it, as none asks for it."""
    taken = []
    for n, d, p in ((32, 16, 8), (64, 32, 16)):
        config, tensors = training(None, None, (n, d, p), "Q16.16", "self_attention_1d")
        large_board.enter_repl()
        push(large_board, PATH, modelfile.pack(config, tensors))
        taken.append(int(large_board.execute(MEASURE.format(path=PATH))))
        samples = n * d + 3 * n * p
        operands = max((n + 8) * (d + 1), (d + 8) * (n + 1), 2 * (n * p + 1))
        words = 6 * d * p + 6 * p + 4 * n * p + p * p + samples + operands
        taken[-1] -= 4 * words
    assert 0 <= taken[1] - taken[0] < 200


def test_the_command(tmp_path, capsys):
    path = tmp_path / "plan.json"
    assert main(["plan", "--train", "iris", "--json", str(path)]) == 0
    made = json.loads(path.read_text())
    assert made["memory"]["fits"] == {"ESP32": True, "ESP32-C3": True} and made["batch"] == 10
    assert made["cost"].keys() == set(ISAS)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    file = tmp_path / "train.safetensors"
    modelfile.write(file, *training("iris", None, SHAPE, "Q8.8"))
    assert main(["plan", "--train", "--model", str(file)]) == 0
    assert "iris" in capsys.readouterr().out
    assert main(["plan", "--train", "--seq-len", "32", "--embed-dim", "16", "--projection-dim", "8",
                 "--json", str(path)]) == 0
    assert json.loads(path.read_text())["attention"] == {"attn": 4 * 2416}
    assert "attn: arrays by formula" in capsys.readouterr().out
    assert main(["plan", "--seq-len", "9", "--embed-dim", "8", "--projection-dim", "8"]) == 2
    assert main(["plan", "--train"]) == 2
    assert main(["plan", "--train", "--model", str(MODELS / "digits.safetensors")]) == 2
    assert "it is a model and no training file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, message",
    [
        ({"batch": 0}, "the model.batch: expected a whole number from 1 to 32768, got 0"),
        ({"loss": None}, "the model.loss: expected a word, got null"),
        ({"layers": [1]}, "the config lacks layers"),
        ({"layers": [{"type": "attention", "name": "attn", "seq_len": 4, "embed_dim": 8,
                      "num_heads": 2, "core": "micro"}]},
         "attn.core: micro does not train; see docs/numerics.md"),
    ],
)
def test_a_training_file_is_checked(tmp_path, capsys, change, message):
    path = tmp_path / "training"
    config = train.iris_config("Q16.16", 240, 10) | change
    path.write_bytes(train.pack(config, {}))
    assert main(["plan", "--train", "--model", str(path)]) == 2
    assert capsys.readouterr().err == f"attn8: {path}: {message}\n"


# Of the kernels, a product of 32-bit fixed point: forwards, the int8 layers before those that train
# included, and backwards
DIGITS = {"xtensawin": (9.5, 8.9), "rv32imc": (10.9, 8.3)}
STEP = {"xtensawin": 3.65e6, "rv32imc": 3.68e6}  # of 10 samples, with the calls


@pytest.mark.parametrize("arch", DIGITS)
def test_a_step_of_digits_costs_what_the_documents_say(arch):
    config, tensors = training("digits", None, (0, 0, 0), "Q16.16")
    found = training_plan.cost(config, tensors, arch, "turbo")
    for counted, most in zip((found.forward_per_mac, found.backward_per_mac), DIGITS[arch],
                             strict=True):
        assert 0.98 * most <= counted <= most, found
    assert 0.97 * STEP[arch] <= found.step <= STEP[arch], found
