"""attn8.train.fit of models that give each token values of its own: labels of tokens, and texts."""

import ast

import numpy as np
import pytest

from attn8_host import layers, modelfile
from attn8_host.boards import Board
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.cli import main
from attn8_host.deploy import push
from attn8_host.errors import Attn8Error
from attn8_host.model import Model, load
from attn8_host.quantize.model import quantize_model
from attn8_host.train import tune
from attn8_host.train.fitting import fit
from attn8_host.train.session import pack
from tests.test_train_fit import INT8, TRAINING, words_of
from tests.test_train_text import counting, llama

TOKENS, FEATURES, CLASSES, COUNT = 5, 3, 3, 24
PATH = "/models/states.samples"


@pytest.fixture
def port():
    virtual = VirtualBoard(heap_size="4M")
    yield virtual.port
    virtual.stop()


def states(lengths):
    """A float model that says of each token's direction which it is."""
    rng = np.random.default_rng(2)
    entries = [
        {"type": "dense", "name": "embed", "rows": TOKENS, "in_features": FEATURES,
         "out_features": 8},
        {"type": "relu", "name": "relu"},
        {"type": "attention", "name": "attn", "seq_len": TOKENS, "embed_dim": 8, "num_heads": 2,
         "core": "exact", "causal": False, **({"lengths": True} if lengths else {})},
        {"type": "dense", "name": "head", "rows": TOKENS, "in_features": 8,
         "out_features": CLASSES, "output": "int32"},
    ]
    tensors = {f"{entry['name']}.{part}": rng.normal(0, tensor.shape[-1]**-0.5, tensor.shape)
               for entry in entries
               for part, tensor in layers.get(entry["type"]).float_tensors(entry).items()
               if tensor.needed}
    told = {"lengths": True} if lengths else {}
    return {"format": "attn8", "version": 1, "name": "states",
            "input": {"shape": [TOKENS, FEATURES], **told}, "layers": entries}, tensors


def windows():
    """Inputs, a label of each token, some of which have none, and lengths."""
    rng = np.random.default_rng(8)
    labels = rng.integers(0, CLASSES, (COUNT, TOKENS))
    x = rng.normal(0, 4, (CLASSES, FEATURES))[labels] + rng.normal(0, 1, (COUNT, TOKENS, FEATURES))
    labels[:, 1:][rng.random((COUNT, TOKENS - 1)) < 0.2] = -1
    return x, labels, rng.integers(2, TOKENS + 1, COUNT)


def of_states(lengths):
    """The int8 model, inputs as a board takes them, and labels."""
    x, labels, told = windows()
    told = told.tolist() if lengths else [None] * COUNT
    base = Model(*quantize_model(*states(lengths), x, told if lengths else None), False)
    return base, tune.rows(base.feed(x), told, base).astype(np.int8), labels


def of_text(tied):
    """The same of a language model, whose labels are the next ids."""
    base = Model(*quantize_model(*llama(tied), counting(COUNT)), False)
    return base, counting(COUNT).astype(np.int16), None


PUT = """
import os
from attn8 import train
from attn8.train.samples import Samples
try:
    os.remove(path)
except OSError:
    pass
kept = Samples(path, size, typecode, labels)
for i in range(len(x) // size):
    one = x[i * size : (i + 1) * size]
    if labels:
        kept.append(one, list(y[i * labels : (i + 1) * labels]))
    else:
        kept.append(one)
"""
FIT = """
give(train.fit(training, Samples(path, size, typecode, labels), epochs=3))
"""
PAIRS = """
def copied(pair):
    return array(typecode, pair[0]), pair[1] and list(pair[1])

give(train.fit(training, [copied(pair) for pair in kept], epochs=3))
"""


def put(remote, base, x, labels, which, memory, last):
    """Puts model, training file and samples there, and runs `last` -> config, tensors, what it
    gave."""
    config, tensors, _ = tune.prepare(base, which, INT8, 4, "sgd", 0.02, memory)
    push(remote.board, INT8, modelfile.pack(base.config, base.tensors))
    push(remote.board, TRAINING, pack(config, tensors))
    given = np.zeros(0, np.int16) if labels is None else labels.ravel().astype(np.int16)
    return config, tensors, remote(
        PUT + last, path=PATH, training=TRAINING, x=x.ravel(), y=given, size=x.shape[1],
        typecode=x.dtype.char, labels=0 if labels is None else labels.shape[1])


