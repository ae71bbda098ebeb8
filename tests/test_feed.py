"""From what a sensor gives to int8: board and host make the same bits of it."""

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attn8_host.deploy import push
from attn8_host.errors import ModelError
from attn8_host.feed import clamped, constants, feed
from attn8_host.model import Model
from attn8_host.modelfile import pack
from attn8_host.quantize.model import quantize_model

from .test_kernels import Call, alignment, machine_settings

CODES = {"float32": 0, "int32": 1, "int16": 2}
EXTREMES = {
    "float32": np.array([0, -0.0, 1e-45, -1e-45, 1e-38, 3.4e38, -3.4e38, 0.5, -0.5, 2**30,
                         2**24 + 2], np.float32),
    "int32": np.array([0, 1, -1, 2**31 - 1, -(2**31), 2**30, -(2**30), 2**30 - 1], np.int32),
    "int16": np.array([0, 1, -1, 32767, -32768], np.int16),
}  # fmt: skip


def channels_of(rng, count, decades):
    """Constants of channels whose scales differ by up to 10**decades each way."""
    scales = 10.0 ** rng.uniform(-decades, decades, count)
    offsets = scales * rng.normal(0, 1, count) * 10.0 ** rng.uniform(0, 7, count)
    made = [constants(float(s), float(o)) for s, o in zip(scales, offsets, strict=True)]
    return np.array(made, np.int32), scales, offsets


def numbers(rng, kind, fill, scales, offsets):
    """Values of each channel."""
    n = len(scales)
    if fill == "extremes":
        return rng.choice(EXTREMES[kind], n)
    if fill == "bits":
        x = np.frombuffer(rng.bytes(4 * n), kind)[:n].copy()
        return np.where(np.isfinite(x), x, 0).astype(kind) if kind == "float32" else x
    # Between two steps of int8, and beyond the last ones
    x = (rng.integers(-140, 141, n) + rng.choice([0, 0.25, 0.5], n)) * scales + offsets
    limits = np.iinfo(kind) if kind != "float32" else np.finfo(kind)
    return np.clip(x, float(limits.min), float(limits.max)).astype(kind)


@machine_settings
@given(
    seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(sorted(CODES)),
    fill=st.sampled_from(["steps", "extremes", "bits"]), count=st.integers(1, 5),
    inner=st.integers(1, 4), rows=st.integers(1, 3), decades=st.sampled_from([0, 3, 18]),
    start=st.integers(0, 3), offset=alignment,
)
@example(seed=0, kind="int32", fill="extremes", count=1, inner=1, rows=3, decades=18, start=1,
         offset=0)
def test_the_kernel_is_the_reference(
    machines, seed, kind, fill, count, inner, rows, decades, start, offset
):
    rng = np.random.default_rng(seed)
    channels, scales, offsets = channels_of(rng, count, decades)
    place = np.arange(rows * count * inner) // inner % count
    x = numbers(rng, kind, fill, scales[place], offsets[place])
    call = Call(machines("feed"), offset)
    given = np.concatenate([np.zeros(start, x.dtype), x])
    *_, out, _ = call("feed", given, CODES[kind], start, 0, channels, count, inner,
                      np.zeros(len(x), np.int8), len(x))
    assert (out.read(np.int8) == feed(x, channels, inner)).all()


def test_what_comes_out_is_the_nearest_step():
    rng = np.random.default_rng(3)
    for _ in range(50):
        channels, scales, offsets = channels_of(rng, 1, 6)
        x = (offsets + scales * rng.uniform(-127, 127, 200)).astype(np.float32)
        steps = (x.astype(np.float64) - offsets) / scales
        # The multiplier has 15 bits, the offset at least 28 with the step's
        assert np.abs(feed(x, channels) - steps).max() <= 0.5 + 127 / 2**15 + 1 / 2**4


def test_whole_numbers_are_what_floats_are():
    rng = np.random.default_rng(4)
    for _ in range(50):
        channels, _, _ = channels_of(rng, 4, 3)
        x = rng.integers(-(2**24), 2**24, 40).astype(np.int32)
        assert (feed(x, channels) == feed(x.astype(np.float32), channels)).all()


def sensors(rng, rows=6, units=(1.0, 500.0, 1e-3), offsets=(0.0, 20.0, 101.325)):
    """A small model of channels in mixed units, and calibration inputs."""
    units, offsets = np.array(units), np.array(offsets)
    width = len(units)
    x = (rng.normal(size=(40, rows, width)) * units + offsets).astype(np.float32)
    weight = rng.normal(size=(8, width)) / units
    config = {
        "format": "attn8", "version": 1, "name": "sensors", "input": {"shape": [rows, width]},
        "layers": [{"type": "dense", "name": "embed", "rows": rows, "in_features": width,
                    "out_features": 8}],
    }
    return config, {"embed.weight": weight, "embed.bias": -weight @ offsets}, x


BOARD = """
import attn8
model = attn8.load("/models/sensors.safetensors")
for values in (x, list(x), memoryview(x)): give(array("b", model.feed(values)))
give(array(model.outputs[-1][1], model(model.feed(x))))
"""


