"""The kernels' machine code against the NumPy reference, on emulators of both chips.

As in test_kernels: operands at every alignment, canaries around every buffer, extreme values.
"""

from array import array
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from attn8_host import forms, isa
from attn8_host.boards import BoardInfo
from attn8_host.cores.exact import Exact, exact_constants
from attn8_host.cores.linear import Linear, linear_constants
from attn8_host.cores.performer import Performer, performer_constants, random_features
from attn8_host.cores.sparse import Sparse
from attn8_host.errors import BoardError
from attn8_host.forms import mpy
from attn8_host.isa.device import Device, machine_of
from attn8_host.layers.dense import Dense
from attn8_host.numerics.integers import EXP2
from attn8_host.numerics.scales import output_constants, score_constants
from attn8_host.proof.bench.count import layer
from tests.conftest import TURBO
from tests.test_kernels import Call, alignment, dense_operands, fills, int8, shapes, sizes

# Machines are shared between examples; each example frees its buffers first
machine_settings = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


FAMILIES = ("attention", "decode16", "decode8", "fixed_product", "fixed_softmax", "fixed_words",
            "linear", "lookup", "matmul", "matmul16", "norm", "sparse", "stream", "swap_axes")


@pytest.fixture
def machine(machines, request):
    """A machine that runs the machine code of a family on one chip."""
    return machines(f"turbo.{request.param}")


def of_family(name):
    return pytest.mark.parametrize("machine", [name], indirect=True)


@cache
def device(arch):
    return Device(arch, "turbo")


def form_of(machine, family):
    """The device's module of a family in the machine code of one chip."""
    return device(machine.arch).load(f"attn8.forms.{TURBO[machine.arch]}.{family}")


@of_family("matmul")
@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.sampled_from([1, 3, 4, 5, 18, 19, 40]),
    inputs=st.one_of(sizes, st.integers(280, 520)),
    outputs=st.integers(1, 5),
    offset=alignment,
    fill=fills,
    wide=st.booleans(),
    most_bias=st.sampled_from([1000, 1 << 20, 1 << 30]),
    most_shift=st.sampled_from([25, 26, 45]),
)
@example(seed=0, rows=1, inputs=4096, outputs=1, offset=0, fill="lowest", wide=True,
         most_bias=1000, most_shift=25)
@example(seed=0, rows=1, inputs=4095, outputs=2, offset=1, fill="opposite", wide=False,
         most_bias=1000, most_shift=25)
@example(seed=1, rows=2, inputs=15, outputs=17, offset=0, fill="extremes", wide=False,
         most_bias=1 << 20, most_shift=45)
@example(seed=2, rows=2, inputs=16, outputs=29, offset=0, fill="extremes", wide=False,
         most_bias=1 << 20, most_shift=45)
@example(seed=3, rows=1, inputs=77, outputs=22, offset=0, fill="extremes", wide=True,
         most_bias=1 << 20, most_shift=45)
@example(seed=4, rows=2, inputs=15, outputs=9, offset=0, fill="extremes", wide=True,
         most_bias=1 << 20, most_shift=45)
@example(seed=0, rows=1, inputs=320, outputs=3, offset=0, fill="lowest", wide=True,
         most_bias=1 << 30, most_shift=25)
@example(seed=0, rows=3, inputs=320, outputs=4, offset=0, fill="opposite", wide=True,
         most_bias=1000, most_shift=25)
@example(seed=0, rows=2, inputs=352, outputs=2, offset=0, fill="opposite", wide=True,
         most_bias=1000, most_shift=25)
@example(seed=0, rows=4, inputs=288, outputs=9, offset=0, fill="lowest", wide=False,
         most_bias=1 << 20, most_shift=25)
@example(seed=0, rows=4, inputs=288, outputs=9, offset=0, fill="opposite", wide=True,
         most_bias=1 << 30, most_shift=25)
