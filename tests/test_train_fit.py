"""attn8.train.fit: a board that learns without a host, and whose power may be cut at any time."""


import ast
import json
import textwrap

import numpy as np
import pytest

from attn8_host.boards import Board
from attn8_host.boards.virtual import VirtualBoard, open_virtual
from attn8_host.cli import main
from attn8_host.deploy import deploy, push
from attn8_host.errors import Attn8Error
from attn8_host.model import load
from attn8_host.proof.compare import verify
from attn8_host.train import tune
from attn8_host.train.fitting import fit
from attn8_host.train.session import pack
from tests.blocks import BLOCKS
from tests.conftest import Remote
from tests.test_train_tune import samples, write

INT8, TRAINING, SAMPLES = "/models/fit.safetensors", "/models/fit_train", "/models/samples"

COLLECT = """
from attn8.train.samples import Samples
kept = Samples({path!r}, {size})
for i in range(len(labels)):
    kept.append(x[i * {size} : (i + 1) * {size}], labels[i])
give(len(kept))
"""
FIT = """
from attn8 import train
from attn8.train.samples import Samples
found = train.fit({path!r}, Samples({samples!r}, {size}), {options})
give(found)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("fit") / "model.safetensors"
    write(path)
    return load(path, False), path


@pytest.fixture
def port():
    virtual = VirtualBoard()
    yield virtual.port
    virtual.stop()


@pytest.fixture(scope="module")
def large():
    """A board with room for a file system in its memory."""
    with open_virtual(heap_size="1M") as board:
        deploy(board)
        yield Remote(board)


def prepared(base, which="last:2", rate=0.02, optimizer="sgd"):
    optimizer, memory = ("sgd", "direct") if optimizer == "direct" else (optimizer, "fast")
    config, tensors, _ = tune.prepare(base, which, INT8, 4, optimizer, rate, memory)
    return config, tensors


def put(remote, base, path, config, tensors, x, labels, labelled=None):
    board = remote.board
    push(board, INT8, path.read_bytes())
    push(board, TRAINING, pack(config, tensors))
    remote("import os\ntry:\n    os.remove(path)\nexcept OSError:\n    pass", path=SAMPLES)
    fed = base.feed(x).reshape(len(x), -1)
    given = remote(COLLECT.format(path=SAMPLES, size=fed.shape[1]), x=fed.ravel(),
                   labels=(labels if labelled is None else labelled).astype(np.int32))
    assert given == len(x)
    return fed


def words_of(board, path):
    data = board.read_file(path)
    (size,) = np.frombuffer(data[:8], "<u8")
    header = json.loads(data[8 : 8 + int(size)])
    return {name: np.frombuffer(data[8 + int(size) :][slice(*entry["data_offsets"])], np.int32)
            for name, entry in header.items() if name != "__metadata__"}


@pytest.mark.parametrize("which, optimizer, options", [
    ("head", "sgd", {"epochs": 4}), ("last:2", "sgd", {"epochs": 6, "batch": 7, "seed": 9}),
    ("all", "sgd", {"epochs": 3}), ("last:2", "sgd", {"epochs": 2, "validation": 0}),
    ("last:2", "sgd", {"epochs": 12, "patience": 1}),
    ("last:2", "adam", {"epochs": 4, "batch": 7, "validation": 30}),
    ("last:2", "direct", {"epochs": 4}),  # from a file of what the first layers make
], ids=["head", "last:2", "all", "no validation", "patience", "adam", "direct"])  # fmt: skip
def test_a_board_fits_as_numpy_does(remote, base, tmp_path, which, optimizer, options):
    """The same words, losses and accuracies; and an int8 model that is right more often."""
    model, path = base
    x, labels = samples()
    if options.get("patience"):
        labels = np.random.default_rng(1).permutation(labels)
    config, tensors = prepared(model, which, optimizer=optimizer)
    fed = put(remote, model, path, config, tensors, x, labels)
    wanted = fit(config, tensors, (fed, labels), None if which == "all" else model, **options)
    said = ", ".join(f"{key}={value}" for key, value in options.items())
    best, history = remote(FIT.format(path=TRAINING, samples=SAMPLES, size=fed.shape[1],
                                      options=said))
    assert (best, history) == (wanted.best, wanted.history)
    assert best or options.get("patience")
    if options.get("patience"):
        assert len(history) == best + 1 < 12
    for name, values in words_of(remote.board, TRAINING).items():
        assert (values == wanted.words[name].ravel()).all(), name
    made = tmp_path / "made.safetensors"
    made.write_bytes(remote.board.read_file(INT8))
    after = load(made, False)
    right = [np.mean([each(v)["head"].argmax() == label for v, label in zip(fed, labels,
                                                                          strict=True)])
             for each in (model, after)]
    assert right[1] > right[0] or options.get("patience")
    with remote.board.serve() as client:
        client.load(INT8, False)
        assert verify(client, after, fed[:6], lambda: None).bit_exact
    remote.board.enter_repl()


def test_what_is_no_better_is_not_kept(remote, base):
    """A learned model learns nothing of labels at random: its files stay, byte for byte."""
    model, path = base
    x, labels = samples()
    labels = np.random.default_rng(3).permutation(labels)
    config, tensors = prepared(model, "head", 0.5)
    tensors = {name: values * 0 for name, values in tensors.items()}  # every class as likely
    fed = put(remote, model, path, config, tensors, x, labels)
    before = remote.board.read_file(INT8), remote.board.read_file(TRAINING)
    best, history = remote(FIT.format(path=TRAINING, samples=SAMPLES, size=fed.shape[1],
                                      options="patience=2"))
    assert best == 0 and len(history) == 2
    assert (remote.board.read_file(INT8), remote.board.read_file(TRAINING)) == before


def test_samples_outlive_a_cut_while_one_is_written(remote):
    """All but the last, whatever part of that came to the file; it is then written over."""
    assert remote("""
