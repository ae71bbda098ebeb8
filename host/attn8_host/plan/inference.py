"""`attn8 plan`: what a model or one attention layer takes on a board, before there is one.

The device's own Python loads the model here (see isa.device): its objects are then real, and what
they take in MicroPython's heap follows from its object layout (see heap.py). So are the counts of
instructions, by the emulators of both chips.
"""

from array import array
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np

from .. import arena, cores, forms, isa, layers, modelfile
from ..deploy import compile_device
from ..errors import Attn8Error
from ..isa import mpy
from ..isa.device import Device, Tally
from ..isa.importer import module
from ..layers.base import INT16
from ..layers.convert import requantizing
from ..numerics.scales import linear
from ..schema import MAX_INPUTS, check
from .heap import Heap, Package, Peak, standing_in

CLOCKS = (80, 160, 240)  # MHz
# Bytes free in the Python heap after start-up, and for native code, as measured on v1.26 firmware
CHIPS = {"ESP32": (112_000, 110_000), "ESP32-C3": (112_000, 110_000)}
STREAMED = 1024  # bytes of weights that may stay in a file (device/attn8/loading.py)
SCALE = 0.03  # of all values of a layer that only its sizes describe
Config = dict[str, Any]  # of a model file
Tensors = dict[str, np.ndarray]
Model = tuple[Config, Tensors]
Given = list[tuple[Any, int]]  # see served


@dataclass
class Plan:
    """What it takes; the keys of the JSON. Sizes in bytes."""

    name: str
    arch: str
    backend: str
    flash: int  # the package's files, and the model's
    exec_ram: int  # machine code of the kernels in use
    required: dict[str, int]  # what each layer asks of the heap before it makes its buffers
    buffers: dict[str, int]  # arrays, parameters among them, by what holds them
    sharing: dict[str, int]  # what each layer that shares the arena has in it
    ram: int  # all of the model: arrays and the objects around them
    server: int  # of what serves it to a host: its buffers, and what it says of the outputs
    package: int  # of the package's own code, once the model is loaded
    peak_heap: int  # the most that all of them take while it loads, and after
    macs: int | None  # multiply-accumulates of one inference; None for a training file
    instructions: int | None  # predicted, of one inference; None where it fits nowhere
    cycles: int | None  # they take, by a model of the core's pipeline (isa.pipeline)
    pipeline: str  # the core that is modelled
    milliseconds: dict[str, float]  # predicted at each clock
    fits: dict[str, bool]  # by chip
    text: bool = False  # whether it takes a token at a time, with its weights in the file
    read: int | None = None  # bytes of its file that a token of a text reads, its weights above all
    reads: int | None = None  # how many they are
    # What peak_heap is where weights stay in the file, as they do on a board where they would not
    # fit; None of a model whose weights are few, of a text or a training file
    streamed_peak: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def at_rate(self, rate: int) -> dict[str, float]:
        """Tokens a second of a text at each clock, whose file is read at `rate` bytes a second
        before or behind the computing.

        Raises:
            Attn8Error: what is planned reads no file for each token.
        """
        if self.read is None:
            raise Attn8Error(f"--flash-rate: {self.name} is no model of text, which alone is read "
                             "for each token; leave it out")
        reading = 1000 * self.read / rate
        return {clock: round(1000 / (time + reading), 1)
                for clock, time in self.milliseconds.items()}


POSITION = 100  # of the token of a text that is counted
MOST = 1 << 22  # values of an input, as model files have it