def test_matmul(machine, seed, rows, inputs, outputs, offset, fill, wide, most_bias, most_shift):
    rng = np.random.default_rng(seed)
    x, w, bias, mult, shift, reference = dense_operands(rng, fill, rows, inputs, outputs, wide,
                                                        most_bias, most_shift)

    machine.reset()
    packed, constants = w, bias
    out = np.zeros(rows * outputs, np.int32 if wide else np.int8)
    room = form_of(machine, "matmul").room
    row = machine.buffer(np.zeros(*room(inputs, rows), np.uint8))
    call = Call(machine, offset)
    if "pack" in machine.functions:
        packed, constants, _, _ = call("pack", packed, constants, inputs, outputs)
    if "_interleave" in machine.functions:
        packed, *_ = call("_interleave", w, row, inputs, outputs)
    *_, out, _, _, _, _, _ = call(
        "matmul", packed, 0, x, constants, mult, shift, out, row, rows, inputs, outputs, int(wide)
    )  # fmt: skip
    row.check_guards()
    assert (out.read(reference.dtype) == reference.ravel()).all()


@of_family("matmul")
@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1), rows=st.sampled_from([6, 18, 21]), inputs=sizes,
    outputs=st.integers(4, 9), offset=alignment, fill=fills, far=st.booleans(),
    most_bias=st.sampled_from([1000, 1 << 20, 1 << 30]), most_shift=st.sampled_from([25, 45]),
)
def test_matmul_to_int16(machine, seed, rows, inputs, outputs, offset, fill, far, most_bias,
                         most_shift):
    """Results in a place of their own, and where rows of x are that come later."""
    form = form_of(machine, "matmul")
    assert form.int16_rows(rows, inputs, outputs) == rows
    rng = np.random.default_rng(seed)
    inputs = inputs if far else outputs
    x, w, bias, mult, shift, _ = dense_operands(rng, fill, rows, inputs, outputs, False,
                                                most_bias, most_shift)
    reference = Dense(w, bias, mult, shift)
    reference.format = "int16"
    machine.reset()
    call = Call(machine, offset)
    row = machine.buffer(np.zeros(*form.room(inputs, rows), np.uint8))
    if far:
        place, out = call.place(x), call.place(np.zeros(rows * outputs, np.int16))
    else:  # x in the second half of its results
        out = call.place(np.concatenate([np.zeros(rows * outputs, np.int8), x.ravel()]).view("h"))
        place = out.address + rows * outputs
    if "pack" in machine.functions:
        w, bias, _, _ = call("pack", w, bias, inputs, outputs)
    if "_interleave" in machine.functions:
        w, *_ = call("_interleave", w, row, inputs, outputs)
    call("matmul", w, 0, place, bias, mult, shift, out, row, rows, inputs, outputs, 2)
    assert (out.read(np.int16) == reference(x).ravel()).all()


@of_family("attention")
@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=shapes(8, 24, 40),
    causal=st.booleans(),
    padding=st.sampled_from(["none", "some", "all"]),
    offset=alignment,
    fill=fills,
    scale=st.floats(1e-7, 0.3),
)
@example(seed=0, shape=(2, 2, 511), causal=True, padding="none", offset=1,
         fill="extremes", scale=1e-4)
@example(seed=0, shape=(2, 511, 3), causal=False, padding="some", offset=2,
         fill="random", scale=1e-2)  # fmt: skip