import os
from array import array
from attn8.train.samples import Samples
path = "/cut"
kept = Samples(path, 5)
for i in range(3):
    kept.append(array("b", [i, -i, 7, 8, 9]), 300 + i)
with open(path, "rb") as file:
    whole = file.read()
found = []
for size in [0, 3, 4] + list(range(4 + 2 * 11, len(whole) + 1)):
    with open(path, "wb") as file:
        file.write(whole[:size])
    kept = Samples(path, 5)
    found.append(len(kept))
    kept.append(array("b", [9, 9, 9, 9, 9]), 9)
    labels = [label for x, label in kept]
    if labels != [300, 301, 302][:found[-1]] + [9]:
        raise ValueError(labels)
with open(path, "wb") as file:
    file.write(whole[:-1] + bytes([whole[-1] ^ 1]))
found.append(len(Samples(path, 5)))
kept = Samples(path, 5)
kept.clear()
found.append(len(Samples(path, 5)))
os.remove(path)
give(found)
""") == [0] * 3 + [2] * 11 + [3, 2, 0]


CUT = """
writes = 0
left = None  # of them, until the power is cut
class Cut(Blocks):
    def writeblocks(self, *arguments):
        global writes
        writes += 1
        if left is not None and writes > left:
            raise OSError(5)
        Blocks.writeblocks(self, *arguments)
import json
device = Cut(memory({blocks}))
vfs.{kind}.mkfs(device)
from attn8 import train
from attn8.train.samples import Samples

def copy(source, target):
    with open(source, "rb") as a, open(target, "wb") as b:
        b.write(a.read())

def content(path):
    with open(path, "rb") as file:
        return file.read()

def said(data):
    # The same for headers that name things in another order
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    return json.loads(header.pop("__metadata__")["config"]), header, data[end:]

NAMES = "fit.safetensors", "fit_train"
def prepared():
    vfs.mount(vfs.{kind}(device), "/ram")
    for name in NAMES:
        copy("/models/" + name, "/ram/" + name)
    copy("/models/samples", "/ram/samples")
    return [content("/ram/" + name) for name in NAMES]

