"""Whole models on the board: 100 steps bit for bit, no allocation, bad input refused."""

import re

import numpy as np
import pytest

from attn8_host.paths import DEVICE
from attn8_host.train import arithmetic as formats
from attn8_host.train.arithmetic import ratio
from attn8_host.train.model import Model
from tests.compiled import compiled
from tests.test_zero_allocation import GROWN

TRAIN = compiled("""
from attn8.train.model import Model
tensors = dict(tensors)
model = Model(config, tensors)
losses = array("i")
for step in range(len(y) // batch):
    for i in range(step * batch, (step + 1) * batch):
        losses.append(model.accumulate(x[i * size : i * size + size], y[i : i + 1]))
    model.step()
give(losses)
for p in model.params:
    give(p.value)
give(model.f.overflows)
""")

ADAM = {"type": "adam", "lr": ratio(0.01), "beta1": ratio(0.9), "beta2": ratio(0.999),
        "eps": ratio(0.001)}
SGD = {"type": "sgd", "lr": ratio(0.02), "momentum": ratio(0.9)}


def transformer(**changes):
    """The published tiny transformer, as a training config."""
    attention = {"type": "attention", "name": "attn", "seq_len": 4, "embed_dim": 8, "num_heads": 2}
    config = {
        "numbers": "Q16.16",
        "input": {"size": 4},
        "layers": [
            {"type": "dense", "name": "embed", "in_features": 4, "out_features": 32},
            {"type": "relu", "name": "relu"},
            attention | changes.pop("attention", {}),
            {"type": "mean_pool", "name": "pool", "seq_len": 4, "embed_dim": 8},
            {"type": "dense", "name": "head", "in_features": 8, "out_features": 3},
        ],
        "loss": "cross_entropy",
        "optimizer": ADAM,
        "clip_norm": 1.0,
    }
    return config | changes


def parameters(rng, config):
    """Random floats, of the usual size, for the config's layers."""
    tensors = {}

    def dense(name, inputs, outputs):
        tensors[f"{name}.weight"] = rng.normal(size=(outputs, inputs)) / np.sqrt(inputs)
        if layer.get("bias", True):
            tensors[f"{name}.bias"] = rng.normal(size=outputs) / 10

    for layer in config["layers"]:
        if layer["type"] == "self_attention_1d":
            e, p = layer["embed_dim"], layer["projection_dim"]
            tensors[f"{layer['name']}.weights"] = rng.normal(size=(3, e, p)) / np.sqrt(e)
            tensors[f"{layer['name']}.biases"] = rng.normal(size=(3, p)) / 10
        elif layer["type"] == "conv1d":
            dense(layer["name"], layer["kernel_size"], layer["filters"])
        elif layer["type"] == "dense":
            dense(layer["name"], layer["in_features"], layer["out_features"])
        elif layer["type"] == "attention":
            for part in ("q", "k", "v", "out"):
                dense(f"{layer['name']}.{part}", layer["embed_dim"], layer["embed_dim"])
    return tensors


def upload(remote, tensors, f):
    """The code that makes `tensors` of int32 words on the board."""
    for name, values in tensors.items():
        remote("try:\n    tensors\nexcept NameError:\n    tensors = {}\ntensors[name] = values\n",
               name=name, values=f.array(values).astype(np.int32).ravel())


# Features of a signal, then attention over time, as sensor pipelines have it
SENSOR = {
    "input": {"size": 20},
    "layers": [
        {"type": "conv1d", "name": "conv", "length": 20, "kernel_size": 5, "stride": 2,
         "filters": 4},
        {"type": "self_attention_1d", "name": "attn", "seq_len": 8, "embed_dim": 4,
         "projection_dim": 6},
        {"type": "mean_pool", "name": "pool", "seq_len": 8, "embed_dim": 6},
        {"type": "dense", "name": "head", "in_features": 6, "out_features": 3},
    ],
}
# The same without any bias, and another attention
BIAS_FREE = {
    "input": {"size": 20},
    "layers": [
        {"type": "conv1d", "name": "conv", "length": 20, "kernel_size": 5, "stride": 2,
         "filters": 4, "bias": False},
        {"type": "attention", "name": "attn", "seq_len": 8, "embed_dim": 4, "num_heads": 2,
         "bias": False},
        {"type": "mean_pool", "name": "pool", "seq_len": 8, "embed_dim": 4},
        {"type": "dense", "name": "head", "in_features": 4, "out_features": 3, "bias": False},
    ],
}
PERCEPTRON = {
    "loss": "mse",
    "layers": [
        {"type": "dense", "name": "a", "in_features": 4, "out_features": 8},
        {"type": "relu", "name": "r"},
        {"type": "dense", "name": "b", "in_features": 8, "out_features": 1},
    ],
}