def test_attention(machine, seed, shape, causal, padding, offset, fill, scale):
    """One head in two blocks of rows, through each kernel in turn."""
    seq_len, key_len, head_dim = shape
    rng = np.random.default_rng(seed)
    key_len = seq_len if causal else key_len
    q, k, v = (int8(rng, fill, n, head_dim) for n in (seq_len, key_len, key_len))
    mult, shift, limit = score_constants(scale, head_dim)
    num, out_shift = output_constants(float(rng.uniform(0.5, 20)))
    mask = {"none": 0, "some": rng.integers(0, 2, key_len), "all": 1}[padding]
    mask = np.broadcast_to(mask, key_len).astype(np.uint8)
    reference = Exact(mult, shift, limit, num, out_shift, causal)
    expected = reference(q, k, v, mask if padding != "none" else None)

    machine.reset()
    call = Call(machine, offset)
    room = form_of(machine, "attention").room
    keys, _, values, row = (machine.buffer(np.zeros(size, np.uint8)) if size else 0
                            for size in room(key_len, head_dim))
    out = machine.buffer(np.zeros(q.size, np.int8), 4, offset)
    query = machine.buffer(q, 4, offset)
    table = machine.buffer(EXP2.astype(np.uint16))
    call("pack_keys", k, keys, 0, key_len, head_dim)
    call("pack_values", v, values, key_len, head_dim)
    half = (seq_len + 1) // 2
    for first in range(0, seq_len, half):
        rows = min(half, seq_len - first)
        scores = machine.buffer(np.full(rows * key_len, 77, np.int32))
        weights = machine.buffer(np.full(rows * key_len, 77, np.uint16))
        sums = machine.buffer(np.zeros(rows, np.int32))
        call("scores", keys, 0, query, 0, scores, row, first, rows, key_len, head_dim, int(causal))
        if padding != "none":
            call("mask_keys", scores, mask, rows, key_len)
        call("softmax", scores, 0, weights, sums, table, first, rows, key_len, int(causal), mult,
             shift, limit)
        call("weighted_sum", values, 0, weights, sums, out, first, rows, key_len, key_len,
             head_dim, num, out_shift)
        part = slice(first, first + rows)
        assert (scores.read(np.int32).reshape(rows, -1) == reference.scores[part]).all()
        assert (weights.read(np.uint16).reshape(rows, -1) == reference.weights[part]).all()
        assert (sums.read(np.int32) == reference.sums[part]).all()
        for buffer in (scores, weights, sums, out, row, keys, values):
            buffer.check_guards()
    assert (out.read(np.int8).reshape(expected.shape) == expected).all()


@pytest.fixture(scope="module", params=["xtensa", "simd"])
def attending(request):
    """The kernels of attention that have a whole head in one call, and their module."""
    device = Device("xtensawin", forms.declared(request.param, "BACKEND"))
    return (machine_of(request.param, "attention"),
            device.load(f"attn8.forms.{request.param}.attention"))


@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=shapes(8, 20, 40),
    value_dim=st.one_of(st.none(), st.integers(1, 9)),
    causal=st.booleans(),
    padding=st.sampled_from(["none", "some", "pairs", "all"]),
    offset=alignment,
    fill=fills,
    scale=st.floats(-7, -0.6).map(lambda power: 10**power),
    ratio=st.floats(0.07, 20),
)
@example(seed=0, shape=(1, 516, 2), value_dim=None, causal=False, padding="none", offset=0,
         fill="lowest", scale=1e-4, ratio=1.0)
@example(seed=0, shape=(9, 9, 16), value_dim=None, causal=True, padding="none", offset=1,
         fill="extremes", scale=1e-4, ratio=1.0)
@example(seed=0, shape=(3, 17, 32), value_dim=8, causal=False, padding="some", offset=2,
         fill="random", scale=1e-5, ratio=1.0)
@example(seed=0, shape=(2, 4, 8), value_dim=None, causal=False, padding="all", offset=0,
         fill="random", scale=1e-2, ratio=1.0)  # fmt: skip
