"""`attn8 plan` against what the virtual board reports."""

import json

import numpy as np
import pytest

from attn8_host import cores, from_torch, modelfile
from attn8_host.boards.virtual import open_virtual
from attn8_host.cli import main
from attn8_host.deploy import deploy, push
from attn8_host.paths import MODELS
from attn8_host.plan.inference import layer_plan, one_layer, plan
from attn8_host.quantize.model import quantize_model
from tests.compiled import compiled

DIGITS = MODELS / "digits.safetensors"
PATH = "/models/plan.safetensors"
# core, its options
CASES: list[tuple[str, dict]] = [(core, {}) for core in cores.all_cores()] + [
    ("exact", {"precise": True}),
    ("exact", {"block_rows": 16}),
    ("linear", {"phi": "elu+1"}),
    ("sliding", {"window": 5}),
    ("flash", {"block_size": 5}),
    ("performer", {"num_features": 7}),
    ("local_global", {"window": 2, "global_indices": [0, 3]}),
    ("sparse", {"mask": ["random", 0.4, 3]}),
]

SHAPE = 33, 32, 4  # seq_len, embed_dim, num_heads

# Its names are the package's: one more may begin a new pool of names, of 7 kB.
# What a server and its model take, and the most that is held meanwhile: whenever an array or a view
# is made, or a module forgotten, what is there
MEASURE = """
import gc, sys
import array as values
serve = None  # as a session has it
gc.collect()
start = gc.mem_alloc()
from attn8.link.server import Server
most = 0
def take(x):
    global most
    if len(x):
        gc.collect()
        most = max(most, gc.mem_alloc() - start)
    return x
class Array:
    def array(self, code, x=()):
        return take(values.array(code, x))
def room(n=100):
    if n:  # over what the stack held: a forgotten word there would keep a whole arena
        return room(n - 1)
    gc.collect()
    return gc.mem_alloc() - start
model = Server()
from attn8 import memory
Server = memory.forget
model._frames.send, model._frames.sequence = lambda *_: None, 0
from attn8.kernels import objects
view = objects.view
objects.view = lambda x, code, start, n: take(view(x, code, start, n))
sys.modules["array"] = Array()
memory.forget = lambda x: Server(take(x))
model._load(b"\\0" + {path!r})
sys.modules["array"] = values
objects.view = view
memory.forget = Server
print((room(), most))
"""


@pytest.fixture(scope="module")
def large_board():
    with open_virtual(heap_size="2M") as board:
        deploy(board)
        yield board


def check(board, config, tensors):
    """Compares a plan, in the virtual board's words, with what that board says."""
    planned = plan(config, tensors, backend="viper", word=8, predicted=lambda: (0, 0))
    board.enter_repl()
    push(board, PATH, modelfile.pack(config, tensors))
    loaded, peak = board.evaluate_tuple(compiled(MEASURE.format(path=PATH)))
    assert planned.ram + planned.server + planned.package == pytest.approx(loaded, rel=0.05)
    assert planned.peak_heap == pytest.approx(max(loaded, peak), rel=0.05)
    assert sum(planned.buffers.values()) < planned.ram <= planned.peak_heap
    return planned


@pytest.mark.parametrize(("core", "options"), CASES)
def test_ram_is_what_the_board_reports(large_board, core, options):
    check(large_board, *one_layer(core, *SHAPE, options=options))


@pytest.mark.parametrize("backend", ["viper", "turbo"])
@pytest.mark.parametrize(("core", "options"), CASES)
def test_what_a_layer_requires_is_what_it_makes(core, options, backend):
    config, tensors = one_layer(core, *SHAPE, options=options)
    del config["arena"]  # each buffer is the layer's own
    planned = plan(config, tensors, backend=backend, predicted=lambda: (0, 0))
    made = {name.removeprefix("attn."): size for name, size in planned.buffers.items()
            if name.startswith("attn.")}
    kinds = ("weight", "bias", "mult", "shift", "constants", "ratios", "join", "table", "row",
             "mask.bits")
    working = sum(size for name, size in made.items() if not name.endswith(kinds))
    # Only rows and single words are left out, and what a mask decides
    assert planned.required["attn"] == pytest.approx(working, rel=0.5 if core == "sparse" else 0.05)


