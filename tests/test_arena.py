"""What layers compute shares an arena: liveness, what both sides refuse, the heap that it saves.

A layer overwrites what no layer needs any more; so every tensor is read right after its layer ran.
"""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from attn8_host import arena, cores, layers, modelfile
from attn8_host.boards.virtual import open_virtual
from attn8_host.deploy import deploy, push
from attn8_host.errors import ModelError, RemoteError
from attn8_host.isa.device import Device
from attn8_host.layers.base import Signal
from attn8_host.model import Model
from attn8_host.numerics.scales import quantize
from attn8_host.plan.inference import loaded, one_layer, plan
from attn8_host.proof.compare import verify
from attn8_host.quantize.model import quantize_model
from tests.compiled import compiled
from tests.conftest import Remote
from tests.test_encoder import SEQ_LEN, Encoder

PATH = "/models/arena.safetensors"
WIDTH = 6
UNARY = ("relu", "gelu", "dense", "narrow", "transpose")


def graph(steps):
    """A float model of steps (kind, how far back its inputs are), and its calibration inputs."""
    rng = np.random.default_rng(7)
    entries, tensors, names, sizes = [], {}, ["input"], {"input": 4 * WIDTH}
    for n, (kind, back, other) in enumerate(steps):
        name = f"n{n}"
        source = names[-1 - back % len(names)]
        found = sizes[source]
        entry = {"type": kind, "name": name, "inputs": [source]}
        if kind == "gelu":
            entry["approximate"] = "none"
        elif kind == "transpose":
            entry |= {"rows": found // 2, "columns": 2}
        elif kind in ("dense", "narrow"):
            outputs = found // 4 if kind == "dense" else 4
            entry |= {"type": "dense", "rows": 4, "in_features": found // 4,
                      "out_features": outputs}
            tensors[f"{name}.weight"] = rng.normal(size=(outputs, found // 4)) / 2
            tensors[f"{name}.bias"] = rng.normal(size=outputs) / 4
            found = 4 * outputs
        elif kind in ("add", "multiply"):
            alike = [name for name in names if sizes[name] == found]
            entry["inputs"].append(alike[other % len(alike)])
        entries.append(entry)
        names.append(name)
        sizes[name] = found
    config = {"format": "attn8", "version": 1, "name": "graph",
              "input": {"shape": [4 * WIDTH]}, "layers": entries}
    return config, tensors, rng.normal(size=(6, 4 * WIDTH))


steps = st.lists(
    st.tuples(st.sampled_from((*UNARY, "add", "multiply")), st.integers(0, 3), st.integers(0, 9)),
    min_size=1, max_size=12,
)
bits = st.sampled_from([8, 16])  # of activations


def places(config):
    """Of each layer (its name, its offsets, its buffers, its inputs by whose result they are)."""
    signals = {"input": Signal("int8", 4 * WIDTH)}
    for entry, sources in zip(config["layers"], modelfile.inputs(config), strict=True):
        kind = layers.get(entry["type"])
        found = [signals[source] for source in sources]
        signals[entry["name"]] = kind.connect(entry, found)
        yield (entry["name"], entry["at"],
               kind.buffers(entry, found, signals[entry["name"]]), sources)


@profile(max_examples=150)
@given(steps, bits)
def test_nothing_is_overwritten_while_a_layer_needs_it(steps, bits):
    # A board is played with tags for bytes: who wrote each byte last
    try:
        config, _ = quantize_model(*graph(steps), activation_bits=bits)
    except ModelError:  # 0 throughout, say
        return
    arena.check(config)
    size = config["arena"]
    owner = np.full(size, -1)
    where = {}
    taken = {source for _, _, _, sources in places(config) for source in sources}
    for n, (name, at, buffers, sources) in enumerate(places(config)):
        for source in sources:
            if source != "input":
                assert (owner[where[source][0]] == where[source][1]).all(), (name, source)
        used = np.zeros(size, bool)
        for i, (start, buffer) in enumerate(zip(at, buffers, strict=True)):
            piece = slice(start, start + buffer.size)
            assert start % arena.ALIGNMENT == 0 and piece.stop <= size and not used[piece].any()
            used[piece] = True
            for source in sources:  # an input lies apart, or is the very same
                if source != "input":
                    other = where[source][0]
                    apart = piece.stop <= other.start or other.stop <= piece.start
                    assert apart or (buffer.over and piece == other)
            owner[piece] = 100 * n + i
        where[name] = slice(at[-1], at[-1] + buffers[-1].size), 100 * n + len(buffers) - 1
    for name, (piece, tag) in where.items():  # what none takes is there in the end
        assert name in taken or (owner[piece] == tag).all()


@profile(max_examples=12)
@given(steps, bits)
def test_the_boards_code_computes_the_same_with_an_arena_and_without(steps, bits):
    try:
        config, tensors = quantize_model(*graph(steps), activation_bits=bits)
    except ModelError:
        return
    x = np.random.default_rng(3).integers(-127, 128, 4 * WIDTH).astype(np.int8)
    reference = Model(config, tensors)
    want = reference(x)
    without = {key: value for key, value in config.items() if key != "arena"}
    for each in (config, without):
        model, _, _ = loaded(each, modelfile.pack(each, tensors), "rv32imc", "turbo")
        assert (model.arena is None) == (each is without)
        given = memoryview(x.tobytes()).cast("b")
        for own in (True, False):  # memory of the caller's, or what the model has, perhaps in there
            if not own:
                model.input[:] = given
            found = model(given) if own else model()
            assert (np.array(found) == want[reference.output].ravel()).all()


@pytest.fixture(scope="module")
def encoder():
    rng = np.random.default_rng(5)
    made = Encoder(rng, True)
    inputs = rng.normal(size=(6, SEQ_LEN, 6))
    return inputs, *quantize_model(made.config, made.tensors, inputs)


def position(config, kind, nth=0):
    return [i for i, entry in enumerate(config["layers"]) if entry["type"] == kind][nth]


DAMAGES = {
    "unaligned": lambda c: c["layers"][1]["at"].__setitem__(-1, 8),
    "negative": lambda c: c["layers"][1]["at"].__setitem__(-1, -16),
    "outside": lambda c: c["layers"][1]["at"].__setitem__(-1, c["arena"] // 16 * 16),
    "no number": lambda c: c["layers"][1]["at"].__setitem__(-1, "0"),
    "none": lambda c: c["layers"][1].pop("at"),
    "too few": lambda c: c["layers"][position(c, "attention")]["at"].pop(),
    "too many": lambda c: c["layers"][1]["at"].append(0),
    "arena too small": lambda c: c.update(arena=64),
    "on what add still takes": lambda c: c["layers"][position(c, "layer_norm")].update(
        at=[c["layers"][position(c, "layer_norm") - 1]["at"][-1]] * 2),
    "attention's q on its k": lambda c: c["layers"][position(c, "attention")]["at"].__setitem__(
        0, c["layers"][position(c, "attention")]["at"][1]),
    "a product on its own input": lambda c: c["layers"][position(c, "dense", 1)]["at"].__setitem__(
        -1, c["layers"][position(c, "dense", 1) - 1]["at"][-1]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_wrong_places_are_refused_on_both_sides(board, encoder, damage):
    _, config, tensors = encoder
    config = copy.deepcopy(config)
    Model(config, tensors)
    DAMAGES[damage](config)
    with pytest.raises(ModelError) as refused:
        modelfile.check_config(config)
        Model(config, tensors)
    assert "quantize the model again" in str(refused.value) and "\n" not in str(refused.value)
    push(board, PATH, modelfile.pack(config, tensors))
    with board.serve() as client, pytest.raises(RemoteError) as refused:
        client.load(PATH, need_weights=False)
    assert "quantize the model again" in str(refused.value) and "\n" not in str(refused.value)


def test_old_files_and_need_weights_keep_all_outputs(board, encoder):
    inputs, config, tensors = encoder
    board.enter_repl()
    old = {key: value for key, value in config.items() if key != "arena"}
    x = quantize(inputs[:2], config["input"]["scale"]).reshape(2, -1)
    for each in (config, old):
        push(board, PATH, modelfile.pack(each, tensors))
        with board.serve() as client:
            client.load(PATH, need_weights=False)
            assert bool(client.ends) == (each is config)
            found = verify(client, Model(each, tensors, need_weights=False), x)
            assert found.bit_exact, found.mismatched
            assert len(client.infer(x[0]).layers) == len(client.ends)
    board.enter_repl()
    said = board.execute(f"""
import attn8
model = attn8.load({PATH!r}, need_weights=False, share=False)
print(model.arena)
""")
    assert said.strip() == "None"


def test_an_input_in_the_arena_is_refused(board, encoder):
    _, config, tensors = encoder
    push(board, PATH, modelfile.pack(config, tensors))
    board.enter_repl()
    said = board.execute(f"""
import attn8
model = attn8.load({PATH!r})
x = memoryview(model.arena)[: len(model.input)]
try:
    model(x)
except ValueError as error:
    print(error)
""")
    assert said.strip() == "input: expected memory apart from arena"


def test_the_input_lies_in_the_arena_of_who_writes_it_before_each_call(board, encoder):
    _, config, tensors = encoder
    push(board, PATH, modelfile.pack(config, tensors))
    board.enter_repl()
    said = board.execute(f"""
import gc
import uctypes
import attn8
def inside(model):
    at = uctypes.addressof(model.input) - uctypes.addressof(model.arena)
    return 0 <= at <= len(model.arena) - len(model.input)
own = attn8.load({PATH!r})
shared = attn8.load({PATH!r}, share=True)
print(inside(own), inside(shared))
results = []
def run(model, again):
    x = model.input
    for i in range(len(x) if again else 0):
        x[i] = i * 37 % 255 - 127
    gc.collect()
    before = gc.mem_alloc()
    out = model(x)
    results.append((gc.mem_alloc() - before, bytes(out)))
    return bytes(x)
kept = run(own, True)
print(run(own, False) == kept, run(shared, True) == kept)
run(shared, True)
print(len(set(results)), results[0][0])
piece = memoryview(shared.arena)[: len(shared.input)]
try:
    shared(piece)
except ValueError as error:
    print(error)
del own, shared, piece  # whoever comes next needs their memory
""").splitlines()
    assert said == ["False True", "True False", "1 0", "input: expected memory apart from arena"]


def test_the_arena_is_a_fraction_of_all_outputs(encoder):
    _, config, tensors = encoder
    without = {key: value for key, value in config.items() if key != "arena"}
    shared = plan(config, tensors, predicted=lambda: (0, 0))
    own = plan(without, tensors, predicted=lambda: (0, 0))
    assert shared.buffers["arena"] == config["arena"]
    outputs = sum(size for name, size in own.buffers.items()
                  if name.endswith((".out", ".q", ".k", ".v", ".heads", "statistics", "sums")))
    assert 3 * config["arena"] < outputs
    assert own.ram - shared.ram > outputs - 1.2 * config["arena"]


@pytest.mark.parametrize(("n", "d"), [(16, 32), (64, 64)])  # whose results hold a core's state
@pytest.mark.parametrize("core", cores.all_cores())
def test_attention_with_every_core_computes_the_same_in_an_arena(board, core, n, d):
    config, tensors = one_layer(core, n, d, 4)
    config = arena.assign(config)
    push(board, PATH, modelfile.pack(config, tensors))
    x = np.random.default_rng(0).integers(-127, 128, (2, n * d)).astype(np.int8)
    board.enter_repl()
    with board.serve() as client:
        client.load(PATH, need_weights=False)
        found = verify(client, Model(config, tensors, need_weights=False), x)
    assert found.bit_exact, found.mismatched


# In machine code the rows of a call may be read again, or columns written before rows: nothing that
# a kernel still reads may lie where it writes
MACHINE_CODE = [("rv32imc", "turbo", core) for core in cores.all_cores()] + [
    (arch, backend, core) for core in ("exact", "sparse", "linear")
    for arch, backend in (("xtensawin", "turbo"), ("xtensawin", "simd"), ("esp32s2", "turbo"))]


@pytest.mark.parametrize(("arch", "backend", "core"), MACHINE_CODE)
def test_no_kernel_reads_what_it_has_overwritten(arch, backend, core):
    config, tensors = one_layer(core, 10, 16, 2)
    same_as_reference(config, tensors, arch, backend)


def same_as_reference(config, tensors, arch, backend):
    x = np.random.default_rng(3).integers(-127, 128, 160).astype(np.int8)
    model, _, _ = loaded(config, modelfile.pack(config, tensors), arch, backend)
    reference = Model(config, tensors)
    want = reference(x)[reference.output].ravel()
    assert (np.array(model(memoryview(x.tobytes()).cast("b"))) == want).all()


# As files had it before a layer's parts shared memory: offsets of q, k, v, heads, sums and results
BEFORE = {"int8": (816, [176, 336, 496, 656, 0]), "int16": (1600, [960, 1120, 1280, 1440, 0, 640])}


@pytest.mark.parametrize("output", BEFORE)
@pytest.mark.parametrize("arch", ["xtensawin", "rv32imc", "esp32s2"])
def test_files_of_before_run_with_their_places(arch, output):
    config, tensors = one_layer("exact", 10, 16, 2)
    config["arena"], config["layers"][0]["at"] = BEFORE[output]
    config["layers"][0]["output"] = output
    arena.check(config)
    same_as_reference(config, tensors, arch, "turbo")


def test_buffers_that_share_memory_do_so_in_the_emulator():
    device = Device("xtensawin")
    x = bytearray(b"\5\0\0\0")
    device.load("attn8.kernels.pointwise").relu(x, memoryview(x)[1:], 3)
    assert bytes(x) == b"\5\5\5\5"


FAR = """
from attn8.kernels.objects import part, view
block = bytearray((1 << 24) - 1)
block[far] = 7
block[far + 2] = 9
values = view(memoryview(block), ord("b"), far, 3)
give(list(values))
give(list(part(memoryview(b""), values, 1, 2)))
"""


def test_a_place_may_lie_up_to_16_million_bytes_behind_the_first():
    with open_virtual(heap_size="40M") as board:
        deploy(board)
        for far in (5, (1 << 23) - 1, 1 << 23, (1 << 24) - 16):
            assert Remote(board)(compiled(FAR), far=far) == [[7, 0, 9], [0, 9]]