@pytest.mark.parametrize(
    "changes, batch, spread",
    [
        ({}, 1, 1.0),
        (SENSOR | {"numbers": "Q24.8", "optimizer": SGD}, 1, 1.0),
        ({"numbers": "Q24.8"}, 1, 1.0),
        ({"attention": {"recompute": True}, "optimizer": SGD}, 1, 1.0),
        (PERCEPTRON, 2, 1.0),
        (SENSOR, 1, 1.0),
        (BIAS_FREE, 1, 1.0),
        (SENSOR | {"optimizer": SGD | {"lr": (1 << 15, 15)}}, 1, 99.0),
        (PERCEPTRON | {"optimizer": SGD | {"lr": (1 << 15, 15)}}, 1, 99.0),  # it saturates
        ({"numbers": "Q8.8", "optimizer": SGD,
          "schedule": {"warmup_steps": 10, "total_steps": 90}}, 1, 1.0),
    ],
    ids=["adam", "sensor in Q24.8", "adam in Q24.8", "recompute", "mse", "sensor", "no bias",
         "sensor overflow", "overflow", "Q8.8"],
)
def test_a_hundred_steps_are_equal(remote, changes, batch, spread):
    rng = np.random.default_rng(5)
    config = transformer(**changes)
    size = config["input"]["size"]
    labels = config["loss"] == "cross_entropy"
    tensors = parameters(rng, config)
    model = Model(config, tensors)
    x = model.f.array(rng.normal(size=(100 * batch, size)) * spread)
    y = np.clip(np.abs(x[:, 0]) * 3 >> (model.f.frac + 1), 0, 2) if labels else x.sum(axis=1)
    losses = []
    for i, (sample, target) in enumerate(zip(x, y, strict=True)):
        losses.append(model.accumulate(sample, int(target) if labels else target))
        if i % batch == batch - 1:
            model.step()
    remote.board.enter_repl()  # the largest take most of a board's memory
    remote("tensors = {}")
    upload(remote, tensors, model.f)
    given = remote(TRAIN, config=config, x=x.astype(np.int32).ravel(), y=y.astype(np.int32),
                   batch=batch, size=size)
    assert (given[0] == losses).all()
    for p, values in zip(model.params, given[1:-1], strict=True):
        assert (values == p.value.ravel()).all(), p.name
    assert given[-1] == model.f.overflows
    assert (model.f.overflows > 0) == (spread > 1)
    # Gradients at the format's limit, clipped to a norm of 1, are all 0
    changed = [p.name for p in model.params if (p.value != model.f.array(tensors[p.name])).any()]
    assert spread > 1 or changed


MEASURE = GROWN + """
grown(1)
give(grown(0))
give(grown(300))
"""
STEP = compiled("""
from attn8.train.model import Model
model = Model(config, tensors)
x = model.f.zeros(model.input_size)
x[0] = 5000
target = model.f.zeros(model.target_size)
target[0] = 1
def step():
    model.accumulate(x, target)
    model.step()
""")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attention": {"recompute": True}},
        {"optimizer": SGD, "schedule": {"warmup_steps": 5, "total_steps": 1000}},
        {"optimizer": {"type": "sgd", "lr": ratio(0.02)}, "numbers": "Q8.8"},
        SENSOR,
        BIAS_FREE,
        PERCEPTRON | {"optimizer": SGD},
    ],
    ids=["adam", "recompute", "sgd", "Q8.8", "sensor", "no bias", "mse"],
)
def test_a_step_allocates_nothing(remote, changes):
    config = transformer(**changes)
    remote("tensors = {}")
    upload(remote, parameters(np.random.default_rng(0), config), formats.get(config["numbers"]))
    without, with_steps = remote(STEP + MEASURE, config=config)
    assert with_steps == without


def test_every_optimizer_and_loss_is_among_them():
    source = (DEVICE / "attn8/train/model.py").read_text()
    assert set(re.findall(r'name == "(\w+)"', source)) == {"sgd", "adam", "cross_entropy", "mse"}


def test_the_float_mode_is_close_to_float64(remote):
    rng = np.random.default_rng(1)
    config = transformer(numbers="float")
    tensors = parameters(rng, config)
    model = Model(config, tensors, "float64")
    x = rng.normal(size=(12, 4)).astype(np.float32)
    losses = []
    for i, sample in enumerate(x):
        losses.append(model.accumulate(sample, i % 3))
        model.step()
    remote("tensors = {}")
    for name, values in tensors.items():
        remote("tensors[name] = array('f', values)", name=name, values=values.ravel().tolist())
    found = remote(
        compiled("from attn8.train.model import Model\nmodel = Model(config, tensors)\n"
                 "for i in range(12):\n"
                 "    loss = model.accumulate(array('f', x[i * 4 : i * 4 + 4]), [i % 3])\n"
                 "    model.step()\n    give(repr(loss))"),
        config=config, x=x.ravel().tolist(),
    )
    # A chip's floats have 24 bits
    assert np.abs(np.array([float(v) for v in found]) - losses).max() < 1e-4


