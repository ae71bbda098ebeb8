"""What the device package's public entries refuse, and that what they take is right."""

import struct

import numpy as np
import pytest

from attn8_host import isa
from attn8_host.cores.exact import exact_constants
from attn8_host.paths import DEVICE
from tests.compiled import compiled

OBJECTS = (DEVICE / "attn8/kernels/objects.py").read_text()
EXACT = exact_constants(4, 0.03, 0.03, 0.03, 0.03)

BUFFERS = """
from attn8.kernels.objects import typecode
b = array("b", bytes(12))
a = [array(code, bytes(8)) for code in "bBhHiIqQfd"]
for x in a:
    give(typecode(x))
    give(typecode(memoryview(x)))
for x in (bytearray(8), bytes(8), memoryview(bytearray(8)), memoryview(b"abcdefgh"),
          memoryview(memoryview(b)[3:7])[1:], b"", array("b"), bytearray(), array("O", [None])):
    give(typecode(x))
"""


def test_every_buffer_is_known_by_its_typecode(remote):
    codes = [ord(code) + 128 for code in "bBhHiIqQfd" for _ in range(2)]
    codes += [194, 66, 194, 66, 226, 66, 226, 194, ord("O") + 128]
    assert remote(compiled(BUFFERS)) == codes


def test_whatever_is_no_buffer_has_no_typecode(remote):
    assert remote(compiled("""
from attn8.kernels.objects import typecode
class Mine(array):
    pass
things = (None, True, 0, 5, -1, 1 << 40, 1.5, "", "abc", (), (1,), [], [1], {}, set(), object(),
          int, array, typecode, Mine("b", bytes(4)), Exception("b"))
give([x for x in things if typecode(x) != 0])
""")) == []


@pytest.mark.parametrize("arch", isa.ARCHES)
@pytest.mark.parametrize("sign", [0, 1 << 31])
def test_a_chip_reads_the_typecode_of_an_object(arch, sign):
    # The part of `typecode` that depends on the size of words, over an object as py/objarray.h has
    # it. sign: what a chip's small integers make of an address from 2**30 on.
    start = OBJECTS.index("        word = 1 << 16")
    part = OBJECTS[start : OBJECTS.index("        if code & 127 == 1", start)]
    machine = isa.load(
        "import micropython\n@micropython.viper\ndef element(address: int) -> int:\n"
        f"{part}        return code\n", arch)
    for code in b"bBhHif\x01\xe2\xc2":
        x = machine.buffer(struct.pack("<IIII", 0x3F400123, code | 3 << 8, 12, 0x3FFB1230))
        assert machine.call("element", x.__index__() ^ sign) == code


@pytest.mark.parametrize("a, size, b, other_size, expected", [
    (0, 4, 4, 4, 0), (4, 4, 0, 4, 0), (0, 4, 3, 4, 1), (3, 4, 0, 4, 1), (0, 12, 5, 1, 1),
    (5, 1, 0, 12, 1), (2, 3, 2, 3, 1), (0, 1, 11, 1, 0),
])
def test_overlap_means_a_byte_in_common(remote, a, size, b, other_size, expected):
    assert remote(compiled(f"""
from attn8.kernels.objects import overlap
x = memoryview(bytearray(12))
give(overlap(x[{a}:], {size}, x[{b}:], {other_size}))
""")) == expected


def test_checks_allocate_nothing(remote):
    assert remote.needs_no_heap("""
operands(q, view, text, out, 12, 12)
values("i", i, 3, True, "i")
apart("q", q, 12, "out", out, 12)
""", compiled("from attn8.checks import apart, values\nfrom attn8.cores import operands\n") + """
q = array("b", bytes(12))
view = memoryview(bytearray(20))[4:16]
text = b"twelve bytes"
out = bytearray(12)
i = memoryview(array("i", [1, 2, 3]))
""")


