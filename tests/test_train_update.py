"""A board changes a model in its file: no more memory in one piece than a layer's, and no other
byte."""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from attn8_host.deploy import push
from attn8_host.modelfile import MAX_HEADER, header
from tests.compiled import compiled

PATH = "/models/changed.safetensors"
PROGRAM = compiled("""
import gc, os
from array import array
from attn8.train.update import update

calls = []

def change(config, tensors):
    calls.append(config["layers"][0]["scale"])
    config["layers"][0]["scale"] = 0.5
    config["input"]["scale"] = 0.25
    if len(calls) < 2:
        return None
    assert tensors["b.weight"] == (96, 160, 2), tensors["b.weight"]
    return {"b.weight": array("b", range(64))}

held = [None] * 2048
gc.collect()
try:
    for i in range(2048):
        held[i] = bytearray(2048)  # until the heap is full
except MemoryError:
    pass
for i in range(0, 2048, 2):
    held[i] = None
gc.collect()
update(PATH, change)
del held
assert len(calls) == 2 and calls[0] == calls[1], calls  # as it was, the second time
print(os.listdir("/models"))
""")


def model(tmp_path):
    """A file whose header is larger than each piece of the heap that is free."""
    tensors = {"a.weight": np.arange(48, dtype="<i2").reshape(6, 8),
               "b.weight": np.zeros((4, 16), np.int8)}
    tensors |= {f"é\"\\{i}.weight": np.full((2, 3, 2), i, np.int8) for i in range(50)}
    layers = [{"type": "dense", "name": f"layer é\"\\\n{i}", "scale": 1.5, "shape": [i, 2, 3],
               "bias": None, "more": True} for i in range(50)]
    config = {"format": "attn8", "version": 1, "name": "a \"b\" \\ é", "input": {"shape": [2]},
              "layers": layers, "arena": 7}
    path = tmp_path / "model.safetensors"
    save_file(tensors, path, {"config": json.dumps(config, ensure_ascii=False), "other": "{\"é\"}"})
    return path, config, tensors


def written(path, form):
    """Another spelling of the file's header: how others write JSON."""
    data = path.read_bytes()
    start, _ = header(path)
    found = json.loads(data[8:start])
    if form == "metadata last":
        found["__metadata__"] = found.pop("__metadata__")
    if form == "spaces":
        text = "\n " + json.dumps(found, ensure_ascii=False, separators=(" ,\n", " : "))
    else:
        text = json.dumps(found, ensure_ascii=form == "escapes", separators=(",", ":"))
    encoded = text.encode()
    encoded += b" " * (-len(encoded) % 8)
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data[start:])


@pytest.mark.parametrize("form", ["safetensors", "spaces", "escapes", "metadata last"])
def test_a_model_is_changed_in_a_heap_of_small_pieces(board, tmp_path, form):
    path, config, tensors = model(tmp_path)
    if form != "safetensors":
        written(path, form)
    assert header(path)[0] > 8192
    lengths = []
    for _ in range(3):
        push(board, PATH, path.read_bytes())
        board.enter_repl()
        assert ".new" not in board.execute(f"PATH = {PATH!r}\n{PROGRAM}")
        path.write_bytes(board.read_file(PATH))
        lengths.append(len(path.read_bytes()))
    assert lengths[1] == lengths[2]  # it does not grow
    board.execute(f"import os\nos.remove({PATH!r})")
    found = load_file(path)
    changed = tensors | {"b.weight": np.arange(64, dtype=np.int8).reshape(4, 16)}
    assert found.keys() == changed.keys()
    for name, values in changed.items():
        assert np.array_equal(found[name], values) and found[name].dtype == values.dtype, name
    metadata = json.loads(path.read_bytes()[8:header(path)[0]])["__metadata__"]
    config["layers"][0]["scale"], config["input"]["scale"] = 0.5, 0.25
    assert json.loads(metadata["config"]) == config and metadata["other"] == "{\"é\"}"