def run():
    return train.fit("/ram/fit_train", Samples("/ram/samples", {size}), epochs=1, batch=3,
                     seed=9)

old = prepared()
start = device.file.getvalue()
writes = 0
run()
new = [content("/ram/" + name) for name in NAMES]
again = [said(data) for data in new]
vfs.umount("/ram")
total = writes
seen = []
for cut in range(total):
    device.file.seek(0)
    device.file.write(start)
    vfs.mount(vfs.{kind}(device), "/ram")
    writes = 0
    left = cut
    try:
        run()
    except OSError:
        pass
    except ValueError as error:
        if ": it cannot be written: " not in str(error):
            raise
    try:
        vfs.umount("/ram")
    except OSError:
        pass
    left = None
    vfs.mount(vfs.{kind}(device), "/ram")
    seen.append(tuple(content("/ram/" + name) == new[i] for i, name in enumerate(NAMES)))
    for i, name in enumerate(NAMES):
        found = content("/ram/" + name)
        if found != old[i] and found != new[i]:
            raise ValueError("after %d of %d writes %s is neither" % (cut, total, name))
    if cut % 20 == 0 or cut == total - 1:
        run()
        if [said(content("/ram/" + name)) for name in NAMES] != again:
            raise ValueError("after %d of %d writes it does not learn again" % (cut, total))
    vfs.umount("/ram")
print(repr((old != new, total, sorted(set(seen)))))
"""


def test_a_cut_at_any_write_leaves_the_old_or_the_new_weights(large, base):
    """Of a block of a file system in memory; each of the two files is whole, the int8 model's first
    the new one, and what was cut off learns the same again."""
    model, path = base
    x, labels = samples(10)
    config, tensors = prepared(model, optimizer="adam", rate=0.005)
    config["int8"] = config["layers"][0]["model"] = "/ram/fit.safetensors"
    fed = put(large, model, path, config, tensors, x, labels)
    code = BLOCKS + CUT.format(kind="VfsLfs2", blocks=80, size=fed.shape[1])
    # Files that the cut left open are closed by the collector, in which no block can be written
    printed = large.board.execute(code).splitlines()
    learned, writes, seen = ast.literal_eval(printed[-1])
    assert learned and writes > 20
    assert seen == [(False, False), (True, False)]  # the last write makes both new


FULL = BLOCKS + """
from attn8 import train
from attn8.train.samples import Samples

def copy(source, target):
    with open(source, "rb") as a, open(target, "wb") as b:
        b.write(a.read())

def content():
    found = {}
    for name in os.listdir("/ram"):
        with open("/ram/" + name, "rb") as file:
            found[name] = file.read()
    return found

for blocks in range(16, 60):
    device = Blocks(memory(blocks))
    vfs.VfsLfs2.mkfs(device)
    vfs.mount(vfs.VfsLfs2(device), "/ram")
    try:
        for name in ("fit.safetensors", "fit_train", "samples"):
            copy("/models/" + name, "/ram/" + name)
        old = content()
        try:
            give(train.fit("/ram/fit_train", Samples("/ram/samples", size), epochs=1)[0])
            break
        except ValueError as error:
            give(str(error))
        if content() != old:
            give("%d blocks: %s" % (blocks, sorted(content())))
    except OSError as error:
        give("no room for the files: %s" % error)
    vfs.umount("/ram")