def one_layer(
    core: str, seq_len: int, embed_dim: int, num_heads: int, causal: bool = False,
    options: dict[str, Any] | None = None,
) -> Model:
    """A model (config, tensors) of one attention layer with random weights.

    Args:
        core: a name of docs/mechanisms.md.
        seq_len: tokens.
        embed_dim: values of a token.
        num_heads: divides embed_dim.
        causal: whether a token sees only those before it.
        options: of the core by keyword; `features` of the performer is their number.

    Raises:
        Attn8Error: there is no such core or option.
    """
    kind = cores.get(core)
    if not 1 <= embed_dim <= MAX_INPUTS:
        raise Attn8Error(f"attn.embed_dim: expected 1 to {MAX_INPUTS}, got {embed_dim}")
    if embed_dim % num_heads:
        raise Attn8Error(f"--embed-dim: expected a multiple of {num_heads} heads, got {embed_dim}")
    if seq_len * embed_dim > MOST:
        raise Attn8Error(
            f"--seq-len and --embed-dim: expected at most {MOST} values of input, got "
            f"{seq_len * embed_dim}"
        )
    options = kind.planned(seq_len) | (options or {})
    head_dim = embed_dim // num_heads
    rng = np.random.default_rng(0)
    parameters = kind.parameters(rng, num_heads, head_dim, options)
    check(f"{core}.options", options, {}, kind.options)
    try:
        wide = kind.format == INT16
        step = SCALE / 128 if wide else SCALE
        scales = {part: 127 * SCALE / most for part, most in kind.most(head_dim).items()}
        scales["heads"] = step
        constants, made = kind.quantize(head_dim, scales, options, parameters)
    except (TypeError, ValueError) as error:
        raise Attn8Error(f"{core}: {error}") from None
    tensors: Tensors = {f"attn.core.{key}": values for key, values in made.items()}
    for part in ("q", "k", "v", "out"):
        weight = rng.normal(size=(embed_dim, embed_dim)) / np.sqrt(embed_dim)
        made = linear(weight, np.zeros(embed_dim), step, scales.get(part, step), wide)
        made.pop("scale")
        tensors |= {f"attn.{part}.{key}": values for key, values in made.items()}
    entry = {
        "type": "attention", "name": "attn", "core": core, "seq_len": seq_len,
        "embed_dim": embed_dim, "num_heads": num_heads, "causal": causal or kind.always_causal,
        "constants": constants, "options": options,
    }  # fmt: skip
    config = {
        "format": "attn8", "version": 1, "name": f"{core} {seq_len} x {embed_dim} x {num_heads}",
        "input": {"shape": [seq_len * embed_dim], "scale": SCALE},
        "layers": [requantizing("wide", SCALE / step), entry] if wide else [entry],
    }  # fmt: skip
    return arena.assign(config), tensors


def layer_plan(
    core: str, seq_len: int, embed_dim: int, num_heads: int, causal: bool = False,
    options: dict[str, Any] | None = None, arch: str = "xtensawin", backend: str = "turbo",
    word: int = 4,
) -> Plan:
    """Plans one attention layer; the arguments are those of one_layer and of plan."""

    def of_length(n: int) -> Model:
        return one_layer(core, n, embed_dim, num_heads, causal, options)

    growth = Growth(of_length, embed_dim, options, arch, backend)
    predicted = partial(growth, seq_len) if seq_len > growth.longest else None
    return plan(*of_length(seq_len), arch, backend, word, predicted)