def test_the_package_s_own_heap():
    """With the server, in names that need no pool of 320 (docs/architecture.md)."""
    for arch, most in (("xtensawin", 20_480), ("rv32imc", 20_480)):
        planned = plan(*modelfile.read(DIGITS), arch, predicted=lambda: (0, 0))
        assert planned.package <= most


def test_a_whole_model(large_board):
    planned = check(large_board, *modelfile.read(DIGITS))
    projections, heads = 4 * 8 * 16 * 16, 2 * 8 * 8 * 16
    assert planned.macs == 64 * 128 + projections + heads + 16 * 10


# seq_len, embed_dim, hidden, layers, bytes of the arena and of peak heap on a chip, with weights in
# memory and in the file
ENCODERS = [(64, 32, 64, 1, 13824, 65_300, 60_300), (64, 32, 64, 2, 13824, 81_300, 74_400),
            (128, 32, 64, 2, 27392, 94_900, 81_500), (64, 64, 128, 1, 25600, 103_900, 80_100)]


@pytest.mark.parametrize(("n", "d", "hidden", "depth", "shared", "most", "streamed"), ENCODERS)
def test_transformer_encoders(large_board, n, d, hidden, depth, shared, most, streamed):
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(d, 4, hidden, 0, "gelu", norm_first=True,
                                               batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
            self.head = nn.Linear(d, 4)

        def forward(self, x):
            return self.head(self.encoder(x).mean(1))

    torch.manual_seed(0)
    made = from_torch(Net().eval(), torch.zeros(1, n, d))
    inputs = np.random.default_rng(0).normal(size=(2, n, d)).astype(np.float32)
    config, tensors = quantize_model(*made, inputs)
    planned = check(large_board, config, tensors)
    # Two layers take the memory of one: it is attention's
    assert planned.buffers["arena"] == config["arena"] == shared
    for arch in ("xtensawin", "rv32imc"):
        on_chip = plan(config, tensors, arch, predicted=lambda: (0, 0))
        assert on_chip.peak_heap <= most
        assert on_chip.streamed_peak <= streamed
        assert sum(on_chip.sharing.values()) > config["arena"]


def test_it_says_what_fits(tmp_path, capsys):
    path = tmp_path / "plan.json"
    command = ["plan", "--seq-len", "16", "--embed-dim", "32", "--heads", "4", "--json", str(path)]
    assert main(command) == 0
    small = json.loads(path.read_text())
    assert all(small["fits"].values()) and small["instructions"] > 100_000
    assert small["peak_heap"] >= small["ram"] + small["server"] + small["package"]
    said = capsys.readouterr().out
    assert "Predicted" in said and max(map(len, said.splitlines())) <= 80
    command[2], command[4] = "170", "192"
    assert main(command) == 1
    large = json.loads(path.read_text())
    assert not any(large["fits"].values()) and large["instructions"] is None


def test_a_model_file_and_its_instructions(tmp_path):
    path = tmp_path / "plan.json"
    counts = {}
    for backend in ("viper", "turbo"):
        command = ["plan", "--model", str(DIGITS), "--isa", "rv32imc", "--backend", backend]
        assert main([*command, "--json", str(path)]) == 0
        made = json.loads(path.read_text())
        counts[backend] = made["instructions"]
        assert made["buffers"]["embed.weight"] == 128 * 64
    assert counts["turbo"] < counts["viper"]


@pytest.mark.parametrize(("core", "options"), [("exact", {}), ("sliding", {"window": 8})])
def test_many_tokens_are_continued_from_fewer(core, options):
    settings = {"options": options, "arch": "rv32imc", "backend": "turbo"}
    counted = plan(*one_layer(core, 180, 16, 1, options=options), "rv32imc").instructions
    assert layer_plan(core, 180, 16, 1, **settings).instructions == pytest.approx(counted, rel=0.02)


@pytest.mark.parametrize(("arguments", "said"), [
    (["--seq-len", "16"], "Give --model FILE, or --seq-len, --embed-dim and --heads"),
    (["--seq-len", "16", "--embed-dim", "10", "--heads", "3"], "a multiple of 3 heads, got 10"),
    (["--seq-len", "16", "--embed-dim", "12", "--heads", "3", "--core", "best"],
     "there is no core best"),
    (["--seq-len", "600", "--embed-dim", "8", "--heads", "1"], "expected 1 to 516, got 600"),
    (["--seq-len", "16", "--embed-dim", "12", "--heads", "3", "--option", "win=3"],
     "exact.options: unknown field win"),
    (["--model", "nosuch.safetensors"], "no such file"),
])  # fmt: skip
def test_what_is_refused_is_one_line(arguments, said, capsys):
    assert main(["plan", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1


REFUSED = """
import gc
from array import array
from attn8 import MultiHeadAttention
tensors = {{}}
for part in ("q", "k", "v", "out"):
    tensors["attn." + part + ".weight"] = array("b", bytes(64 * 64))
    tensors["attn." + part + ".bias"] = array("i", bytes(256))
    tensors["attn." + part + ".mult"] = array("h", [20000] * 64)
    tensors["attn." + part + ".shift"] = array("b", [25] * 64)
def make(seq_len):
    try:
        return MultiHeadAttention(seq_len, 64, 4, tensors, {constants!r}, core="flash")
    except MemoryError as error:
        print(error)
found = [0, 0, 0]
for i in range(3):
    make({seq_len})
    gc.collect()
    found[i] = gc.mem_alloc()
print(found[2] - found[1])
print(gc.mem_free())
make(8)(array("b", bytes(8 * 64)))
"""


def test_what_cannot_fit_is_refused_with_the_same_number(board):
    config, tensors = one_layer("flash", 512, 64, 4)
    del config["arena"]  # as one that is made at the REPL
    planned = plan(config, tensors, backend="viper", word=8, predicted=lambda: (0, 0))
    assert not any(planned.fits.values())
    constants = config["layers"][0]["constants"]
    board.enter_repl()
    said = board.execute(REFUSED.format(constants=constants, seq_len=512)).splitlines()
    needed = f"attn needs {planned.required['attn']} bytes of memory and "
    assert all(line.startswith(needed) and "fewer tokens" in line for line in said[:3])
    growth, free = map(int, said[3:])
    assert growth == 0 and abs(free - int(said[2].split(" are free")[0].split()[-1])) < 3000


def test_a_model_that_cannot_fit_is_one_line(tmp_path, capsys):
    path = tmp_path / "large.safetensors"
    modelfile.write(path, *one_layer("flash", 512, 64, 4))
    inputs = tmp_path / "inputs.npy"
    np.save(inputs, np.zeros((1, 512 * 64), np.int8))
    for command in (["deploy", "--model", str(path)], ["run", str(path), str(inputs)]):
        assert main([*command, "--board", "virtual"]) == 2
        error = capsys.readouterr().err
        assert " needs " in error and len(error.splitlines()) == 1, error


BUDGET = 104_000  # bytes of heap that attention of 64 tokens of 64 values may take


@pytest.mark.parametrize("num_heads", [2, 4])
@pytest.mark.parametrize("arch", ["xtensawin", "rv32imc"])
@pytest.mark.parametrize("core", cores.all_cores())
def test_a_layer_of_64_tokens_fits(core, arch, num_heads):
    planned = plan(*one_layer(core, 64, 64, num_heads), arch, predicted=lambda: (0, 0))
    assert planned.peak_heap <= BUDGET
