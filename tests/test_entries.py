"""A core and a layer type come with files of their own: no existing source file changes.

In a copy of the project, with a demonstration of each put in, one model with both is quantized,
planned, run on a board and proven, and `attn8 verify` finds them.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from attn8_host.paths import DEVICE

ROOT = DEVICE.parent
# By tools/device_files.py
GENERATED = {"package.json", "device/attn8/lines.py", "device/attn8/names.py"}

FILES = {
    "device/attn8/cores/uniform.py": '''
from .. import checks
from ..kernels import cache, pointwise


class Uniform:
    # Every token gets a 64th of the sum of all values

    constants = ("mult", "shift")
    options = ()
    tensors = ()

    def __init__(self, seq_len, head_dim, mult, shift, causal=False, need_weights=False,
                 buffers=None):
        self.seq_len = seq_len
        self.head_dim = head_dim
        self.mult = mult
        self.shift = shift
        self.buffers = None
        self.outputs = []

    @staticmethod
    def room(seq_len, head_dim, **constants):
        return 0, 0

    def __call__(self, q, k, v, out):
        n, d = self.seq_len, self.head_dim
        checks.values("v", v, n * d)
        pointwise.mean_pool(v, 0, out, n, d, self.mult, self.shift)
        for t in range(1, n):
            cache.copy(out, 0, out, t * d, d)
        return out

    run = __call__
''',
    "device/attn8/layers/negate.py": '''
from array import array

from .. import checks


class Negate:
    def __init__(self, size):
        self.size = size
        self.out = array("b", bytes(size))

    def __call__(self, x):
        checks.values("negate", x, self.size)
        for i in range(self.size):
            self.out[i] = min(127, -x[i])
        return self.out


def build(entry, given, need_weights):
    entry.accept(given, "int8", given[1])
    layer = Negate(given[1])
    entry.gives("b", layer.out)
    return layer, given
''',
    "host/attn8_host/cores/uniform.py": '''
"""A 64th of the sum of all values."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..numerics.integers import requant
from ..numerics.scales import requant_constants
from ..schema import INTEGER
from .base import Core, Variant


@dataclass
class Uniform:
    max_seq_len: ClassVar[int] = 1 << 15
    mult: int
    shift: int
    causal: bool = False

    @property
    def outputs(self):
        return {}

    def __call__(self, q, k, v):
        mean = requant(v.astype(np.int64).sum(axis=0), self.mult, self.shift)
        return np.broadcast_to(mean, v.shape).copy()


def constants(head_dim, scale_q, scale_k, scale_v, scale_out):
    mult, shift = requant_constants(scale_v / scale_out / 64)
    return {"mult": mult, "shift": shift}


def floating(q, k, v, causal, steps, **options):
    return np.broadcast_to(v.sum(axis=-2, keepdims=True) / 64, v.shape)


CORE = Core(
    reference=Uniform, make_constants=constants, floating=floating,
    constants={"mult": INTEGER, "shift": INTEGER}, variants={"full": Variant()},
)
''',
    "host/attn8_host/layers/negate.py": '''
"""The negative of each value."""

import numpy as np

from .base import Example, LayerType


class Type(LayerType):
    keeps_scale = True

    def shape(self, entry, given):
        return (given.size,)

    def build(self, entry, tensors, need_weights):
        return lambda x: {"": np.minimum(-x.astype(np.int64), 127).astype(np.int8)}

    def floating(self, entry, tensors, x):
        return {"": -x}

    def quantize(self, entry, quantizer):
        pass

    def examples(self, rng):
        yield Example("negative", {"size": 7}, [{"type": "negate", "name": "n"}], {}, 7,
                      lambda outputs: (outputs["n"], outputs["n"].astype(float)))


TYPE = Type()
''',
}

SCRIPT = '''
import sys
from pathlib import Path
import numpy as np
from attn8_host import model, modelfile
from attn8_host.cli import main
folder = Path(sys.argv[1])
rng = np.random.default_rng(0)
tensors = {f"a.{p}.weight": rng.normal(0, 0.3, (6, 6)) for p in ("q", "k", "v", "out")}
tensors |= {f"a.{p}.bias": rng.normal(0, 0.1, 6) for p in ("q", "k", "v", "out")}
entries = [
    {"type": "attention", "name": "a", "seq_len": 5, "embed_dim": 6, "num_heads": 2,
     "core": "uniform", "causal": False},
    {"type": "negate", "name": "n"},
]
config = {"format": "attn8", "version": 1, "name": "demo", "input": {"shape": [5, 6]},
          "layers": entries}
modelfile.write(folder / "float", config, tensors)
np.save(folder / "inputs.npy", rng.normal(size=(9, 5, 6)).astype(np.float32))
one, two, three = (str(folder / name) for name in ("float", "int8", "inputs.npy"))
assert main(["quantize", one, "--calibration", three, "--output", two]) == 0
made = model.load(two)(np.arange(30, dtype=np.int8))
assert (made["n"] == -made["a"].ravel()).all() and made["n"].any()
assert main(["run", two, three, "--board", "virtual"]) == 0
assert main(["plan", "--model", two]) == 0
assert main(["verify", "--board", "virtual", "--core", "uniform", "negate",
             "--png", str(folder / "cost.png")]) == 0
'''


def sums(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


@pytest.mark.board("virtual")
def test_a_core_and_a_layer_edit_no_existing_file(tmp_path):
    root = tmp_path / "project"
    for folder in ("device", "host", "tools"):
        shutil.copytree(ROOT / folder, root / folder,
                        ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "package.json", root)
    shutil.copy(ROOT / "boot.py", root)
    before = sums(root)
    for name, text in FILES.items():
        assert not (root / name).exists()
        (root / name).write_text(text.lstrip())
    environment = {**os.environ, "PYTHONPATH": f"{root / 'host'}{os.pathsep}{root}"}

    def python(*arguments: str) -> str:
        done = subprocess.run([sys.executable, *arguments], cwd=root, env=environment,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    python("-m", "tools.device_files")
    assert 'Uniform="cores.uniform"' in (root / "device/attn8/names.py").read_text()
    assert 'Negate="layers.negate"' in (root / "device/attn8/names.py").read_text()
    said = python("-c", SCRIPT, str(tmp_path))
    assert "uniform full" in said and "negate negative" in said
    after = sums(root)
    changed = {name for name, digest in before.items() if after.get(name) != digest}
    assert changed == GENERATED
    assert after.keys() - before.keys() == FILES.keys()