def test_attend(attending, seed, shape, value_dim, causal, padding, offset, fill, scale, ratio):
    """A head in one call, at sizes 1 to 130, two widths, all alignments and shifts."""
    machine, form = attending
    seq_len, key_len, head_dim = shape
    value_dim = value_dim or head_dim
    rng = np.random.default_rng(seed)
    key_len = seq_len if causal else key_len
    q, k = (int8(rng, fill, n, head_dim) for n in (seq_len, key_len))
    v = np.maximum(int8(rng, fill, key_len, value_dim), -128 if key_len < 512 else -127)
    mult, shift, limit = score_constants(scale, head_dim)
    num, out_shift = output_constants(ratio)
    assert form.attends(out_shift)
    pairs = padding == "pairs"
    mask = {"none": 0, "all": 1}.get(padding, rng.integers(0, 2, (seq_len * pairs or 1, key_len)))
    mask = np.broadcast_to(mask, (seq_len if pairs else 1, key_len)).astype(np.uint8)
    masks = {"none": 0, "pairs": 2}.get(padding, 1)
    reference = Exact(mult, shift, limit, num, out_shift, causal)
    expected = reference(q, k, v, None if not masks else mask if pairs else mask[0])

    machine.reset()
    call = Call(machine, offset)
    keys_room, _, values_room, _ = form.room(key_len, max(head_dim, value_dim))
    room = form.attend_room(key_len, head_dim)
    keys, values, room = (machine.buffer(np.full(size, 85, np.uint8))
                          for size in (keys_room, values_room, room))
    out = machine.buffer(np.zeros(expected.size, np.int8), 4, offset & 3)
    call("pack_keys", k, keys, 0, key_len, head_dim)
    call("pack_values", v, values, key_len, value_dim)
    call("attend", keys, 0, q, values, out, room, EXP2.astype(np.uint16),
         np.append(np.uint8(1), mask), 1, masks, seq_len, key_len, head_dim, value_dim, int(causal),
         mult, shift, limit, num, out_shift)
    for buffer in (keys, values, room, out):
        buffer.check_guards()
    assert (out.read(np.int8).reshape(expected.shape) == expected).all()


@pytest.mark.parametrize("out_shift", [17, 18, 33, 34])
def test_at_the_bounds_of_attend_a_head_is_exact(attending, out_shift):
    form = attending[1].__name__.split(".")[2]
    device = Device("xtensawin", forms.declared(form, "BACKEND"))
    constants = {"score_mult": 20000, "score_shift": 19, "score_limit": 100000,
                 "out_num": (1 << 30) - 1, "out_shift": out_shift}
    rng = np.random.default_rng(0)
    q, k, v = (int8(rng, "random", 5, 4) for _ in range(3))
    v[0] = [1, -1, 127, 0]
    k[0], q[0] = 127, 127  # one key alone, whose reciprocal is the largest
    out = array("b", bytes(20))
    core = device.attn8.Exact(5, 4, **constants)
    device.tally.counted.clear()  # of the known answers
    core(*(array("b", x.tobytes()) for x in (q, k, v)), out)
    assert (np.array(out).reshape(5, 4) == Exact(**constants)(q, k, v)).all()
    taken = f"{form}.attention.attend" in device.tally.counted
    assert taken == attending[1].attends(out_shift) == (18 <= out_shift <= 33)


@of_family("swap_axes")
@machine_settings
@given(shape=shapes(20, 20, 20), more=st.integers(0, 3), offset=alignment)
@example(shape=(4, 3, 16), more=0, offset=0)
@example(shape=(4, 3, 16), more=2, offset=0)
@example(shape=(2, 511, 4), more=0, offset=0)
@example(shape=(2, 2, 511), more=1, offset=1)
def test_swap_axes(machine, shape, more, offset):
    n, m, size = shape
    x = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    want = np.full((m, n + more, size), 5, np.int8)
    machine.reset()
    call = Call(machine, offset)
    _, out, *_ = call("swap_axes", x, want.ravel(), *shape, n + more)
    want[:, :n] = x.transpose(1, 0, 2)
    assert (out.read(np.int8) == want.ravel()).all()


