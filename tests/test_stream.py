"""Streams: board and host make the same results of the same samples, however they come."""

import re
import runpy
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attn8_host.deploy import push
from attn8_host.errors import ModelError
from attn8_host.model import Model
from attn8_host.modelfile import pack
from attn8_host.paths import DEVICE
from attn8_host.quantize.model import quantize_model
from attn8_host.stream import Stream
from tests.compiled import compiled

EXAMPLES = DEVICE.parent / "examples/stream"
PATH = "/models/stream.safetensors"
WINDOW, CHANNELS, CLASSES = 8, 6, 3


def signal(rng, samples):
    """Raw integers of six channels [samples, 6]: about 0, or far from it, in three rhythms."""
    rhythm = np.repeat(rng.integers(1, 4, samples // 40 + 1), 40)[:samples]
    phase = np.cumsum(rhythm * 0.4)[:, None] + np.arange(CHANNELS)
    noise = rng.normal(0, 500, (samples, CHANNELS))
    x = 3000 * np.sin(phase) + noise + np.array([0, 0, 16384, 0, -900, 200])
    return x.astype(np.int32)


@pytest.fixture(scope="module")
def model(board):
    """A small classifier of windows, on the host and on the board."""
    rng = np.random.default_rng(7)
    x = np.lib.stride_tricks.sliding_window_view(signal(rng, 400), WINDOW, axis=0)
    windows = np.ascontiguousarray(x.transpose(0, 2, 1)).astype(np.float32)
    weight = rng.normal(size=(16, CHANNELS)) / 3000
    config = {
        "format": "attn8", "version": 1, "name": "stream",
        "input": {"shape": [WINDOW, CHANNELS]},
        "layers": [
            {"type": "dense", "name": "embed", "rows": WINDOW, "in_features": CHANNELS,
             "out_features": 16},
            {"type": "relu", "name": "relu"},
            {"type": "mean_pool", "name": "pool", "seq_len": WINDOW, "embed_dim": 16},
            {"type": "dense", "name": "head", "in_features": 16, "out_features": CLASSES,
             "output": "int32"},
        ],
    }  # fmt: skip
    tensors = {
        "embed.weight": weight, "embed.bias": -weight @ windows.mean(axis=(0, 1)),
        "head.weight": rng.normal(size=(CLASSES, 16)), "head.bias": np.zeros(CLASSES),
    }
    made = Model(*quantize_model(config, tensors, windows))
    push(board, PATH, pack(made.config, made.tensors))
    return made


SETUP = f"""
import attn8
found = []
def keep(stream):
    found.append((stream.label, list(stream.result), stream.overruns))
model = attn8.load({PATH!r})
stream = attn8.Stream(model, hop, keep, **options)
"""


def twin(model, hop, options):
    found: list[tuple[int | None, list[int], int]] = []
    return found, Stream(model, hop, lambda stream: found.append(
        (stream.label, stream.result.tolist(), stream.overruns)), **options)


@pytest.mark.parametrize(("kind", "hop", "options"), [
    ("int32", 1, {}), ("int16", 3, {"majority": 5}), ("float32", 8, {"hysteresis": 900}),
    ("int32", 11, {"threshold": 2000}),
    ("list", 2, {"majority": 2, "threshold": 3000, "hysteresis": 1500}),
])  # fmt: skip
def test_a_board_says_what_the_host_says(remote, model, kind, hop, options):
    rng = np.random.default_rng(hop)
    x = signal(rng, 150)
    if kind not in ("int32", "list"):
        x = np.clip(x, -32768, 32767).astype(kind)
    sizes = rng.integers(1, 2 * WINDOW + 2 * hop, 40).tolist()
    code = SETUP + f"""
at = 0
for n in sizes:
    block = x[at * {CHANNELS} : (at + n) * {CHANNELS}]
    stream({"list(block)" if kind == "list" else "block"})
    at += n
give(found)
"""
    got = remote(code, x=x.ravel(), sizes=sizes, hop=hop, options=options)
    want, stream = twin(model, hop, options)
    stream(x)
    assert got == want and len(want) == (min(sum(sizes), 150) - WINDOW) // hop + 1
    assert len({label for label, *_ in want}) > 1  # something was smoothed


@pytest.mark.parametrize("hop", [1, 3, WINDOW, 13])
def test_overruns_are_counted_and_the_same(remote, model, hop):
    rng = np.random.default_rng(hop)
    x = signal(rng, 300)
    sizes = rng.integers(0, 2 * hop + 2, 60)  # samples between two polls
    code = SETUP + f"""
at = 0
for n in sizes:
    for _ in range(n):
        stream.put(x[at * {CHANNELS} : (at + 1) * {CHANNELS}])
        at += 1
    if n % 2:
        stream.poll()
give(found)
give(stream.overruns)
"""
    got = remote(code, x=x.ravel(), sizes=sizes.tolist(), hop=hop, options={})
    want, stream = twin(model, hop, {})
    at = 0
    for n in sizes:
        stream.put(x[at : at + n])
        at += n
        if n % 2:
            stream.poll()
    # The board sees an overrun where it asks: at the last `poll`, as the twin
    assert got == [want, stream.overruns]
    assert stream.overruns > 0


@given(scores=st.lists(st.tuples(*[st.integers(-20, 20)] * 3), min_size=1, max_size=30),
       majority=st.integers(1, 6), threshold=st.none() | st.integers(-10, 15),
       hysteresis=st.integers(0, 10))
def test_smoothing_is_what_it_says(scores, majority, threshold, hysteresis):
    """Of the twin: a label has its majority, and its value is above what it may not fall below."""
    said: list[int | None] = []
    before = label = None
    for values in scores:
        best = max(range(3), key=lambda i: (values[i], -i))
        if before is not None and max(values) <= values[before] + hysteresis:
            best = before
        least = -99 if threshold is None else threshold - hysteresis * (best == before)
        before = best if values[best] >= least else None
        said.append(before)
        last = ([...] * majority + said)[-majority:]  # nothing was said before the first
        for option in (None, 0, 1, 2):
            if 2 * last.count(option) > majority:
                label = option
    stream = smoothing(majority, threshold, hysteresis)
    for values in scores:
        stream._smooth(np.array(values))
    assert stream.label == label


def smoothing(majority, threshold, hysteresis):
    config = {"name": "none", "input": {"shape": [1, 1]}, "layers": []}

    class Scores:
        input_size, tensors = 1, {"input.channels": np.array([[0, 0, 1 << 14, 16]], np.int32)}

    Scores.config = config
    return Stream(Scores(), 1, lambda stream: None, majority, threshold, hysteresis)


# A model whose results are given, and which takes time: `busy` runs meanwhile
GIVEN = """
import attn8
from array import array
class Scores:
    _channels, _inner = array("i", [0, 0, 1 << 14, 16]), 1
    input = array("b", [0])
    def __init__(self, rows, busy=lambda: None):
        self.rows, self.busy = iter(rows), busy
    def __call__(self):
        self.busy()
        return array("i", next(self.rows))
"""


def test_smoothing_on_the_board_is_that_of_the_host(remote):
    rng = np.random.default_rng(1)
    options = [{"majority": int(rng.integers(1, 6)), "hysteresis": int(rng.integers(0, 10)),
                "threshold": None if rng.random() < 0.3 else int(rng.integers(-10, 15))}
               for _ in range(20)]
    rows = rng.integers(-20, 21, (20, 30, 3))
    got = remote(compiled(GIVEN) + """
for given, option in zip(rows, options):
    labels = []
    stream = attn8.Stream(Scores(given), 1, lambda s: labels.append(s.label), **option)
    stream([0] * 30)
    give(labels)
""", rows=rows.tolist(), options=options)
    want = []
    for given_rows, option in zip(rows, options, strict=True):
        stream, labels = smoothing(**option), []
        for values in given_rows:
            stream._smooth(values)
            labels.append(stream.label)
        want.append(labels)
    assert got == want


def test_samples_come_while_the_model_computes(remote):
    """A soft interrupt puts samples during a call: none is lost, and what is too late is counted"""
    got = remote(compiled(GIVEN) + """
import micropython
count = 0
def tick(_):
    global count
    count += 1
    stream.put([count])
def busy():
    for _ in range(during):
        micropython.schedule(tick, 0)
        for _ in range(3):
            pass
seen = []
def keep(stream):
    seen.append((stream.overruns, count))
for during in (1, 4, 9):
    count = 0
    seen.clear()
    stream = attn8.Stream(Scores([[1, 0]] * 9, busy), 4, keep)
    while len(seen) < 5:
        if not stream.poll():
            tick(0)
    give(seen)
""")
    assert got == [
        [(0, 2), (0, 6), (0, 10), (0, 14), (0, 18)],  # a result at samples 1, 5, 9, 13 and 17
        [(0, 5), (0, 9), (0, 13), (0, 17), (0, 21)],  # 4 while it computes: the next is due at once
        # 9 while it computes: then of two results the older one is more than a hop late
        [(0, 10), (1, 19), (2, 28), (3, 37), (4, 46)],
    ]


@pytest.mark.parametrize("code", [
    "stream(x)", "stream.put(x)", "stream.put(x)\nstream.poll()\nstream.reset()",
])  # fmt: skip
def test_samples_need_no_heap(remote, model, code):
    setup = SETUP + (
        "stream = attn8.Stream(model, hop, lambda stream: stream.label, **options)\n"
        "x = array('h', [500] * 30 * 6)"
    )
    assert remote.needs_no_heap(code, setup, hop=3, options={"majority": 3, "threshold": 5})


def test_counts_go_round(remote, model):
    """After 2**29 samples the counts are small again, and nothing is to be seen of that."""
    x = signal(np.random.default_rng(0), 60)
    code = SETUP + """
stream._written = (1 << 29) - 20
stream.reset()
stream(x)
give(found)
"""
    want, stream = twin(model, 2, {})
    stream(x)
    assert remote(compiled(code), x=x.ravel(), hop=2, options={}) == want


@pytest.mark.parametrize(("code", "message"), [
    ("stream([1, 2, 3])", "stream: expected samples of 6 values, got 3 values"),
    ("stream(5)",
     "feed: expected array('f'), array('h'), array('i') or a list of numbers, got int"),
    ("stream([1] * 6 + [1, 2, float('nan'), 4, 5, 6])",
     "stream: sample 1, channel 2: expected a finite number, got nan"),
    ("attn8.Stream(5, 1, print)", "model: expected one that attn8.load gave, got int"),
    ("attn8.Stream(m, 1, 5)", "on_result: expected a function of the stream, got int"),
    ("attn8.Stream(m, 0, print)", "hop: expected 1 to 1048576, got 0"),
    ("attn8.Stream(m, 1, print, majority=0)", "majority: expected 1 to 255, got 0"),
    ("attn8.Stream(m, 1, print, threshold=0.5)", "threshold: expected int, got float"),
    ("attn8.Stream(m, 1, print, hysteresis=-1)",
     "hysteresis: expected 0 to 536870911, got -1"),
    ("attn8.Stream(m, 1, print, channels=5)",
     "stream: expected channels along the input's last axis, 6 of them, got 5"),
    ("attn8.Stream(attn8.load('/models/digits.safetensors'), 1, print)",
     "stream: the model's file has one scale for all of its input; say channels=N, how many values "
     "a sample has"),
])  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(remote, model, code, message):
    setup = SETUP.replace("hop", "1").replace("**options", "") + f"m = attn8.load({PATH!r})"
    assert remote.refused(code, setup) == message


def test_a_refused_sample_leaves_those_before(remote, model):
    x = signal(np.random.default_rng(2), 40)
    code = SETUP + """
block = list(x)
wrong = [block[0], float('inf')] + block[2:6]
for at in range(0, 240, 6):
    try:
        stream(wrong)
    except ValueError:
        stream(block[at : at + 6])
give(found)
"""
    want, stream = twin(model, 2, {})
    stream(x)
    assert remote(compiled(code), x=x.ravel(), hop=2, options={}) == want


def test_the_host_refuses_what_a_board_does(model):
    tensors = {name: each for name, each in model.tensors.items() if name != "input.channels"}
    with pytest.raises(ModelError, match=r"input\.channels along the input's last axis"):
        Stream(Model(model.config, tensors), 1, lambda stream: None)
    with pytest.raises(ModelError, match="channel 2: expected a finite number"):
        Stream(model, 1, lambda stream: None)(np.full((1, 6), [0, 0, np.nan, 0, 0, 0]))


# A chip's modules. Its sensors say what `x` holds; its timer ticks while the program sleeps, at
# `period` ms by the program's clock, but for the ticks that are `missed`
CHIP = """
import sys, time as real, micropython
class Pin:
    def __init__(self, number):
        self.number = number
class ADC:
    def __init__(self, pin):
        self.pin, self.at = pin.number, 0
    def read_u16(self):
        self.at += 1
        return x[(self.at - 1) * 6 + self.pin]
class I2C:
    awake = False
    at = 0
    def __init__(self, bus, scl, sda, freq):
        pass
    def writeto_mem(self, address, register, data):
        assert (address, register, data) == (0x68, 0x6B, b"\\0")
        self.awake = True
    def readfrom_mem_into(self, address, register, data):
        assert self.awake and (address, register) == (0x68, 0x3B)
        data[:] = raw[14 * self.at : 14 * self.at + 14]
        self.at += 1
class Timer:
    PERIODIC = 1
    callback = None
    def __init__(self, number):
        pass
    def init(self, period, mode, callback):
        Timer.period, Timer.callback = period, callback
    def deinit(self):
        Timer.callback = None
class Time:
    now = 0
    def ticks_ms(self):
        return self.now
    ticks_diff = staticmethod(lambda a, b: a - b)
    def sleep_ms(self, ms):
        self.now += ms
        if Timer.callback and self.now % Timer.period == 0 and self.now not in missed:
            micropython.schedule(Timer.callback, None)
class Machine:
    Pin, ADC, I2C, Timer = Pin, ADC, I2C, Timer
sys.modules["machine"], sys.modules["time"] = Machine, Time()
"""


@pytest.fixture
def examples(board, remote, model):
    """Runs code on a board that has the examples and a recorded signal, and a chip's modules."""
    x = signal(np.random.default_rng(3), 90)
    board.execute("import os\nif 'stream' not in os.listdir('/'): os.mkdir('/stream')")
    for path in EXAMPLES.glob("*.py"):
        board.write_file(f"/stream/{path.name}", path.read_bytes())
    board.write_file("/stream/signal.bin", x.astype("<i4").tobytes())
    raw = b"".join(struct.pack(">7h", *row[:3], 99, *row[3:]) for row in x.tolist())

    def run(code, options=None):
        board.enter_repl()
        setup = "import sys\nsys.path.insert(0, '/stream')\n" + CHIP + SETUP + code
        return remote(setup, x=x.ravel(), raw=raw, hop=4, options=options or {})

    yield x, run
    board.enter_repl()


@pytest.mark.board("virtual")
@pytest.mark.parametrize("sensor", [
    "from recorded import Sensor; sensor = Sensor('/stream/signal.bin', 6)",
    "from mpu6050 import Sensor; sensor = Sensor()",
    "from adc import Sensor; sensor = Sensor(range(6))",
])  # fmt: skip
def test_examples_differ_by_their_driver_alone(examples, model, sensor):
    x, run = examples
    got = run(f"""
missed = ()
{sensor}
from live import from_timer
give(from_timer(sensor, stream, 20, 90 * 0.02 + 0.002))
give(found)
""")
    want, stream = twin(model, 4, {})
    stream(x)
    assert got == [0, want]


@pytest.mark.board("virtual")
@pytest.mark.parametrize("code", [
    "from_loop(sensor, stream)", "asyncio.run(from_asyncio(sensor, stream, 1))",
])  # fmt: skip
def test_examples_run_in_a_loop_and_in_asyncio(examples, model, code):
    x, run = examples
    got = run(f"""
sys.modules["time"] = real
import asyncio
from recorded import Sensor
from live import from_asyncio, from_loop
sensor = Sensor('/stream/signal.bin', 6)
{code}
give(found)
""")
    want, stream = twin(model, 4, {})
    stream(x)
    assert got == want


@pytest.mark.board("virtual")
def test_a_gap_begins_a_new_window(examples, model):
    x, run = examples
    late, found = run("""
missed = 20 * 31, 20 * 32
from recorded import Sensor
from live import from_timer
give(from_timer(Sensor('/stream/signal.bin', 6), stream, 20, 90 * 0.02 + 0.002))
give(found)
""")
    want, stream = twin(model, 4, {})
    stream(x[:30])
    stream.reset()
    stream(x[31:88])  # the first one behind the gap says that there was one
    assert (late, found) == (1, want)


@pytest.mark.board("virtual")
def test_the_played_signal_is_known(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["play.py"])
    runpy.run_path(str(EXAMPLES / "play.py"), run_name="__main__")
    *lines, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"(\d+) results, 0 overruns; \1 as NumPy says", last)
    assert len(lines) > 4
    words = [line.split() for line in lines]
    assert all(label == true for _, _, label, *_, true in words)