@pytest.mark.parametrize("made, which, memory, last", [
    (lambda: of_states(False), "head", "fast", FIT),
    (lambda: of_states(False), "all", "fast", PAIRS),
    (lambda: of_states(True), "last:2", "fast", FIT),
    (lambda: of_states(True), "last:2", "direct", FIT),  # of what the first layers make
    (lambda: of_text(True), "all", "recompute", PAIRS),
    (lambda: of_text(False), "last:8", "plain", FIT),
    (lambda: of_text(False), "last:8", "direct", PAIRS),
], ids=["head", "pairs", "lengths", "lengths, direct", "text, pairs", "text", "text, direct"])
def test_a_board_fits_labels_of_tokens_as_numpy_does(roomy, tmp_path, made, which, memory, last):
    """The same words, losses and accuracies; and the int8 model learns."""
    base, x, labels = made()
    config, tensors, found = put(roomy, base, x, labels, which, memory, last)
    wanted = fit(config, tensors, (x, labels), None if which == "all" else base, epochs=3)
    assert found == (wanted.best, wanted.history) and wanted.best
    for name, values in words_of(roomy.board, TRAINING).items():
        assert (values == wanted.words[name].ravel()).all(), name
    assert wanted.history[-1][0] < wanted.history[0][0]
    after = tmp_path / "after"
    after.write_bytes(roomy.board.read_file(INT8))
    assert any((values != base.tensors[name]).any() for name, values in load(after).tensors.items())


IMPORTED = """
import sys
found = []
def report(*_):
    found[:] = [name for name in sys.modules if name[:13] == "attn8.train.t"]
train.fit(training, Samples(path, size, typecode, labels), epochs=1, report=report)
give(found)
"""


@pytest.mark.parametrize("memory", ["fast", "direct"])
def test_what_makes_labels_of_tokens_brings_no_second_loss_and_trainer(roomy, memory):
    """Which are forgotten when the model is made; they took 15 kB of the virtual board's heap."""
    roomy.board.enter_repl()
    assert put(roomy, *of_states(True), "last:2", memory, IMPORTED)[-1] == [
        "attn8.train.token_labels"]


@pytest.mark.parametrize("code, said", [
    ("kept.append(x, [0, 1])", "label: expected a list of 3, one a token, got [0, 1]"),
    ("kept.append(x, 1)", "label: expected a list of 3, one a token, got 1"),
    ("kept.append(x)", "label: expected a list of 3, one a token, got None"),
    ("kept.append(x, [0, 1, 2.5])", "label: expected a whole number, got float"),
    ("kept.append(x, [0, 1, 40000])", "label: expected -32768 to 32767, got 40000"),
    ("Samples('/kept', 4)", "/kept: it holds samples of labels 3, got 1; take another file"),
    ("Samples('/kept', 4, 'b', 2)", "/kept: it holds samples of labels 3, got 2; take another "
     "file"),
    ("Samples('/one', 4, labels=0)", "/one: it holds samples of labels 1, got 0; take another "
     "file"),
    ("Samples('/text', 4, labels=0).append(x, 1)", "label: expected none, as labels=0 said, got 1"),
    ("Samples('/never', 4, 'b', -1)", "labels: expected 0 to 32767, got -1"),
])
def test_labels_of_tokens_that_do_not_fit_are_refused_in_one_line(roomy, code, said):
    assert roomy.refused(code, """
import os
from attn8.train.samples import Samples
for name in ("kept", "one", "text"):
    try:
        os.remove("/" + name)
    except OSError:
        pass
x = array("b", [1, 2, 3, 4])
kept = Samples("/kept", 4, labels=3)
kept.append(x, (0, -1, 2))
Samples("/one", 4)
""") == said