vfs.umount("/ram")
"""


@pytest.mark.parametrize("memory", ["fast", "direct"])
def test_a_full_file_system_is_named_and_stays_as_it_was(large, base, memory):
    """Of any size, from one that holds the files that there are to one where there is room."""
    model, path = base
    x, labels = samples(30)
    config, tensors, _ = tune.prepare(model, "last:2", INT8, 1, "sgd", 0.005, memory)
    config["int8"] = config["layers"][0]["model"] = "/ram/fit.safetensors"
    fed = put(large, model, path, config, tensors, x, labels)
    said = large(FULL, size=fed.shape[1])
    assert said[-1] == 1
    full = ": it cannot be written: there is no room; remove other files"
    wanted = {"/ram/fit.safetensors" + full, "/ram/fit_train.best" + full}
    if memory == "direct":
        wanted.add("/ram/fit_train.features" + full)
    assert set(said[:-1]) - {"no room for the files: 28"} == wanted


@pytest.mark.parametrize("options, change, said", [
    ("epochs=0", None, "epochs: expected 1 to 2730, got 0"),
    ("epochs=2731", None, "epochs: expected 1 to 2730, got 2731"),
    ("batch=0", None, "batch: expected 1 to 60, got 0"),
    ("patience=0", None, "patience: expected 1 to 32767, got 0"),
    ("validation=1", None, "validation: 1 leaves none to train with; give 0, or 2 at least"),
    ("batch=61", None, "batch: expected 1 to 60, got 61"),
    ("validation=40", None, "samples: expected 80 at least, one of 40 to validate with, got 60; "
     "collect more, or give validation=0"),
    ("validation=99", None, "samples: expected 198 at least, one of 99 to validate with, got 60; "
     "collect more, or give validation=0"),
    ("validation=-1", None, "validation: expected 0 to 65535, got -1"),
    ("seed=0", None, "seed: expected 1 to 4294967295, got 0"),
    ("", 3, "sample 3: label: expected 0 to 2, got 3"),
    ("", 0, "samples: all that train are of class 0; keep some of others, too"),
])  # fmt: skip
def test_bad_fits_are_refused_in_one_line(remote, base, options, change, said):
    model, path = base
    x, labels = samples()
    config, tensors = prepared(model)
    labelled = None if change is None else change * np.ones_like(labels)
    fed = put(remote, model, path, config, tensors, x, labels, labelled)
    assert remote.refused(FIT.format(path=TRAINING, samples=SAMPLES, size=fed.shape[1],
                                     options=options)) == said


@pytest.mark.parametrize("given, options, said", [
    ("samples", "batch=4", "batch: a step is one sample, as --memory direct said; leave it out"),
    ("[(x, None) for x, y in samples]", "", "sample 0: label: expected a whole number, got None"),
    ("[(x[:5], y) for x, y in samples]", "", "sample 0: expected 12 int8 values, got 5"),
])  # fmt: skip
def test_bad_direct_fits_are_refused_in_one_line(remote, base, given, options, said):
    """Where the first layers' features come first."""
    model, path = base
    x, labels = samples(20)
    config, tensors = prepared(model, optimizer="direct")
    fed = put(remote, model, path, config, tensors, x, labels)
    pairs = list(zip(fed.tolist(), labels.tolist(), strict=True))
    code = (f"samples = [(array('b', x), y) for x, y in {pairs}]\n"
            f"train.fit({TRAINING!r}, {given}, {options})")
    assert remote.refused(code, "from attn8 import train\nfrom array import array").startswith(said)


@pytest.mark.parametrize("change, said", [
    ({"more": 1}, "unknown field front.more; take it out of the config"),
    ({"model": None}, "the config lacks model"),
    ({"last": None}, "the config lacks last"),
])
def test_a_front_that_features_stand_for_is_checked(remote, base, change, said):
    model, path = base
    config, tensors = prepared(model, optimizer="direct")
    config["layers"][0] = {key: value for key, value in (config["layers"][0] | change).items()
                           if value is not None}
    fed = put(remote, model, path, config, tensors, *samples(20))
    assert remote.refused(FIT.format(path=TRAINING, samples=SAMPLES, size=fed.shape[1],
                                     options="")) == f"{TRAINING}: {said}"