SETUP = """
from attn8 import (Decode, Dense, Exact, LocalGlobal, Micro, QConv1D, ReLU, SelfAttention1D, Sparse,
                   load)
from attn8.layers.dense import Linear as Parameters
C = constants
def core():
    return Exact(3, 4, **C)
x = array("b", range(12))
def attend(q=x, k=x, v=x, out=None):
    return core()(q, k, v, bytearray(12) if out is None else out)
def parameters(**changed):
    parts = {"weight": array("b", [1, 2, 3, 4]), "bias": array("i", [5, 6]),
             "mult": array("h", [20000] * 2), "shift": array("b", [20] * 2)}
    parts.update(changed)
    return Parameters("fc", 2, 2, **parts)
string = "a constant string"
"""


# Each of these crashed MicroPython, wrote where it must not, or gave wrong numbers in silence
@pytest.mark.parametrize("code, message", [
    ("attend(out=array('O', range(12)))", "out: expected array('b'), got array of 'O'"),
    ("attend(out=memoryview(string.encode()[:12]))",
     "out: expected a writable array('b'), got memoryview of 'B'"),
    ("attend(out=memoryview(b'twelve bytes'))",
     "out: expected a writable array('b'), got memoryview of 'B'"),
    ("attend(out=memoryview('twelve chars'))",
     "out: expected a writable array('b'), got memoryview of 'B'"),
    ("attend(out=x)", "out: expected memory apart from q, k and v"),
    ("b = bytearray(12); attend(q=b, out=b)", "out: expected memory apart from q, k and v"),
    ("b = bytearray(12); attend(k=b, out=b)", "out: expected memory apart from q, k and v"),
    ("b = bytearray(12); attend(v=b, out=b)", "out: expected memory apart from q, k and v"),
    ("attend(v=memoryview(x)[:], out=memoryview(x)[:])", "out: expected memory apart from q"),
    ("b = memoryview(bytearray(20)); attend(k=b[:12], out=b[8:])", "out: expected memory apart"),
    ("attend(q=array('h', range(12)))", "q: expected array('b'), got array of 'h'"),
    ("attend(k=array('f', range(12)))", "k: expected array('b'), got array of 'f'"),
    ("attend(v=memoryview(array('i', range(12))))", "v: expected array('b'), got memoryview of"),
    ("Dense(parameters(), 8, bytearray(4))", "fc.out: expected 16 int8 values, got 4"),
    ("Dense(parameters(), 8, array('i', bytes(16)))", "fc.out: expected array('b'), got array"),
    ("Dense(parameters(mult=None, shift=None), 1, bytearray(8))",
     "fc.out: expected array('i'), got bytearray of 'B'"),
    ("y = Dense(parameters(), 1); y(y.out)", "fc: expected memory apart from out"),
    ("Exact(3, 4, buffers=Exact(2, 4, **C).buffers, **C)", "buffers: expected those of a core"),
    ("Exact(3, 4, buffers=LocalGlobal.__init__, **C)", "buffers: expected those of a core"),
    ("Sparse(3, 4, mask=['full'], buffers=Exact(2, 4, **C).buffers, **C)",
     "buffers: expected those of a core"),
    ("Micro(3, 4, buffers=array('i', [0]))", "buffers: expected 4 values, got 1"),
    ("Micro(3, 4, buffers=bytearray(4))", "buffers: expected array('i'), got bytearray"),
    ("Decode(3, 4, 3, buffers=core().buffers, **C)", "buffers: expected None"),
    ("parameters(weight=array('h', [1, 2, 3, 4]))", "fc.weight: expected array('b'), got array of"),
    ("parameters(shift=array('h', [20, 20]))", "fc.shift: expected array('b'), got array of 'h'"),
    ("parameters(bias=array('f', [5, 6]))", "fc.bias: expected array('i'), got array of 'f'"),
    ("parameters(bias=bytearray(8))", "fc.bias: expected array('i'), got bytearray of 'B'"),
    ("parameters(mult=array('H', [20000] * 2))", "fc.mult: expected array('h'), got array of 'H'"),
    ("parameters(mult=None)", "missing tensor fc.mult"),
    ("LocalGlobal(3, 4, array('h', [-1] * 4), 1, [0], **C)",
     "gate: expected array('H'), got array of 'h'"),
    ("SelfAttention1D(2, 2, 2)(array('f', [0] * 4))", "x: expected array('i'), got array of 'f'"),
    ("SelfAttention1D(2, 2, 2, 'float')(array('i', [0] * 4))", "x: expected array('f'), got array"),
    ("SelfAttention1D(2, 2, 2, 'Q8.8')(array('H', [0] * 4))", "x: expected array('h'), got array"),
    ("QConv1D(4, 2, 1, 1)(array('f', [0] * 4))", "x: expected array('i'), got array of 'f'"),
    ("load('/models/digits.safetensors')(array('f', [0] * 64))",
     "input: expected array('b'), got array of 'f'"),
    ("ReLU(2.0)", "size: expected a whole number, got float"),
])
def test_what_must_not_pass_is_refused(remote, code, message):
    said = remote.refused(code, SETUP, constants=EXACT)
    assert message in said, said