@of_family("attention")
@pytest.mark.parametrize("fill", ["lowest", "highest", "opposite"])
def test_attention_at_the_longest_sequence(machine, fill):
    # 516 keys of equal score: the largest sums there are, beyond int32 in a 16-bit weight's offset
    keys, head_dim = 516, 2
    weights = np.full((1, keys), 32768, np.uint16)
    v = np.maximum(int8(np.random.default_rng(1), fill, keys, head_dim), -127)
    machine.reset()
    call = Call(machine)
    form = form_of(machine, "attention")
    values = machine.buffer(np.zeros(form.room(keys, head_dim)[2], np.uint8))
    call("pack_values", v, values, keys, head_dim)
    out = machine.buffer(np.zeros(head_dim, np.int8))
    call("weighted_sum", values, 0, weights, weights.sum(axis=1).astype(np.int32), out, 0, 1, keys,
         keys, head_dim, 1 << 29, 29)  # fmt: skip
    mean = v.astype(int).sum(axis=0) / keys
    assert (out.read(np.int8) == np.floor(mean + 0.5)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_firmware_checks_number_and_type_of_all_arguments(machines, family, monkeypatch):
    machine = machines(f"turbo.{family}")
    check_arguments(machine, TURBO[machine.arch], family, monkeypatch)


def check_arguments(machine, form, family, monkeypatch):
    """Every kernel of a family has the arguments that its device module says."""
    for signature in forms.signatures(forms.source(form, family)).values():
        count, kinds = len(signature.arguments), []
        for wrong in (count - 1, count + 1):
            with pytest.raises(isa.HelperError, match=f"does not take {wrong} arguments"):
                machine.call(signature.name, *range(wrong))

        def convert(_, value, kind, kinds=kinds, count=count):
            kinds.append(kind)  # mp_native_from_obj(value, kind), which raises for what it is not
            if len(kinds) == count:
                raise isa.HelperError("all are converted before the kernel starts")
            return value

        monkeypatch.setattr(machine, "call_helper", convert)
        with pytest.raises(isa.HelperError, match="all are converted"):
            machine.call(signature.name, *range(count))
        monkeypatch.undo()
        assert kinds == list(signature.arguments.values()), signature.name


# All instructions over all multiply-accumulates, wrappers included
LIMITS = {
    "xtensawin": {
        "matvec": 1.75, "square": 1.84, "matmul": 1.43, "scores": 1.46, "weighted_sum": 1.75
    },
    "rv32imc": {
        "matvec": 3.36, "square": 3.4, "matmul": 2.27, "scores": 2.42, "weighted_sum": 3.36
    },
    "esp32s2": {
        "matvec": 3.3, "square": 3.42, "matmul": 2.39, "scores": 2.58, "weighted_sum": 3.68
    },
}


def count(machine, name, *arguments):
    """Instructions of one call; arrays become buffers."""
    machine.reset()
    machine.call(name, *(machine.buffer(a) if isinstance(a, np.ndarray) else a for a in arguments))
    return machine.instructions


def test_instructions_per_mac(machines):
    multiplying, attending = machines("turbo.matmul"), machines("turbo.attention")

    def zeros(n):
        return np.zeros(n, np.uint8)

    def matmul(rows, inputs, outputs, wide):
        arrays = [zeros(n) for n in (inputs * outputs, rows * inputs, 16 * outputs,
                                     4 * rows * outputs, 4 * (rows + 1) * inputs)]  # fmt: skip
        w, x, constants, out, row = arrays
        mult, shift = np.full(outputs, 20000, np.int16), np.full(outputs, 25, np.int8)
        n = count(multiplying, "matmul", w, 0, x, constants, mult, shift, out, row, rows, inputs,
                  outputs, wide)  # fmt: skip
        return n / (rows * inputs * outputs)

    tokens, head_dim = 32, 16
    macs = tokens * tokens * head_dim
    room, sums = zeros(4096), np.ones(tokens, np.int32)
    scores = count(attending, "scores", room, 0, room, 0, room, room, 0, tokens, tokens, head_dim,
                   0)  # fmt: skip
    weighted_sum = count(attending, "weighted_sum", room, 0, room, sums, room, 0, tokens, tokens,
                         tokens, head_dim, 1 << 29, 29)  # fmt: skip
    found = {
        "matvec": matmul(1, 64, 256, 1),
        "square": matmul(1, 64, 64, 1),
        "matmul": matmul(32, 64, 64, 0),
        "scores": scores / macs,
        "weighted_sum": weighted_sum / macs,
    }
    limits = LIMITS[attending.arch]
    assert {k: v for k, v in found.items() if v > limits[k]} == {}, found


@pytest.mark.parametrize("arch, most", [("xtensawin", 1.66), ("rv32imc", 2.65), ("esp32s2", 2.89)])
def test_instructions_of_a_whole_layer(arch, most):
    """MultiHeadAttention of 32 tokens, embed_dim 64, 4 heads, what calls take included."""
    assert layer(arch, "turbo")["instructions_per_mac"] <= most


@pytest.mark.parametrize(
    "arch, backend", [*((arch, "turbo") for arch in isa.ARCHES), ("xtensawin", "simd")]
)
def test_cores_take_them_and_give_what_the_reference_gives(arch, backend):
    """The device's own code of the cores, under CPython; room, shapes and shifts are theirs."""
    rng = np.random.default_rng(0)
    seq_len, head_dim = 40, 13
    q, k, v = int8(rng, "random", 3, seq_len, head_dim)
    scales = (0.02, 0.03, 0.02, 0.01)
    exact = exact_constants(head_dim, *scales)
    linear = linear_constants(head_dim, *scales, "relu+1", True)
    elu = linear_constants(head_dim, *scales, "elu+1") | {"phi": "elu+1", "causal": True}
    performer = performer_constants(head_dim, *scales, random_features(1, 6, head_dim, 0))
    performer["features"] = performer["features"][0]
    form = TURBO[arch]
    dense = "simd" if backend == "simd" else form
    cases = [
        ("Sparse", Sparse, exact | {"mask": ["random", 0.2, 1]}, f"{form}.sparse._attend_rows"),
        ("Sparse", Sparse, exact | {"mask": ["local_window", 2]}, f"{form}.sparse.list_spans"),
        ("Sparse", Sparse, exact | {"mask": ["random", 0.96, 1]},
         f"{form}.sparse.list_bits" if form == "xtensa" else f"{dense}.attention.scores"),
        ("Linear", Linear, linear, f"{form}.linear.accumulate"),
        ("Linear", Linear, linear | {"causal": True}, f"{form}.linear.shrink"),
        ("Linear", Linear, elu, f"{form}.linear.attend"),
        ("Performer", Performer, performer, f"{form}.linear.attend"),
    ]
    device = Device(arch, backend)
    attn8, tally = device.attn8, device.tally
    for name, reference, keywords, kernel in cases:
        tally.counted.clear()
        out = array("b", bytes(q.size))
        given_ = {key: array("b", value.tobytes()) if key == "features" else value
                  for key, value in keywords.items()}
        core = getattr(attn8, name)(seq_len, head_dim, **given_)
        core(*(array("b", x.tobytes()) for x in (q, k, v)), out)
        assert out.tobytes() == reference(**keywords)(q, k, v).tobytes(), (name, keywords)
        assert kernel in tally.counted, tally.counted


@pytest.mark.parametrize("arch", isa.ISAS)
def test_int16_results_of_a_layer(arch):
    """Of seven tokens, the last of which makes no three: machine code and viper."""
    found = []
    for backend in ("turbo", "viper"):
        rng = np.random.default_rng(0)
        tensors = {}
        for part in ("q", "k", "v", "out"):
            tensors |= {
                f"attn.{part}.weight": array("b", int8(rng, "random", 64).tobytes()),
                f"attn.{part}.bias": array("i", [100] * 8),
                f"attn.{part}.mult": array("h", [20000] * 8),
                f"attn.{part}.shift": array("b", [18 if part == "out" else 24] * 8),
            }
        layer = Device(arch, backend).attn8.MultiHeadAttention(
            7, 8, 2, tensors, exact_constants(4, 0.03, 0.03, 0.03, 0.02), output="int16")
        found.append(list(layer(array("b", int8(rng, "random", 56).tobytes()))))
    assert found[0] == found[1]
    assert len(set(found[0])) > 50


def info(machine, arch, mpy_version="6.3"):
    return BoardInfo("serial", "/dev/null", "micropython", "1.26.1", machine, arch, mpy_version)


@pytest.mark.parametrize(
    "machine_name, arch, form",
    [
        ("Generic ESP32 module with ESP32", "xtensawin", "xtensa"),
        ("Generic ESP32S3 module with ESP32S3", "xtensawin", "xtensa"),
        ("Generic ESP32S2 module with ESP32S2", "xtensawin", "s2"),
        ("ESP32C3 module with ESP32C3", "rv32imc", "rv32"),
        ("linux [GCC 14.2.1] version", "x64", None),
        ("ESP module with ESP8266", "xtensa", None),
    ],
)
def test_deploy_ships_what_the_chip_can_run(machine_name, arch, form, monkeypatch):
    monkeypatch.delenv("ATTN8_BACKEND", raising=False)
    files = forms.files_for(info(machine_name, arch))
    modules = ("__init__", *forms.families(form)) if form else ()
    names = [f"forms/{form}/{name}.mpy" for name in modules]
    assert list(files) == names + [f"known/{name}.mpy" for name in modules]
    # The indices of the firmware's function table are those of one version
    assert forms.files_for(info(machine_name, arch, "6.4")) == {}
    monkeypatch.setenv("ATTN8_BACKEND", "viper")
    assert forms.files_for(info(machine_name, arch)) == {}
    monkeypatch.setenv("ATTN8_BACKEND", "c")
    with pytest.raises(BoardError, match="expected simd, turbo or viper, got c"):
        forms.files_for(info(machine_name, arch))


@pytest.mark.board("virtual")
def test_where_there_is_no_turbo_viper_is_used(board):
    assert board.execute("import attn8\nprint(attn8.backend())") == "viper\n"


@pytest.mark.board("virtual")
@pytest.mark.parametrize("arch", isa.ARCHES)
def test_a_file_for_another_chip_is_refused_with_one_line(arch, board):
    # The virtual board reads files for x64
    board.execute("import os\nos.mkdir('/lib/attn8/forms/other')")
    kernels = forms.build(TURBO[arch], "matmul")
    board.write_file("/lib/attn8/forms/other/__init__.mpy", kernels)
    try:
        said = board.execute(
            "import sys\n"
            "for name in list(sys.modules):\n"
            "    if name.startswith('attn8'):\n"
            "        del sys.modules[name]\n"
            "import attn8\nprint(attn8.backend())\nprint(attn8.backend())"
        )
        warning, *backends = said.splitlines()
        assert warning.startswith("attn8: forms/other cannot be loaded (incompatible .mpy")
        assert backends == ["viper", "viper"]
    finally:
        board.execute("import os\nos.remove('/lib/attn8/forms/other/__init__.mpy')\n"
                      "os.rmdir('/lib/attn8/forms/other')")
        board.enter_repl()


SWAPPED = """
import micropython

TEXT = "something that is an object of the file"


@micropython.viper
def plus_one(x: int) -> int:
    return x + 1


def text():
    return TEXT


@micropython.viper
def plus_two(x: int) -> int:
    return x + 2
"""


@pytest.mark.board("virtual")
def test_micropython_loads_what_is_linked(board, monkeypatch):
    # With the board's own machine code, each function's in the place of the other
    compiled = isa.compiler.compile_source(SWAPPED, board.info.arch)
    monkeypatch.setitem(isa.mpy.ARCHITECTURES, compiled[2] >> 2 & 15, board.info.arch)
    code = isa.mpy.functions(isa.mpy.read(compiled))
    first, last = code["plus_one"], code["plus_two"]
    assert mpy.link(compiled, {0: first, 2: last}) == compiled
    linked = mpy.link(compiled, {0: last, 2: first})
    board.write_file("/linked.mpy", linked)
    try:
        said = board.execute("import linked\nprint(linked.plus_one(1), linked.plus_two(1))\n"
                             "print(linked.text())")
        assert said == "3 2\nsomething that is an object of the file\n"
    finally:
        board.execute("import os\nos.remove('/linked.mpy')")