@pytest.fixture(scope="module")
def model(board):
    config, tensors, x = sensors(np.random.default_rng(5))
    made = Model(*quantize_model(config, tensors, x))
    push(board, "/models/sensors.safetensors", pack(made.config, made.tensors))
    assert len(made.tensors["input.channels"]) == 3
    return made, x


@pytest.mark.parametrize("kind", sorted(CODES))
def test_a_board_feeds_as_the_host_does(remote, model, kind):
    made, x = model
    rng = np.random.default_rng(6)
    rows = [x[0].ravel(), x[1].ravel() * 100, rng.choice(EXTREMES["float32"], 18)]
    if kind != "float32":
        rows = [np.clip(row, -32768, 32767).astype(kind) for row in rows[:2]]
        rows.append(rng.choice(EXTREMES[kind], 18))
    for row in rows:
        want = made.feed(row.reshape(6, 3)).ravel()
        *fed, out = remote(BOARD, x=row.astype(kind))
        assert all((each == want).all() for each in fed)
        assert (out == made(want)["embed"].ravel()).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("array('f', [0] * 17)", "feed: expected 18 values, got 17"),
        ("array('f', [0] * 7 + [float('nan')] + [0] * 10)",
         "feed: value 7, channel 1: expected a finite number, got nan"),
        ("[0.5] * 17 + [float('-inf')]",
         "feed: value 17, channel 2: expected a finite number, got -inf"),
        ("['1'] * 18", "feed: expected float, got str"),
        ("[None] * 18", "feed: expected float, got NoneType"),
        ("bytes(18)", "feed: expected array('f'), array('h'), array('i') or a list of numbers, "
                      "got bytes"),
        ("5", "feed: expected array('f'), array('h'), array('i') or a list of numbers, got int"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_refused(remote, model, values, message):
    setup = "import attn8\nmodel = attn8.load('/models/sensors.safetensors')"
    assert remote.refused(f"model.feed({values})", setup) == message


def test_feeding_an_array_allocates_nothing(remote, model):
    assert remote.needs_no_heap("model(model.feed(x))", (
        "import attn8\nmodel = attn8.load('/models/sensors.safetensors')\n"
        "x = array('f', [0.5] * 18)"
    ))


def test_the_host_refuses_what_a_board_does(model):
    made, x = model
    for wrong in (np.nan, np.inf, -np.inf):
        x = x.copy()
        x[3, 2, 1] = wrong
        with pytest.raises(ModelError, match=f"channel 1: expected a finite number of 32 bits, got "
                                             f"{wrong}"):
            made.feed(x)
    with pytest.raises(ModelError, match="channel 2: expected a finite number"):
        made.feed(np.full((6, 3), [0, 0, 2**31]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, t: t.update({"input.channels": t["input.channels"][:2].copy()}),
         "input.channels: expected 3 rows, got 2"),
        (lambda c, t: t["input.channels"].__setitem__((0, 0), 101),
         "input.channels: "),
        (lambda c, t: t["input.channels"].__setitem__((0, 1), 2**30), "input.channels: "),
        (lambda c, t: t["input.channels"].__setitem__((0, 2), 5), "input.channels"),
        (lambda c, t: t["input.channels"].__setitem__((0, 3), 46), "input.channels"),
        (lambda c, t: c["input"].update(axis=2), "input.axis: "),
        (lambda c, t: t.update({"input.channels": t["input.channels"].astype(np.int16)}),
         "input.channels: expected "),
    ],
)  # fmt: skip
def test_constants_of_a_file_are_checked_by_both(board, remote, model, change, message):
    made, _ = model
    config = json.loads(json.dumps(made.config))
    tensors = {name: tensor.copy() for name, tensor in made.tensors.items()}
    change(config, tensors)
    with pytest.raises(ModelError, match=message):
        Model(config, tensors)
    push(board, "/models/wrong.safetensors", pack(config, tensors))
    said = remote.refused("attn8.load('/models/wrong.safetensors')", "import attn8")
    assert said.startswith(f"/models/wrong.safetensors: {message}")


def test_a_model_without_channels_says_what_to_do(board, remote, model):
    made, _ = model
    tensors = {name: values for name, values in made.tensors.items() if name != "input.channels"}
    push(board, "/models/old.safetensors", pack(made.config, tensors))
    said = remote.refused("attn8.load('/models/old.safetensors').feed([0] * 18)", "import attn8")
    assert "which attn8 quantize makes of all but token ids" in said


def test_channels_beyond_their_range_are_named(model):
    made, x = model
    assert clamped(made.config, made.tensors, x) == []
    (line,) = clamped(made.config, made.tensors, x * np.float32([1, 9, 1]))
    assert line.startswith("input channel 1: ")


@pytest.mark.parametrize("scale, offset, message", [
    (1.0, 1e9, "too far from 0 for steps of 1"), (1e-40, 0, "scale them first"),
    (1e37, 0, "scale them first"),
])
def test_channels_that_no_integers_express_are_refused(scale, offset, message):
    with pytest.raises(ModelError, match=message):
        constants(scale, offset)