# Each of these passed, or was refused in MicroPython's words, which name neither what nor where
@pytest.mark.parametrize("code, message", [
    ("LocalGlobal.from_scales(3, 4, *S)", "window: expected a whole number, got NoneType"),
    ("LocalGlobal.from_scales(3, 4, *S, window=1)", "global_indices: expected list, got NoneType"),
    ("LocalGlobal.from_scales(3, 4, *S, None, 1, [])", "gate: expected list, got NoneType"),
    ("LocalGlobal.from_scales(3, 4, .1, .1, .1, 'a')", "scale_out: expected a number, got str"),
    ("Sparse.from_scales(3, 4, *S)", "mask: expected Mask, got NoneType"),
    ("Sparse(3, 4, mask='causal', **C)", "mask: expected Mask, got str"),
    ("attn8.Linear.from_scales(3, 4, *S, (1, 2))", "phi: expected relu, relu+1 or elu+1, got (1"),
    ("attn8.Stream(5, 1, print)", "model: expected one that attn8.load gave, got int"),
    ("next(attn8.generate(5))", "model: expected one that attn8.load gave, got int"),
    ("load('/models')", "/models: a folder; expected a file in it"),
    ("load('/models/digits.safetensors', weights=(1, 2))", "weights: expected resident or stream"),
    ("attn8.CrossAttention(ReLU(2))", "layer: expected MultiHeadAttention, got ReLU"),
    ("attn8.Embedding(1, 4, 4, x[:8] + x[:8], paired=5)", "embedding.paired: expected 0 to 1, got"),
    ("attn8.Embedding(1, 3, 4, x, paired=1)", "embedding.paired: expected 0 to 0, got 1"),
    ("attn8.MultiHeadAttention.from_floats(2, 2, 1, {}, [], core=5)", "core: expected str, got"),
    ("attn8.MultiHeadAttention.from_floats(2, 2, 1, {}, [], core='sliding')",
     "window: the core sliding needs it; say window="),
    ("attn8.MultiHeadAttention.from_floats(2, 2, 1, {}, [], core='local_global', window=1)",
     "global_indices: the core local_global needs it; say global_indices="),
    ("attn8.masks.full(4).union(5)", "mask: expected Mask, got int"),
    ("attn8.masks.full(4).row(4)", "query: expected 0 to 3, got 4"),
    ("attn8.masks.full(4).visualize('a')", "size: expected a whole number, got str"),
    ("attn8.masks.Mask(2, 5)", "rows: expected several, as a list, got int"),
    ("attn8.masks.Mask(2, 'ab')", "mask: row 0: expected rising boundaries up to 2, got ['a']"),
    ("attn8.masks.Mask.from_keys(2, None)", "rows: expected several, as a list, got NoneType"),
    ("attn8.masks.global_indices(4, 5)", "keys: expected several, as a list, got int"),
    ("attn8.masks.from_hnsw_edges(4, 5)", "edges: expected several, as a list, got int"),
    ("attn8.masks.from_hnsw_edges(4, [(1,)])", "nodes of an edge: expected 2 to 2, got 1"),
    ("attn8.masks.from_hnsw_layers(4, 5)", "layers: expected list, got int"),
    ("attn8.masks.from_cut(4, 1, 2, 5)", "labels: expected several, as a list, got int"),
    ("attn8.quantize.int8(5, 0.1)", "values: expected list, got int"),
    ("attn8.quantize.int8([1.0], 0)", "scale: expected 1e-30 to 1e+30, got 0"),
    ("attn8.quantize.output_constants(-1)", "ratio of scales: expected 1e-30 to 1e+30, got -1"),
    ("attn8.quantize.score_constants(0.1, 1.5)", "head_dim: expected a whole number, got float"),
    ("attn8.quantize.random_features(4, -1, 1)", "head_dim: expected 1 to 4096, got -1"),
])
def test_a_wrong_call_at_the_repl_is_told_what_and_where(remote, code, message):
    setup = SETUP + "import attn8\nS = (0.1,) * 4\n"
    said = remote.refused(code, setup, constants=EXACT)
    assert message in said, said


