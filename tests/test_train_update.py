"""A board changes a model in its file: no more memory in one piece than a layer's, and no other
byte."""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from attn8_host.deploy import push
from attn8_host.modelfile import header
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