@pytest.mark.parametrize("code, said", [
    ("Samples('/bad', 0)", "size: expected 1 to 4194304, got 0"),
    ("Samples('/bad', 4, 'z')", "code: expected b, h or i, got z"),
    ("Samples('/bad', 4).append(array('b', [1, 2]), 0)", "x: expected 4 int8 values, got 2"),
    ("Samples('/bad', 4).append(array('i', [1, 2, 3, 4]), 0)",
     "x: expected array('b'), got array of 'i'"),
    ("Samples('/bad', 4).append(array('b', [1, 2, 3, 4]), -1)",
     "label: expected 0 to 65535, got -1"),
    ("Samples('/bad', 5)", "/bad: it holds samples of size 4, got 5; take another file"),
    ("Samples('/bad', 4, 'h')", "/bad: it holds samples of code b, got h; take another file"),
    ("Samples('/nodir/s', 4)", "/nodir/s: it cannot be written: [Errno 2] ENOENT"),
    ("Samples(5, 4)", "path: expected str, got int"),
    ("Samples('/bad', 4).append(None, 0)", "x: expected array('b'), got NoneType"),
    ("Samples('/bad', 4).append(array('b', [1, 2]), 0, 3)", "x: expected 3 int8 values, got 2"),
    ("Samples('/bad', 4)['a']", "sample: expected int, got str"),
    ("train.fit('/bad', 5)", "samples: expected Samples, or a list of (values, label), got int"),
    ("train.fit(None, [])", "path: expected str, got NoneType"),
    ("train.fit('/bad', [], report=5)", "report: expected a function, got int"),
])  # fmt: skip
def test_bad_samples_are_refused_in_one_line(remote, code, said):
    setup = "from attn8 import train\nfrom attn8.train.samples import Samples\nSamples('/bad', 4)"
    assert remote.refused(code, setup).startswith(said)


def test_samples_of_old_files_have_either_code(remote):
    """Their fourth byte is 0; what a new file holds is told."""
    found = remote("""
from attn8.train.samples import Samples
with open("/old.samples", "wb") as file:
    file.write(b"\\x02\\0\\0\\0")
ids = Samples("/old.samples", 2, "h")
ids.append(array("h", [300, -5]), 1)
x, label = Samples("/old.samples", 2, "h")[0]
with open("/bad.samples", "wb"):
    pass
Samples("/bad.samples", 2, "h")
with open("/bad.samples", "rb") as file:
    give((list(x), label, file.read()))
""")
    assert found == ([300, -5], 1, b"\x02\0\0h")


@pytest.mark.parametrize("given, said", [
    ("[5] * 60", "sample 0: expected (values, label), got int"),
    ("[(1, 2, 3)] * 60", "sample 0: expected (values, label), got tuple"),
    ("{i + 99: 0 for i in range(60)}",
     "samples: expected Samples, or a list of (values, label), got dict"),
])
def test_samples_that_are_none_are_refused_in_one_line(remote, base, given, said):
    model, path = base
    config, tensors = prepared(model)
    put(remote, model, path, config, tensors, *samples(4))
    code = f"from attn8 import train\ntrain.fit({TRAINING!r}, {given})"
    found = remote.refused(code)
    assert found.partition(": ")[2] == said.partition(": ")[2]
    assert found.startswith(("sample ", "samples"))


REFUSED = """
import os
import sys
from attn8 import train
from attn8.train.samples import Samples
samples = Samples({samples!r}, {size})
there = []
def look(*_):
    there.append(sorted([name for name in sys.modules if name[:6] == "attn8."]))
class Cut:
    def __len__(self):
        return len(samples)
    def __getitem__(self, i):
        if i == 50:
            raise OSError(5)
        return samples[i]
def stop(epoch, *_):
    if epoch == 2:
        raise ValueError("stop")
first = train.fit({path!r}, samples, epochs=1, report=look)
files = sorted(os.listdir("/models"))
for path, given, report in (("/models/width", samples, None), ("/models/unused", samples, None),
                            ({path!r}, Cut(), None), ({path!r}, samples, stop)):
    try:
        train.fit(path, given, epochs=3, report=report)
    except (OSError, ValueError) as error:
        give(str(error))
give([name for name in os.listdir("/models") if name not in files])
last = train.fit({path!r}, samples, epochs=1, report=look)
give([name for name in there[1] if name not in there[0]])
give((first[0], last[0]))
"""