def test_a_refused_step_leaves_the_state_as_it_was(remote):
    steps = remote("""
from attn8 import Sliding
core = Sliding(3, 4, 2, **constants)
for _ in range(2):
    core.reset()
    for t in range(5):
        if _:
            for wrong in (bytes(4), bytearray(3)):
                try:
                    core.step(x[:4], x[4:8], x[8:], wrong)
                except (TypeError, ValueError):
                    pass
        give(core.step(x[t : t + 4], x[t + 1 : t + 5], x[t + 2 : t + 6], array("b", bytes(4))))
""", x=np.arange(0, 120, 10, dtype=np.int8), constants=EXACT)
    assert np.array_equal(steps[:5], steps[5:])


def test_a_step_may_write_over_what_it_reads(remote):
    apart, over = remote("""
from attn8 import Decode
for same in (False, True):
    core = Decode(3, 4, 3, **constants)
    for t in range(3):
        q, k, v = x[t : t + 4], x[t + 1 : t + 5], x[t + 2 : t + 6]
        out = core.step(q, k, v, (q, k, v)[t] if same else array("b", bytes(4)))
    give(out)
""", x=np.arange(0, 120, 10, dtype=np.int8), constants=EXACT)
    assert np.array_equal(apart, over)


def test_a_linear_takes_its_arrays_and_makes_no_copy(remote):
    same, kept = remote("""
from attn8.layers.dense import Linear
tensors = {"fc.weight": array("b", bytes(6)), "fc.bias": array("i", [0, 0])}
weight, bias = tensors["fc.weight"], tensors["fc.bias"]
linear = Linear.take(tensors, "fc", 3, 2)
give(int(linear.weight is weight and linear.bias is bias))
give(len(tensors))
""")
    assert (same, kept) == (1, 0)


def test_a_core_that_masks_nothing_refuses_a_mask(remote):
    said = remote.refused("layer(x, None, bytes(3))", """
from attn8 import MultiHeadAttention
tensors = {}
for part in ("q", "k", "v", "out"):
    tensors["attn." + part + ".weight"] = array("b", bytes(16))
    tensors["attn." + part + ".bias"] = array("i", bytes(16))
    tensors["attn." + part + ".mult"] = array("h", [20000] * 4)
    tensors["attn." + part + ".shift"] = array("b", [24] * 4)
from attn8 import Micro
layer = MultiHeadAttention(3, 4, 1, tensors, {}, core="micro")
x = bytes(12)
del Micro.masks_keys
""")
    remote("Micro.masks_keys = True")
    assert said == "key_padding_mask: expected a core that takes one, as exact does"