# Each of these has to leave the old file, alone
REFUSED = compiled("""
import os, vfs
from array import array
from attn8.train.update import update

class Part:
    # A file that takes no more bytes than there is room for
    def __init__(self, file):
        self.file, self.tell, self.seek = file, file.tell, file.seek
    def __enter__(self):
        return self
    def __exit__(self, *_):
        self.file.close()
    def write(self, data):
        global room
        data = data.encode() if isinstance(data, str) else bytes(data)
        done = self.file.write(data[:room])
        room -= done
        return done

class Narrow:
    # /models with so much room
    def mount(self, *_):
        pass
    def umount(self):
        pass
    def open(self, path, mode):
        file = open("/models" + path, mode)
        return file if mode == "rb" else Part(file)
    def remove(self, path):
        os.remove("/models" + path)
    def rename(self, path, other):
        os.rename("/models" + path, "/models" + other)

def content():
    with open(PATH, "rb") as file:
        return file.read()

def change(config, tensors):
    config["input"]["scale"] = 0.25
    return {"b.weight": array("b", range(64))}

def tried(path, change):
    try:
        update(path, change)
    except Exception as error:
        if content() != old:
            raise ValueError("another file is there")
        if [name for name in os.listdir("/models") if name.endswith(".new")]:
            raise ValueError("a part is left")
        return str(error)
    return "written"

old = content()
""")


def tries(board, path, program):
    """What a program on the board prints, which has the file at `path`, line by line."""
    push(board, PATH, path.read_bytes())
    board.enter_repl()
    found = board.execute(f"PATH = {PATH!r}\n{REFUSED}\n{compiled(program)}").splitlines()
    board.execute(f"import os\nos.remove({PATH!r})")
    return found


def test_a_file_that_is_cut_off_stays_as_it_is(board, tmp_path):
    """Wherever it ends, while it is read or before."""
    path = model(tmp_path)[0]
    ends = [header(path)[0] // 2, *range(header(path)[0], len(path.read_bytes()), 80)]
    assert tries(board, path, f"""
whole = old
for end in {ends}:
    for early in (True, False):
        with open(PATH, "wb") as file:
            file.write(whole[:end] if early else whole)
        old = whole[:end]
        def cut(config, tensors):
            with open(PATH, "wb") as file:
                file.write(old)
            return change(config, tensors)
        print(tried(PATH, change if early else cut))
""") == ["it is cut off"] * (2 * len(ends))


def test_no_room_leaves_the_old_file(board, tmp_path):
    """Where a file system takes less than it is given, and says so or nothing."""
    path = model(tmp_path)[0]
    said = tries(board, path, """
vfs.mount(Narrow(), "/narrow")
room = 1 << 20
print(tried("/narrow/changed.safetensors", change))
size = (1 << 20) - room
with open(PATH, "wb") as file:
    file.write(old)
for room in list(range(0, size, 301)) + [size - 1]:
    print(tried("/narrow/changed.safetensors", change))
vfs.umount("/narrow")
""")
    assert said[0] == "written" and len(said) > 30 and set(said[1:]) == {"28"}


def test_an_error_while_it_is_written_leaves_no_part(board, tmp_path):
    path = model(tmp_path)[0]
    assert tries(board, path, """
print(tried(PATH, lambda config, tensors: {"b.weight": None}))
""") == ["object with buffer protocol required"]


@pytest.mark.parametrize("metadata", ["", '"__metadata__":{"con":"{"},'])
def test_a_file_without_a_config_is_refused(board, tmp_path, metadata):
    path = tmp_path / "model.safetensors"
    text = "{" + metadata + '"config":{"dtype":"I8","shape":[],"data_offsets":[0,1]}}'
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + b"1")
    assert tries(board, path, "print(tried(PATH, change))") == ["it has no config"]


def test_a_header_is_no_longer_than_what_is_read(roomy, tmp_path):
    """However short it was written; else the file stays. The board has room for the test's own copy
    of it as well."""
    path, config, tensors = model(tmp_path)
    config["input"]["scale"] = 0.25
    said = []
    for length in (MAX_HEADER, MAX_HEADER + 8):
        for layer in config["layers"] * 2:  # to the byte
            save_file(tensors, path, {"config": json.dumps(
                config, ensure_ascii=False, separators=(",", ":"))})
            written(path, "short")
            layer["name"] += "x" * min(400, 8 + length - header(path)[0])
        assert header(path)[0] == 8 + length
        said += tries(roomy.board, path, "print(tried(PATH, change))")
    assert said == ["written", f"its header has {MAX_HEADER + 8} bytes now, and {MAX_HEADER} are "
                    "read"]
