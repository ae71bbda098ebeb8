"""Functions by name: the board's, the importer's, and what their parameters may be."""

import numpy as np
import pytest

from attn8_host import layers
from attn8_host.errors import ModelError
from attn8_host.importers.activations import PARAMETERS, activation
from attn8_host.isa.device import Device
from attn8_host.layers.activation import FUNCTIONS, PROVEN
from attn8_host.model import Model
from attn8_host.quantize.model import quantize_model


def same(a, b):
    return np.allclose(a, b, rtol=1e-6, atol=1e-6)


def config(**fields):
    return {"format": "attn8", "version": 1, "name": "m", "input": {"shape": [8]},
            "layers": [{"type": "activation", "name": "act", **fields}]}


def test_the_board_knows_the_same_names():
    device = Device("rv32imc")
    words = device.load("attn8.layers.activation").FUNCTIONS.split()
    assert words == list(FUNCTIONS)
    assert {name for name, kind in FUNCTIONS.items() if kind.parameters} == PARAMETERS.keys()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", [(1,), (3, 5)])
def test_a_function_is_recognized_by_what_it_computes(name, shape):
    given = {key: PROVEN[key] for key in FUNCTIONS[name].parameters}
    x = np.random.default_rng(0).normal(0, 2, shape)

    def function(x):
        return FUNCTIONS[name].compute(x, **given)

    assert activation(function, x, function(x), same) == {"function": name, **given}


def test_what_is_no_function_of_one_value_is_none():
    x = np.random.default_rng(0).normal(0, 2, (3, 5))
    for function in (lambda x: np.maximum(x, x[::-1]), np.exp, np.sin,
                     lambda x: np.where(np.arange(5) > 2, np.abs(x), x)):
        assert activation(function, x, function(x), same) is None


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("bits", [8, 16])
def test_integers_are_floats_rounded_once(name, bits):
    given = {key: PROVEN[key] for key in FUNCTIONS[name].parameters}
    x = np.random.default_rng(1).normal(0, 1.5, (50, 8)).astype(np.float32)
    made, tensors = quantize_model(config(function=name, **given), {}, x, activation_bits=bits)
    assert {key: made["layers"][-1][key] for key in given} == given  # for training
    model = Model(made, tensors)
    last = made["layers"][-1]
    for sample in x[:4]:
        took = model.feed(sample)
        outputs = model(took)
        step = made["input"]["scale"]
        if len(made["layers"]) > 1:  # a convert layer before it
            took, step = outputs[made["layers"][0]["name"]], made["layers"][0]["scale"]
        wanted = FUNCTIONS[name].compute(took * step, **given) / last["scale"]
        error = np.abs(outputs["act"] - np.clip(wanted, -32767, 32767)).max()
        assert error <= 0.5 + 1e-9 if bits == 8 else error / 129 < 0.6


def test_parameters_are_held_to_the_function():
    x = np.linspace(-1, 2, 32, dtype=np.float32).reshape(4, 8)
    for fields, line in (
        ({"function": "relu7"}, "act.function: expected abs, celu"),
        ({"function": "elu"}, "act: the config lacks alpha of elu"),
        ({"function": "elu", "alpha": 1, "slope": 2}, "act: unknown field slope of elu"),
        ({"function": "celu", "alpha": 0}, "act.alpha: expected a number from 0.0001 to 10000"),
    ):
        with pytest.raises(ModelError, match=line):
            quantize_model(config(**fields), {}, x)


def test_an_int8_file_without_parameters_runs_and_does_not_train():
    x = np.linspace(-1, 2, 32, dtype=np.float32).reshape(4, 8)
    made, tensors = quantize_model(config(function="elu", alpha=1), {}, x)
    entry = made["layers"][0]
    del entry["alpha"]
    assert Model(made, tensors)(np.arange(8, dtype=np.int8))["act"].any()
    with pytest.raises(ModelError, match="act: its file says no alpha of elu"):
        layers.get("activation").retrained(entry, tensors, [0.1])