class Growth:
    """Instructions and cycles of one attention layer by its tokens: growth(seq_len).

    Up to `longest` they are counted. Beyond they are continued by the quadratic through three
    counts: their number is a + b * seq_len + c * seq_len**2, once windows are full and blocks
    whole.

    Args:
        of_length: the layer of so many tokens.
        embed_dim, options: as one_layer takes them.
        arch, backend: as predict takes them.
    """

    def __init__(self, of_length: Callable[[int], Model], embed_dim: int, options: Any, arch: str,
                 backend: str):
        self._of_length = of_length
        self._kind = arch, backend
        step = 36 if embed_dim <= 64 else 12
        first = step * (2 * _largest(options) // step + 1)
        self._lengths = [first, first + step, first + 2 * step]
        self.longest = self._lengths[-1]

    def _count(self, seq_len: int) -> tuple[int, int]:
        return predict(*self._of_length(seq_len), *self._kind)

    @cached_property
    def _quadratics(self) -> list[np.ndarray]:
        counts = [self._count(n) for n in self._lengths]
        return [np.polyfit(self._lengths, of, 2) for of in zip(*counts, strict=True)]

    def __call__(self, seq_len: int) -> tuple[int, int]:
        if seq_len <= self.longest:
            return self._count(seq_len)
        instructions, cycles = (round(float(np.polyval(of, seq_len))) for of in self._quadratics)
        return instructions, cycles


def _largest(options: Any) -> int:
    """The largest number in the options of a core, such as a window."""
    if isinstance(options, dict):
        options = list(options.values())
    if isinstance(options, list):
        return max(map(_largest, options), default=0)
    return options if isinstance(options, int) else 0


def plan(
    config: Config, tensors: Tensors, arch: str = "xtensawin",
    backend: str = "turbo", word: int = 4,
    predicted: Callable[[], tuple[int, int]] | None = None,
    settle: Callable[[Any], object] | None = None, given: Given | None = None,
) -> Plan:
    """Plans a model.

    Args:
        config, tensors: as in its model file.
        arch: of the machine code, one of isa.ISAS.
        backend: the kernels that are deployed for it, "turbo" or "viper".
        word: bytes of the board's word, 4 on a chip, 8 on the unix port.
        predicted: gives the instructions and cycles of one inference; by default they are counted.
        settle: called with the device's model before its memory is counted.
        given: see served.

    Raises:
        Attn8Error: the device refuses the model.
    """
    streamed = None
    if word == 4 and config["format"] == "attn8" and "text" not in config and any(
            name.endswith(".weight") and tensor.dtype == np.int8 and tensor.size >= STREAMED
            for name, tensor in tensors.items()):
        streamed = _plan(config, tensors, arch, backend, word, lambda: (0, 0), settle, None, True)
    return _plan(config, tensors, arch, backend, word, predicted, settle, streamed, given=given)


def _plan(
    config: Config, tensors: Tensors, arch: str, backend: str, word: int,
    predicted: Callable[[], tuple[int, int]] | None, settle: Callable[[Any], object] | None,
    streamed: Plan | None, stream: bool = False, given: Given | None = None,
) -> Plan:
    # streamed: what it takes where weights stay in the file, if they may; stream: they do
    files = compile_device(isa.MACHINES[arch].code) | forms.files_of(arch, backend)
    data = modelfile.pack(config, tensors)
    peak = Peak(word)
    stand_ins = {"array": peak.array, "json": peak.json}
    if stream or "text" in config:  # as where little is free: then nothing is held back
        stand_ins["gc"] = module("gc", collect=lambda: None, mem_free=lambda: 0,
                                 threshold=lambda *amount: -1)
    device = Device(arch, backend, stand_ins)
    peak.package = package = Package(_modules(files), device.importer)
    objects = vars(device.load("attn8.kernels.objects"))
    objects["view"] = peak.watch(objects["view"])
    memory = vars(device.load("attn8.memory"))
    memory["forget"] = peak.before(memory["forget"])
    server, required = served(device, config, data, given=given)
    model = server._model
    if settle:
        settle(model)
    heap = Heap(word, names=peak.names)
    heap.add(device.load("attn8.forms").scratch.bytes, "scratch")
    heap.add(device.load("attn8.forms").weights.bytes, "weights")
    computing = getattr(model, "model", model)  # what a trainer trains
    if getattr(computing, "arena", None):
        heap.add(computing.arena, "arena")
    entries = [e for e in config["layers"] if layers.get(e["type"]).computes]
    for entry, layer in zip(entries, computing.layers, strict=True):
        heap.add(layer, entry["name"])
    heap.add(model)
    ram, buffers = heap.total, dict(heap.buffers)
    heap.add(server)
    own = heap.total - ram
    code = package.total(heap, server)
    exec_ram = sum(machine_code(file) for name, file in package.files.items()
                   if name in device.importer.imported)
    load_peak = max(peak.total, ram + own + code)
    # No chip has them
    doubles = "double" in (config.get("numbers"), *(e.get("format") for e in config["layers"]))
    least = min(load_peak, streamed.peak_heap if streamed else load_peak)
    fits = {chip: least < free and exec_ram < room and not doubles
            for chip, (free, room) in CHIPS.items()}
    training = config["format"] == "attn8-train"
    instructions = cycles = read = reads = None
    if any(fits.values()) or "text" in config:
        if predicted:
            instructions, cycles = predicted()
        else:
            tally = executed(config, tensors, arch, backend)
            instructions, cycles = tally.instructions, tally.cycles
            if "text" in config:
                read, reads = tally.read, tally.reads
    return Plan(
        name=config["name"],
        arch=arch,
        backend=backend,
        flash=sum(map(len, files.values())) + len(data),
        exec_ram=exec_ram,
        required=required,
        buffers={_tidy(name): size for name, size in buffers.items()},
        sharing=arena.sharing(config),
        ram=ram,
        server=own,
        package=code,
        peak_heap=load_peak,
        macs=None if training else _macs(config, tensors),
        instructions=instructions,
        cycles=cycles,
        pipeline=isa.MACHINES[arch].pipeline.core,
        milliseconds={f"{mhz} MHz": round(cycles / mhz / 1000, 2) for mhz in CLOCKS if cycles},
        fits=fits,
        text="text" in config,
        streamed_peak=streamed.peak_heap if streamed else None,
        read=read,
        reads=reads,
    )


def loaded(
    config: Config, data: bytes, arch: str, backend: str,
) -> tuple[Any, Device, dict[str, int]]:
    """A model file as the device loads it: (its model, the device, what it required)."""
    device = Device(arch, backend)
    server, required = served(device, config, data)
    return server._model, device, required


def served(
    device: Device, config: Config, data: bytes, need_weights: bool = False,
    given: Given | None = None,
) -> tuple[Any, dict[str, int]]:
    """The device's server, which has loaded a model file, and what it required.

    Args:
        given: samples, of what trains on a board alone: the first layers make features of them (see
            device/attn8/train/features.py). Instead of a server there is then only what it trains.
    """
    required: dict[str, int] = {}

    def require(what: str, size: int) -> None:
        required[what] = max(size, required.get(what, 0))

    memory = vars(device.load("attn8.memory"))
    memory["require"] = standing_in(require, memory["require"])
    if given is None:
        server = device.load("attn8.link.server").Server()
        server._frames.sequence = 0  # of the request
    else:
        server = SimpleNamespace()
        for name in ("fitting", "samples"):
            device.load(f"attn8.train.{name}")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        path.write_bytes(data)
        kind = 2 if config["format"] == "attn8-train" else int(need_weights)
        try:
            if "text" in config:  # it takes a token at a time, and its weights stay in the file
                load = device.load("attn8.model").load
                server._model = load(str(path), step=True, weights="stream")
                device.load("attn8.text")
            elif given is not None:
                made = device.load("attn8.train.features")
                _, given = made.features(str(path), given)
                vars(device.load("attn8.memory"))["forget"]("attn8.train.features")
                server._model = device.load("attn8.train").load(str(path), given)
                server._model.restore(str(path))
            else:
                server._load(bytes([kind]) + str(path).encode())
        except (ValueError, TypeError) as error:
            raise Attn8Error(str(error).replace(str(path), config["name"])) from None
    if str(path) in required:  # weights that stay there require nothing
        required["the file"] = required.pop(str(path))
    return server, required


def _modules(files: Mapping[str, bytes]) -> dict[str, mpy.Mpy]:
    """Compiled files by the names of their modules: attn8.layers of layers/__init__.mpy."""
    read = {}
    for path, data in files.items():
        if not path.endswith(".mpy"):
            continue
        parts = path.removesuffix(".mpy").split("/")
        read[".".join(["attn8", *(part for part in parts if part != "__init__")])] = mpy.read(data)
    return read


def predict(config: Config, tensors: Tensors, arch: str, backend: str) -> tuple[int, int]:
    """Instructions and cycles of one inference: the kernels' counted and modelled, the calls
    between them estimated (see executed)."""
    tally = executed(config, tensors, arch, backend)
    return tally.instructions, tally.cycles


def executed(config: Config, tensors: Tensors, arch: str, backend: str) -> Tally:
    """What one inference executes; of text, what a token at POSITION does.

    A kernel is run once for calls of the same sizes.
    """
    model, device, _ = loaded(config, modelfile.pack(config, tensors), arch, backend)
    for layer in model.layers if "text" in config else ():
        if hasattr(layer, "length"):
            layer.length = min(POSITION, layer.seq_len) - 1
    x = array(model.code, bytes(len(model.input) * model.input.itemsize))  # all vocabularies have 0
    if model.code == "b":
        rng = np.random.default_rng(0)
        x = array("b", rng.integers(-127, 128, len(x)).astype(np.int8).tobytes())
    device.tally.known = {}
    device.tally.count(model, x)
    return device.tally


def _macs(config: Config, tensors: Tensors) -> int:
    """Multiply-accumulates of one inference, by the layers' own count; of text a first token's."""
    total = 0
    for entry in config["layers"]:
        kind = layers.get(entry["type"])
        own = modelfile.parts(entry, kind.tensors(entry), tensors)  # of all tokens
        if "text" in config:
            entry = kind.one_token(entry, config["input"]["shape"][0])
        total += kind.work(entry, own)
    return total


def machine_code(file: mpy.Mpy) -> int:
    """Bytes of machine code in an .mpy file."""

    def size(code: mpy.RawCode) -> int:
        own = 0 if code.kind == mpy.Kind.BYTECODE else len(code.data)
        return own + sum(map(size, code.children))

    return size(file.root)


def _tidy(name: str) -> str:
    """A path of attributes without what only the code needs: attn._calls.linear.weight."""
    parts = [part.lstrip("_") for part in name.split(".")]
    return ".".join(part for part in parts if part != "linear")
