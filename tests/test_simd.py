"""The kernels with vector instructions of ESP32-S3, in an emulation of these instructions.

Buffers are exactly as long as the board makes them, and what is around them is not mapped: a load
or store outside fails at once.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from attn8_host import forms, isa
from attn8_host.boards import BoardInfo
from attn8_host.cli import main
from attn8_host.cores.exact import normalize
from attn8_host.deploy import package_for
from attn8_host.errors import BoardError
from attn8_host.forms.pie import Pie
from attn8_host.isa import device as emulated
from attn8_host.isa import xtensa_simd
from attn8_host.isa.device import Device, machine_of
from attn8_host.proof.bench.count import layer, make_layer
from tests.test_kernels import dense_operands, fills, int8
from tests.test_turbo import check_arguments, count

machine_settings = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
offsets = st.integers(0, 15)


@pytest.fixture(scope="module")
def multiplying():
    """An ESP32-S3 with the kernels of the matrix product."""
    return machine_of("simd", "matmul")


@pytest.fixture(scope="module")
def attending():
    """And with those of attention."""
    return machine_of("simd", "attention")


def assembled(*instructions):
    """The code of some instructions: (name, operands ...)."""
    a = Pie()
    for name, *operands in instructions:
        getattr(a, name)(*operands)
    return a.code()


@pytest.mark.parametrize(
    "instruction, encoding",
    [  # As GNU as and LLVM of Espressif's toolchain encode them
        (("ee_zero_accx",), "04 08 25"),
        (("rur_accx_0", 11), "00 b0 e3"),
        (("ee_vld_128_ip", 3, 14, 1248), "e4 ce 93"),
        (("ee_vld_128_ip", 5, 6, -2048), "64 80 e3"),
        (("ee_vld_128_ip", 2, 3, 2032), "34 7f 93"),
        (("ee_vmulas_s8_accx_ld_ip", 2, 8, 80, 3, 0), "8e c5 02 f1"),
        (("ee_vmulas_s8_accx_ld_ip", 0, 2, 16, 3, 4), "2e e1 02 f0"),
        (("ee_vmulas_s16_accx_ld_ip", 7, 7, -16, 2, 0), "7e 8f 08 ff"),
    ],
)
def test_known_encodings(instruction, encoding):
    assert assembled(instruction).hex(" ") == encoding


def test_what_a_field_cannot_hold_is_refused():
    for instruction in (
        ("ee_vld_128_ip", 0, 2, 8), ("ee_vld_128_ip", 0, 2, 2048), ("ee_vld_128_ip", 0, 2, -2064),
        ("ee_vmulas_s8_accx_ld_ip", 0, 2, 512, 0, 1),
        ("ee_vmulas_s8_accx_ld_ip", 0, 2, -528, 0, 1),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="expected"):
            assembled(instruction)


@given(
    q=st.integers(0, 7), s=st.integers(0, 15), step=st.integers(-32, 31), x=st.integers(0, 7),
    y=st.integers(0, 7),
)
def test_the_emulator_reads_what_was_written(q, s, step, x, y):
    for name in ("ee_vmulas_s8_accx_ld_ip", "ee_vmulas_s16_accx_ld_ip"):
        read = xtensa_simd.decode(assembled((name, q, s, 16 * step, x, y)))
        assert (read.name, read.size) == (name.replace("_", "."), 4)
        assert (read.t, read.s, read.imm, read.r, read.m) == (q, s, 16 * step, x, y)
    read = xtensa_simd.decode(assembled(("ee_vld_128_ip", q, s, 64 * step + 16)))
    assert (read.name, read.size) == ("ee.vld.128.ip", 3)
    assert (read.t, read.s, read.imm) == (q, s, 64 * step + 16)
    read = xtensa_simd.decode(assembled(("rur_accx_0", s)))
    assert (read.name, read.size, read.r) == ("rur.accx_0", 3, s)


def test_no_other_instruction_is_taken_for_one_of_these():
    for code in ("04 08 35", "44 08 25", "10 b0 e3", "44 00 8a", "7e 8f 0c ff", "3f 34 9a f1"):
        assert xtensa_simd.decode(bytes.fromhex(code)) is None, code


def run(buffers, *instructions):
    """Runs instructions on a machine: a6 is the first argument, a7 the second, a2 the result."""
    code = assembled(
        ("entry", 1, 32), ("l32i", 6, 5, 0), ("l32i", 7, 5, 4), *instructions, ("retw",)
    )
    machine = isa.MACHINES["xtensawin"]({"f": code}, [])
    return machine.call("f", *(machine.buffer(b, 16, offset, guard=0) for b, offset in buffers))


def test_a_load_forces_the_address_down_and_the_product_is_of_before_it():
    rng = np.random.default_rng(0)
    x, y = (rng.integers(-128, 128, 32).astype(np.int8) for _ in range(2))
    products = [
        ("ee_zero_accx",),
        ("ee_vld_128_ip", 7, 6, 16),
        ("ee_vld_128_ip", 2, 7, 16),
        ("ee_vmulas_s8_accx_ld_ip", 7, 6, -16, 7, 2),  # from here on q7 is the second half
        ("ee_vmulas_s8_accx_ld_ip", 2, 7, 0, 7, 2),
        ("rur_accx_0", 2),
    ]
    expected = int(x[:16].astype(int) @ y[:16] + x[16:].astype(int) @ y[:16])
    assert run([(x, 0), (y, 0)], *products) == expected
    # An address of 5 more in between is that of the same 16 bytes
    products.insert(1, ("addi", 6, 6, 5))
    assert run([(x, 0), (y, 0)], *products) == expected


def test_a_load_of_16_bytes_has_to_be_mapped():
    short = np.zeros(12, np.int8)
    with pytest.raises(isa.MemoryFault, match="128-bit load from unmapped"):
        run([(short, 0), (short, 0)], ("ee_vld_128_ip", 0, 6, 16))


def test_accx_saturates_at_40_bits():
    lowest, highest = (int.from_bytes(bytes([b]) * 16, "little") for b in (0x80, 0x7F))
    square, product = 16 * 128**2, 16 * 128 * 127
    vmulas = xtensa_simd.vmulas_accx
    assert vmulas(5, lowest, lowest, "b") == 5 + square
    assert vmulas(5, lowest, highest, "b") == 5 - product
    assert vmulas(2**39 - square, lowest, lowest, "b") == 2**39 - 1
    assert vmulas(product - 1 - 2**39, lowest, highest, "b") == -(2**39)
    assert vmulas(5, lowest, highest, "h") == 5 - 8 * 0x7F80 * 0x7F7F
    assert vmulas(2**39 - 1, lowest, lowest, "h") == 2**39 - 1


class Buffers:
    """Places operands at given offsets from a multiple of 16, and checks what is around them."""

    def __init__(self, machine):
        machine.reset()
        self.machine = machine
        self.placed = []

    def __call__(self, data, offset=0):
        self.placed.append(self.machine.buffer(data, 16, offset, guard=0))
        return self.placed[-1]

    def check_guards(self):
        for buffer in self.placed:
            buffer.check_guards()


def rows_of(buffer, values):
    """The rows that a kernel packed, and what they are to be: filled up with zeros."""
    count, length = values.shape
    expected = np.pad(values, ((0, 0), (0, -length % 16)))
    start = -buffer.address % 16
    return buffer.read(np.int8)[start : start + expected.size].reshape(count, -1), expected


def check_matmul(machine, form, seed, rows, inputs, outputs, at, fill, wide):
    rng = np.random.default_rng(seed)
    x, w, bias, mult, shift, reference = dense_operands(rng, fill, rows, inputs, outputs, wide)

    place = Buffers(machine)
    of_weight, of_x, of_row = at
    weight = place(w.tobytes() + b"\x55" * (outputs * (-inputs % 16) + 31), of_weight)
    columns = [bias, mult, shift.astype(int) - 16, np.zeros(outputs)]
    constants = place(np.column_stack(columns).astype(np.int32))
    machine.call("_pack", weight, inputs, outputs)
    found, expected = rows_of(weight, w)
    assert (found == expected).all()
    out = place(np.zeros(rows * outputs, np.int32 if wide else np.int8), 0 if wide else 3)
    row = place(b"\x55" * form.room(inputs, rows)[0], of_row)
    machine.call("matmul", weight, 0, place(x, of_x), constants, 0, 0, out, row, rows, inputs,
                 outputs, int(wide))  # fmt: skip
    assert (out.read(reference.dtype) == reference.ravel()).all()
    place.check_guards()


@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 3),
    inputs=st.integers(1, 511),
    outputs=st.integers(1, 10),
    at=st.tuples(*[offsets] * 3),
    fill=fills,
    wide=st.booleans(),
)
@example(seed=0, rows=1, inputs=511, outputs=1, at=(15, 15, 15), fill="lowest", wide=True)
@example(seed=0, rows=1, inputs=511, outputs=1, at=(1, 1, 1), fill="opposite", wide=True)
@example(seed=0, rows=2, inputs=64, outputs=9, at=(0, 0, 0), fill="lowest", wide=False)
@example(seed=0, rows=2, inputs=16, outputs=3, at=(0, 8, 0), fill="extremes", wide=False)
def test_matmul(multiplying, on_device, seed, rows, inputs, outputs, at, fill, wide):
    form = on_device("attn8.forms.simd.matmul")
    check_matmul(multiplying, form, seed, rows, inputs, outputs, at, fill, wide)


@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1), rows=st.integers(2, 40), blocks=st.integers(1, 5),
    outputs=st.integers(1, 10), at=st.tuples(offsets, st.just(0), offsets), fill=fills,
)
def test_matmul_output_by_output(multiplying, on_device, seed, rows, blocks, outputs, at, fill):
    form = on_device("attn8.forms.simd.matmul")
    check_matmul(multiplying, form, seed, rows, 16 * blocks, outputs, at, fill, False)


def test_matmul_of_every_length(multiplying, on_device):
    form = on_device("attn8.forms.simd.matmul")
    for n in (*range(1, 512), 4096):
        at = (n % 16, n * 7 % 16, n * 3 % 16)
        check_matmul(multiplying, form, n, 2, n, 2, at, "random", n % 2)


@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1),
    seq_len=st.integers(1, 12),
    head_dim=st.integers(1, 80),
    causal=st.booleans(),
    at=st.tuples(*[offsets] * 3),
    fill=fills,
)
@example(seed=0, seq_len=2, head_dim=511, causal=True, at=(15, 15, 15), fill="lowest")
@example(seed=0, seq_len=9, head_dim=16, causal=True, at=(0, 0, 0), fill="random")
def test_scores(attending, on_device, seed, seq_len, head_dim, causal, at, fill):
    """In two blocks of rows."""
    rng = np.random.default_rng(seed)
    q, k = (int8(rng, fill, seq_len, head_dim) for _ in range(2))
    scores = q.astype(np.int32) @ k.T.astype(np.int32)
    if causal:
        scores[np.triu_indices(seq_len, 1)] = -(2**30)

    machine = attending
    place = Buffers(machine)
    of_keys, of_q, of_row = at
    key_bytes, _, _, row_bytes = on_device("attn8.forms.simd.attention").room(seq_len, head_dim)
    keys, row = place(b"\x55" * key_bytes, of_keys), place(b"\x55" * row_bytes, of_row)
    machine.call("pack_keys", place(k, of_q), keys, 0, seq_len, head_dim)
    found, expected = rows_of(keys, k)
    assert (found == expected).all()
    query = place(q, of_q)
    half = (seq_len + 1) // 2
    for first in range(0, seq_len, half):
        rows = min(half, seq_len - first)
        out = place(np.full(rows * seq_len, 77, np.int32))
        machine.call("scores", keys, 0, query, 0, out, row, first, rows, seq_len, head_dim,
                     int(causal))  # fmt: skip
        assert (out.read(np.int32) == scores[first : first + rows].ravel()).all()
    place.check_guards()


@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1), keys=st.integers(1, 130), value_dim=st.integers(1, 20),
    at=st.tuples(offsets, offsets), fill=fills, out_shift=st.integers(16, 45),
)
@example(seed=0, keys=516, value_dim=2, at=(15, 15), fill="lowest", out_shift=29)
@example(seed=0, keys=12, value_dim=16, at=(0, 0), fill="extremes", out_shift=17)
def test_weighted_sum(attending, on_device, seed, keys, value_dim, at, fill, out_shift):
    """Two rows of weights, in two calls; what follows the last is read and met by zeros."""
    rng = np.random.default_rng(seed)
    v = np.maximum(int8(rng, fill, keys, value_dim), -128 if keys < 512 else -127)
    weights = rng.choice([0, 1, 32767, 32768], (2, keys)).astype(np.uint16)
    weights[0] = weights[:, 0] = 32768  # the largest of each row
    sums = weights.sum(axis=1, dtype=np.int32)
    num = int(rng.integers(1 << 29, 1 << 30))
    place = Buffers(attending)
    of_values, of_v = at
    room = on_device("attn8.forms.simd.attention").room(keys, value_dim)[2]
    values = place(b"\x55" * room, of_values)
    attending.call("pack_values", place(v, of_v), values, keys, value_dim)
    packed = np.pad(-v.T.astype(np.int16), ((0, 0), (0, -keys % 8)))
    start = -values.address % 16
    assert bytes(values.read(np.uint8)[start : start + packed.nbytes]) == packed.tobytes()
    expected = normalize(weights.astype(np.int64) @ v.astype(np.int64), sums, num, out_shift)
    out = place(np.full(expected.size, 77, np.int8), 3)
    rows = place(weights.tobytes() + b"\x55" * 6)
    all_sums = place(sums)
    for first in range(2):
        attending.call("weighted_sum", values, 0, rows.address + 2 * keys * first,
                       all_sums.address + 4 * first, out, first, 1, keys, keys, value_dim, num,
                       out_shift)  # fmt: skip
    assert (out.read(np.int8).reshape(2, -1) == expected).all()
    place.check_guards()


def test_the_firmware_checks_number_and_type_of_all_arguments(
    multiplying, attending, monkeypatch
):
    check_arguments(multiplying, "simd", "matmul", monkeypatch)
    check_arguments(attending, "simd", "attention", monkeypatch)


def test_instructions_per_mac(multiplying, attending):
    def zeros(n):
        return np.zeros(n, np.uint8)

    def matmul(rows, wide):
        n = count(multiplying, "matmul", zeros(64 * 64 + 31), 0, zeros(rows * 64), zeros(16 * 64),
                  0, 0, zeros(4 * rows * 64), zeros(95), rows, 64, 64, wide)  # fmt: skip
        return n / (rows * 64 * 64)

    scores = count(attending, "scores", zeros(32 * 16 + 31), 0, zeros(32 * 16), 0,
                   zeros(4 * 32 * 32), zeros(47), 0, 32, 32, 16, 0)  # fmt: skip
    weighted_sum = count(attending, "weighted_sum", zeros(2 * 17 * 32 + 31), 0, zeros(2 * 32 * 32),
                         np.ones(32, np.int32), zeros(32 * 16), 0, 32, 32, 32, 16, 1 << 29,
                         29)  # fmt: skip
    macs = 32 * 32 * 16
    found = {"matvec": matmul(1, 1), "matmul": matmul(32, 0), "scores": scores / macs,
             "weighted_sum": weighted_sum / macs}  # fmt: skip
    limits = {"matvec": 0.33, "matmul": 0.25, "scores": 0.68, "weighted_sum": 1.15}
    assert {k: v for k, v in found.items() if v > limits[k]} == {}, found


def test_instructions_of_a_whole_layer():
    assert layer("xtensawin", "simd")["instructions_per_mac"] <= 0.57


def test_another_chip_meets_no_vector_instruction(monkeypatch, capsys):
    monkeypatch.setattr(xtensa_simd, "decode", lambda code: None)  # as an ESP32 reads code
    monkeypatch.setattr(xtensa_simd, "CONFIGID0", 0xC2BCFFFE)
    monkeypatch.setattr(emulated, "shared", emulated.shared.__wrapped__)  # none has decoded any yet
    with pytest.raises(isa.DecodeError):
        machine = machine_of("simd", "matmul")
        room = machine.buffer(bytes(64))
        machine.call("matmul", *[room] * 8, 1, 16, 1, 0)
    attn8 = Device("xtensawin", "simd").attn8
    assert [attn8.backend(), attn8.backend()] == ["turbo", "turbo"]
    assert capsys.readouterr().out == (
        "attn8: forms/simd is for another chip; a slower form is used. Run attn8 deploy.\n"
    )


def test_a_layer_gives_the_same_bits():
    outputs = {}
    for backend, form in (("turbo", "xtensa"), ("simd", "simd")):
        device = Device("xtensawin", backend)
        assert device.attn8.backend() == backend
        made, x = make_layer(device.attn8, 9, 24, 4)
        outputs[backend] = bytes(made(x))
        assert f"{form}.attention.scores" in device.tally.counted
    assert outputs["simd"] == outputs["turbo"]


def info(machine_name, mpy_version="6.3", arch="xtensawin"):
    return BoardInfo("serial", "/dev/null", "micropython", "1.26.1", machine_name, arch,
                     mpy_version)  # fmt: skip


def test_it_is_shipped_only_where_it_was_asked_for(monkeypatch, board):
    s3 = info("Generic ESP32S3 module with ESP32S3")
    for wanted in (None, "turbo", "viper"):
        monkeypatch.delenv("ATTN8_BACKEND", raising=False)
        if wanted:
            monkeypatch.setenv("ATTN8_BACKEND", wanted)
        assert not [path for path in forms.files_for(s3) if "simd" in path]
        assert not [path for path in package_for(board) if "simd" in path]
    monkeypatch.setenv("ATTN8_BACKEND", "simd")
    added = forms.files_for(s3, "simd").keys() - forms.files_for(s3, "turbo").keys()
    assert added == {f"forms/simd/{name}.mpy" for name in ("__init__", "attention", "matmul")}
    assert forms.files_for(s3) == forms.files_for(s3, "simd")
    for other in (
        info("Generic ESP32 module with ESP32"),
        info("Generic ESP32S2 module with ESP32S2"),
        info("ESP32C3 module with ESP32C3", arch="rv32imc"),
        info("Generic ESP32S3 module with ESP32S3", mpy_version="6.4"),
    ):
        with pytest.raises(BoardError, match="simd: expected an ESP32-S3 that reads"):
            forms.files_for(other)


def test_deploy_says_that_it_is_experimental(monkeypatch, capsys):
    files = forms.files_for(info("Generic ESP32S3 module with ESP32S3"), "simd")
    monkeypatch.setattr(forms, "files_for", lambda *_: files)
    assert main(["deploy", "--board", "virtual", "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "forms/simd is experimental: no chip has run it yet" in said


def test_deploy_refuses_other_boards_with_one_line(monkeypatch, capsys):
    monkeypatch.setenv("ATTN8_BACKEND", "simd")
    assert main(["deploy", "--board", "virtual", "--dry-run"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "backend simd: expected an ESP32-S3" in said and "Traceback" not in said