@pytest.mark.parametrize("memory", ["fast", "direct"])
def test_what_is_refused_leaves_no_trace(remote, base, memory):
    """Of a training in the same boot what comes next lacks nothing, to the end, and has no less
    memory; nor is there a file."""
    model, path = base
    config, tensors, _ = tune.prepare(model, "last:2", INT8, 4, "sgd", 0.005, memory)
    remote.board.enter_repl()
    fed = put(remote, model, path, config, tensors, *samples())
    push(remote.board, "/models/unused", pack(config, {**tensors, "more": np.zeros(3)}))
    config["layers"][-1]["in_features"] = 5
    push(remote.board, "/models/width", pack(config, tensors))
    code = REFUSED.format(path=TRAINING, samples=SAMPLES, size=fed.shape[1])
    assert remote(code) == [
        "/models/width: head: takes 5 values, the layer before gives 8",
        "/models/unused: unused tensor more; take it out of the file",
        "[Errno 5] EIO", "stop", [], [], (1, 1)]


def test_what_saturates_ends_and_leaves_the_files(remote, base):
    model, path = base
    x, labels = samples()
    config, tensors = prepared(model)
    config.pop("clip_norm")
    tensors = {name: values * 3000 for name, values in tensors.items()}
    fed = put(remote, model, path, config, tensors, x, labels)
    before = remote.board.read_file(INT8), remote.board.read_file(TRAINING)
    said = "values saturated in epoch 1: give a lower learning rate; the model is as it was"
    assert remote.refused(FIT.format(path=TRAINING, samples=SAMPLES, size=fed.shape[1],
                                     options="")) == said
    with pytest.raises(Attn8Error, match=said):
        fit(config, tensors, (fed, labels), model)
    assert (remote.board.read_file(INT8), remote.board.read_file(TRAINING)) == before


LOST = """
from attn8 import train
from attn8.train.samples import Samples
best = {path!r} + ".best"
class Losing(Samples):
    def __getitem__(self, i):
        try:
            with open(best, "rb") as file:
                data = file.read()
            with open(best, "wb") as file:
                file.write(data[:-1])
        except OSError:
            pass
        return super().__getitem__(i)
samples = Losing({samples!r}, {size})
train.fit({path!r}, samples, epochs=1)
"""


def test_learned_weights_that_are_cut_off_become_no_model(remote, base):
    """Behind the last epoch, before the int8 weights are made of them: the files stay."""
    model, path = base
    config, tensors = prepared(model, "head")
    fed = put(remote, model, path, config, tensors, *samples())
    before = remote.board.read_file(INT8), remote.board.read_file(TRAINING)
    said = remote.refused(LOST.format(path=TRAINING, samples=SAMPLES, size=fed.shape[1]))
    assert said == "head.weight: what was learned is cut off; train again"
    assert (remote.board.read_file(INT8), remote.board.read_file(TRAINING)) == before


CUT_OFF = """
from attn8 import train
from attn8.train.samples import Samples
class Cutting(Samples):
    left = {reads}
    def __getitem__(self, i):
        self.left -= 1
        if not self.left:
            with open({path!r}, "rb") as file:
                data = file.read()
            with open({path!r}, "wb") as file:
                file.write(data[:{size}])
        return super().__getitem__(i)
train.fit({path!r}, Cutting({samples!r}, {values}), epochs=1)
"""


@pytest.mark.parametrize("reads, of_header", [(1, False), (100, True)],
                         ids=["before its parameters are read", "before its header is copied"])