def test_samples_with_labels_of_tokens_outlive_a_cut_while_one_is_written(roomy):
    """All but the last, whatever part of that came to the file; of its first bytes as well."""
    assert roomy("""
import os
from attn8.train.samples import Samples
found = []
for labels in (3, 0):
    kept = Samples("/cut", 2, labels=labels)
    one = (array("b", [5, -5]), [300, -1, 2] if labels else None)
    for i in range(3):
        kept.append(*one)
    with open("/cut", "rb") as file:
        whole = file.read()
    step = 2 + 2 * labels + 4
    for size in list(range(0, 6)) + list(range(6 + 2 * step, len(whole) + 1)):
        with open("/cut", "wb") as file:
            file.write(whole[:size])
        kept = Samples("/cut", 2, labels=labels)
        was = len(kept)
        kept.append(*one)
        again = Samples("/cut", 2, labels=labels)
        if [(list(x), y and list(y)) for x, y in again] != [(list(one[0]), one[1])] * (was + 1):
            raise ValueError(size)
        found.append(was)
    os.remove("/cut")
give(found)
""") == [0] * 6 + [2] * 12 + [3] + [0] * 6 + [2] * 6 + [3]


@pytest.mark.parametrize("made, last, said", [
    (lambda: of_states(False), "[(x, [7] * 5) for x, y in kept]",
     "label: expected 0 to 2, got 7"),
    (lambda: of_states(False), "[(x, [-1] * 5) for x, y in kept]",
     "no token of it has a label"),
    (lambda: of_states(False), "[(x, [2, 2, -1, 2, 2]) for x, y in kept]",
     "samples: all that train are of class 2; keep some of others, too"),
    (lambda: of_states(False), "[(x, 2) for x, y in kept]",
     "label: expected a list of 5, one a token, got 2"),
    (lambda: of_states(False), "[(x, None) for x, y in kept]",
     "label: expected a list of 5, one a token, got None"),
    (lambda: of_text(True), "[(x, 3) for x, y in kept]",
     "label: expected a list of 6, one a token, got 3"),
])
def test_bad_labels_of_tokens_are_refused_by_what_trains(roomy, made, last, said):
    base, x, labels = made()
    with pytest.raises(Attn8Error) as found:
        put(roomy, base, x, labels, "all", "fast", f"train.fit(training, {last})")
    of = "" if said.startswith("samples") else "sample 8: "  # the first one of their order
    assert str(found.value) == f"the board says: ValueError: {of}{said}"


def test_a_class_that_no_token_is_of_is_named(roomy):
    base, x, labels = of_states(False)
    labels = np.minimum(labels, 1)
    put(roomy, base, x, labels, "head", "fast", "")
    printed = roomy.board.execute(
        "from attn8 import train\nfrom attn8.train.samples import Samples\n"
        f"train.fit({TRAINING!r}, Samples({PATH!r}, {x.shape[1]}, labels=5), epochs=1)")
    assert printed.strip() == "fit: no sample that trains is of class 2: what trains forgets it"


@pytest.mark.parametrize("model, each, values", [
    (lambda: of_states(True)[0],
     "values, labels, length",
     lambda: [(x.ravel().tolist(), y.tolist(), int(n))
              for x, y, n in zip(*windows(), strict=True)]),
    (lambda: of_text(True)[0], "ids",
     lambda: [np.int16(ids).tobytes() for ids in counting(COUNT)]),
], ids=["states", "text"])
def test_prepare_says_how_labels_of_tokens_are_kept(port, tmp_path, capsys, model, each, values):
    """What the command prints is run as it stands."""
    path = tmp_path / "own.safetensors"
    modelfile.write(path, (base := model()).config, base.tensors)
    assert main(["train", str(path), "--prepare", "--layers", "all", "--batch", "4",
                 "--board", port]) == 0
    said = capsys.readouterr().out
    code = [line.strip() for line in said.splitlines() if line.startswith("  ")]
    start = next(i for i, line in enumerate(code) if line.startswith("samples.append"))
    code[start] = code[start].replace("ids", "array('h', ids)")
    code[start] = f"from array import array\nfor {each} in {values()}:\n    {code[start]}"
    code[-1] = f"print(repr({code[-1]}))"
    with Board(port) as board:
        board.enter_repl()
        best, history = ast.literal_eval(board.execute("\n".join(code)).splitlines()[-1])
    assert best and history[-1][0] < history[0][0]