@pytest.mark.parametrize(
    "code, message",
    [
        ("Dense(f, 'd', 4, 2)(array('i', [1, 2, 3]))",
         "d: expected 4 values, got 3"),
        ("Dense(f, 'd', 4, 2)(array('b', bytes(4)))",
         "d: expected array('i'), got array of 'b'"),
        ("Dense(f, 'd', 4, 2)([1, 2, 3, 4])", "d: expected array('i'), got list"),
        ("Dense(f, 'd', 1, 2)(array('i', [1 << 30]))",
         "d: expected values up to 1073741823, got 1073741824"),
        ("Dense(f, 'd', 0, 2)", "inner: expected 1 to 32768, got 0"),
        ("Dense(g, 'd', 1, 1)(array('f', [float('nan')]))",
         "d: expected finite numbers, got NaN or infinity"),
        ("Dense(g, 'd', 1, 1)(array('f', [float('-inf')]))",
         "d: expected finite numbers, got NaN or infinity"),
        ("Dense(f, 'd', 1, 1).backward(array('i', [1, 2]))",
         "d: expected 1 values, got 2"),
        ("CrossEntropy(f, 3)(f.zeros(3), 3)", "label: expected 0 to 2, got 3"),
        ("MultiHeadAttention(f, 'a', 2, 6, 4)",
         "a.embed_dim: expected a multiple of num_heads 4, got 6"),
        ("MultiHeadAttention(f, 'a', 513, 6, 2)", "a.seq_len: expected 1 to 512, got 513"),
        ("SGD(f, [], 2.0)", "ratio: expected 2**-15 to 1"),
        ("Adam(f, [], 0.5)", "lr: shift: expected 16 to 45, got 11"),
        ("LinearSchedule(5, 5)", "warmup_steps: expected 0 to 4, got 5"),
        ("formats.get('Q4.4')", "numbers: expected Q16.16, Q24.8, Q8.8, float or double, got Q4.4"),
        ("Model(with_attention(core='micro'), dict(tensors))",
         "attn.core: micro does not train; see docs/numerics.md"),
        ("Model(with_attention(core='flash', options={'precise': True}), dict(tensors))",
         "attn.options.precise: core flash takes block_size"),
        ("Model(with_attention(constants={'steps': []}), dict(tensors))",
         "attn.constants.steps: core exact takes none"),
        ("Model(with_attention(core='flash', value_dim=2), dict(tensors))",
         "attn.value_dim: core flash takes heads of one width; exact takes two"),
        ("Model(with_attention(rotary=1), dict(tensors))",
         "attn: unknown field rotary; take it out of the config"),
        ("Model(dict(config), {})", "missing tensor embed.weight"),
        ("Model(dict(config, layers=[{'type': 'global_avg_pool', 'name': 'pool'}]), {})",
         "pool: unknown layer type global_avg_pool"),
        ("Model(dict(config, input={'size': 5}), {})",
         "embed: takes 4 values, the layer before gives 5"),
        ("Model(dict(config, loss='hinge'), dict(tensors))",
         "loss: expected cross_entropy or mse, got hinge"),
    ],
)
def test_bad_input_is_refused_in_one_line(roomy, code, message):
    config = transformer()
    roomy("tensors = {}")
    if "tensors" in code:
        upload(roomy, parameters(np.random.default_rng(0), config), formats.get("Q16.16"))
    said = roomy.refused(
        compiled(code),
        compiled("from attn8.train import arithmetic as formats\n"
                 "from attn8.train.layers.attention import MultiHeadAttention\n"
                 "from attn8.train.layers.dense import Dense\n"
                 "from attn8.train.losses import CrossEntropy\n"
                 "from attn8.train.model import Model\n"
                 "from attn8.train.optimizers import SGD, Adam\n"
                 "from attn8.train.schedule import LinearSchedule\n"
                 "f, g = formats.get('Q16.16'), formats.get('float')\n"
                 "def with_attention(**changes):\n"
                 "    layers = [dict(entry) for entry in config['layers']]\n"
                 "    layers[2].update(changes)\n"
                 "    return dict(config, layers=layers)"),
        config=config,
    )
    assert said.startswith(message), said