def test_a_training_file_that_is_cut_off_ends_it(remote, base, reads, of_header):
    """Once it is loaded: nothing is made of what is there, and no part of a file stays."""
    model, path = base
    config, tensors = prepared(model, "head")
    fed = put(remote, model, path, config, tensors, *samples())
    before = remote.board.read_file(INT8)
    size = 100 if of_header else len(remote.board.read_file(TRAINING)) - 1
    said = remote.refused(CUT_OFF.format(path=TRAINING, samples=SAMPLES, values=fed.shape[1],
                                         reads=reads, size=size))
    assert said == f"{TRAINING}: it is cut off; write it again"
    assert remote.board.read_file(INT8) == before
    assert not [name for name in remote("import os\ngive(os.listdir('/models'))")
                if ".best" in name]


def test_memory_that_is_full_is_told_in_one_line(remote, base):
    """Wherever an epoch asks for it; the files stay."""
    model, path = base
    config, tensors = prepared(model)
    fed = put(remote, model, path, config, tensors, *samples())
    before = remote.board.read_file(INT8), remote.board.read_file(TRAINING)
    code = FIT.format(path=TRAINING, samples=SAMPLES, size=fed.shape[1],
                      options="report=lambda *_: bytearray(1 << 29)")
    said = remote(f"try:\n{textwrap.indent(code, '    ')}\n"
                  "except MemoryError as error:\n    give(str(error))")
    assert said == (f"{TRAINING}: training needs more memory than is free (memory allocation "
                    f"failed, allocating {1 << 29} bytes); prepare it with fewer --layers, or "
                    "--memory direct")
    assert (remote.board.read_file(INT8), remote.board.read_file(TRAINING)) == before


def test_classes_without_a_sample_are_named(remote, base):
    model, path = base
    x, labels = samples()
    config, tensors = prepared(model, "head")
    some = labels != 1
    fed = put(remote, model, path, config, tensors, x[some], labels[some])
    printed = remote.board.execute(
        "from attn8 import train\nfrom attn8.train.samples import Samples\n"
        f"train.fit({TRAINING!r}, Samples({SAMPLES!r}, {fed.shape[1]}), epochs=1)")
    assert printed.strip() == "fit: no sample that trains is of class 1: what trains forgets it"


def test_one_class_alone_is_refused_in_numpy_too(base):
    model, _ = base
    x, labels = samples()
    fed = model.feed(x).reshape(len(x), -1)
    with pytest.raises(Attn8Error, match=r"^samples: all that train are of class 2; keep"):
        fit(*prepared(model), (fed, labels * 0 + 2), model)


def test_prepare_puts_what_a_board_fits(port, tmp_path, capsys):
    """What the command prints is run as it stands."""
    path, (x, labels) = tmp_path / "own.safetensors", samples(20)
    write(path)
    assert main(["train", str(path), "--prepare", "--layers", "last:2", "--batch", "4",
                 "--board", port]) == 0
    said = capsys.readouterr().out
    assert "attn, head will train" in said
    code = [line.strip() for line in said.splitlines() if line.startswith("  ")]
    start = next(i for i, line in enumerate(code) if line.startswith("samples.append"))
    given = list(zip(x.reshape(20, -1).tolist(), labels.tolist(), strict=True))
    code[start] = f"for values, label in {given}:\n    {code[start]}"
    code[-1] = f"print(repr({code[-1]}))"
    with Board(port) as board:
        board.enter_repl()
        best, history = ast.literal_eval(board.execute("\n".join(code)))
    assert best and history[-1][0] < history[0][0]


@pytest.mark.parametrize("words, said", [
    (["data.npz"], "data.npz: leave DATA.npz out; with --prepare the board trains on what it"),
    (["--output", "new"], "new: leave --output out; with --prepare the board trains on what it"),
    (["--layers", "last:9"], "own: --layers last:9: expected 1 to 3, the layers that have param"),
    (["--lr", "0.5", "--optimizer", "adam"], "lr: expected at most 0.031 with adam, got 0.5"),
])  # fmt: skip
def test_bad_preparations_are_refused_in_one_line(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "own")
    assert main(["train", "own", *words, "--prepare", "--board", "/dev/nosuch"]) == 2
    assert capsys.readouterr().err.startswith(f"attn8: {said}")
