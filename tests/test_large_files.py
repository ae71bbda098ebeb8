"""Files larger than the memory: a layer at a time is read, and nothing else is kept of it."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from attn8_host import modelfile

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits its memory")
WIDTH, LAYERS = 2048, 16  # 16 MiB of float32 each, 256 in all
SIZE = 4 * WIDTH * WIDTH
ALLOWED = 160 << 20  # bytes beside what is mapped, once all is imported

# Runs attn8 where no more memory than ALLOWED can be had
LIMITED = """
import resource, sys
import numpy, onnx.reference
from attn8_host.cli import main
from attn8_host.importers import onnx
from attn8_host.quantize import file
numpy.ones((512, 512)) @ numpy.ones((512, 512))  # starts its threads
for line in open("/proc/self/status"):
    if line.startswith("VmData:"):
        used = int(line.split()[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (used + int(sys.argv[1]),) * 2)
sys.exit(main(sys.argv[2:]))
"""


def limited(*arguments, allowed=ALLOWED):
    return subprocess.run([sys.executable, "-c", LIMITED, str(allowed), *map(str, arguments)],
                          capture_output=True, text=True)


def write_weights(path, start=0):
    """LAYERS matrices with a diagonal from `start` on, in a file with holes."""
    with path.open("r+b") as file:
        file.truncate(start + LAYERS * SIZE)
    for i in range(LAYERS):
        matrix = np.memmap(path, np.float32, "r+", start + i * SIZE, (WIDTH, WIDTH))
        np.fill_diagonal(matrix, 1 + i / 8)
        matrix.flush()


@pytest.fixture(scope="module")
def float_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "float.safetensors"
    config = {"format": "attn8", "version": 1, "name": "large",
              "input": {"shape": [WIDTH], "scale": 1 / 32},  # of each value takes a longer header
              "layers": [{"type": "dense", "name": f"d{i}", "in_features": WIDTH, "bias": False,
                          "out_features": WIDTH} for i in range(LAYERS)]}
    header = {"__metadata__": {"config": json.dumps(config)}} | {
        f"d{i}.weight": {"dtype": "F32", "shape": [WIDTH, WIDTH],
                         "data_offsets": [i * SIZE, (i + 1) * SIZE]} for i in range(LAYERS)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    write_weights(path, path.stat().st_size)
    np.save(path.parent / "x.npy", np.random.default_rng(0).normal(size=(2, WIDTH)))
    return path


def test_quantize_holds_a_layer_at_a_time(float_file, tmp_path):
    target = tmp_path / "int8.safetensors"
    arguments = ["quantize", float_file, "--calibration", float_file.parent / "x.npy", "--output",
                 target, "--calibrate", "absmax"]
    done = limited(*arguments)
    assert done.returncode == 0, done.stderr
    config, tensors = modelfile.read(target)
    assert len(config["layers"]) == LAYERS
    assert (np.diag(tensors["d15.weight"]) == 127).all()


def test_import_holds_a_layer_at_a_time(tmp_path):
    weights = [TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[WIDTH, WIDTH],
                           data_location=TensorProto.EXTERNAL) for i in range(LAYERS)]
    for i, each in enumerate(weights):
        for key, value in (("location", "w.bin"), ("offset", i * SIZE), ("length", SIZE)):
            each.external_data.add(key=key, value=str(value))
    names = ["x", *(f"y{i}" for i in range(LAYERS))]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(LAYERS)],
        "large", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, None)], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]),
              tmp_path / "m.onnx")
    (tmp_path / "w.bin").touch()
    write_weights(tmp_path / "w.bin")
    done = limited("import", tmp_path / "m.onnx", "--output", tmp_path / "m.safetensors")
    assert done.returncode == 0, done.stderr
    _, tensors = modelfile.read(tmp_path / "m.safetensors")
    assert len(tensors) == LAYERS and (np.diag(tensors["w15.weight"]) == 1 + 15 / 8).all()
