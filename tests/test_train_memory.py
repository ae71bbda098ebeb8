"""Training that saves memory: what shares it, or is made again, is the same words as without."""

import numpy as np
import pytest

from attn8_host.errors import Attn8Error
from attn8_host.model import load
from attn8_host.plan.training import train_plan
from attn8_host.train import session, tune
from attn8_host.train.arithmetic import ratio
from attn8_host.train.model import Model
from tests.compiled import compiled
from tests.test_train_layers import CASES, LENGTH, drawn
from tests.test_train_model import upload
from tests.test_train_tune import write

DIRECT = {"type": "sgd", "lr": ratio(0.02), "direct": True}
BOARD = compiled("""
from attn8.train.model import Model
model = None  # that of the case before
model = Model(config, tensors)
for i in range(0, len(x), model.input_size):
    give([int(model.accumulate(x[i : i + model.input_size], target))])
    model.step()
for p in model.params:
    give(p.value)
give([model.f.overflows, sum([len(block) for block in model.arena])])
""")


def steps(case, config, count=3):
    """Parameters, inputs and a target, and the reference that has trained with them, step by step:
    its losses, its parameters and what saturated."""
    tensors, x, target = drawn(case)
    model = Model(config, tensors)
    rng = np.random.default_rng(4)
    inputs = [model.words(x, LENGTH if case.input else None)]
    inputs += [inputs[0] if case.ids else model.words(rng.normal(size=np.shape(x)), *(
        [LENGTH - 1] if case.input else [])) for _ in range(count - 1)]
    words = model.f.array(target)
    losses = []
    for each in inputs:
        losses.append(model.accumulate(each, words))
        model.step()
    return tensors, np.concatenate(inputs), words, losses, model


@pytest.fixture(scope="module")
def remote(roomy):
    return roomy


@pytest.mark.parametrize("name", CASES)
def test_the_board_trains_with_the_same_words(remote, name):
    """What is let go and made again, each parameter as soon as there is its gradient; but one of
    two layers, whose gradients are added."""
    case = CASES[name]
    config = {**case.config, "clip_norm": 0.5, "recompute": True}
    if name != "tied_head":
        config["optimizer"] = DIRECT
    tensors, x, target, losses, model = steps(case, config)
    remote("tensors = {}")
    upload(remote, tensors, model.f)
    found = remote(BOARD, config=config, x=x.astype(np.int32), target=target.astype(np.int32))
    assert found[:3] == [[int(loss)] for loss in losses]
    for values, p in zip(found[3:-1], model.params, strict=True):
        assert (np.array(values) == p.value.ravel()).all(), p.name
    assert found[-1][0] == model.f.overflows


WHOLE = ["encoder", "normed_attention", "normed_attention, biases"]


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_made_again_changes_nothing_and_saves_memory(remote, name):
    case = CASES[name]
    found = []
    for recompute in (False, True):
        config = {**case.config, "recompute": recompute}
        tensors, x, target, _, model = steps(case, config)
        remote.board.enter_repl()  # the heap of a start
        remote("tensors = {}")
        upload(remote, tensors, model.f)
        found.append(remote(BOARD, config=config, x=x.astype(np.int32),
                            target=target.astype(np.int32)))
    for kept, again in zip(*(each[:-1] for each in found), strict=True):
        assert (np.array(kept) == np.array(again)).all()
    assert found[0][-1][0] == found[1][-1][0]
    assert found[1][-1][1] < found[0][-1][1]


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("saved", [{"recompute": True}, {"optimizer": DIRECT},
                                   {"recompute": True, "optimizer": DIRECT}],
                         ids=["recompute", "direct", "both"])
def test_the_board_saves_memory_and_trains_as_the_plain_trainer(remote, name, saved):
    """Words of NumPy, whose trainer saves none, where no norm is clipped."""
    case = CASES[name]
    plain = {**case.config, "optimizer": {"type": "sgd", "lr": DIRECT["lr"]}}
    tensors, x, target, losses, model = steps(case, plain)
    remote("tensors = {}")
    upload(remote, tensors, model.f)
    found = remote(BOARD, config={**plain, **saved}, x=x.astype(np.int32),
                   target=target.astype(np.int32))
    assert found[:3] == [[int(loss)] for loss in losses]
    for values, p in zip(found[3:-1], model.params, strict=True):
        assert (np.array(values) == p.value.ravel()).all(), p.name
    assert found[-1][0] == model.f.overflows


@pytest.mark.parametrize("name", WHOLE)
def test_direct_is_sgd_of_one_sample(name):
    """Bit for bit, where no norm is clipped."""
    case = CASES[name]
    models = [steps(case, {**case.config, "optimizer": optimizer})[-1]
              for optimizer in (DIRECT, {"type": "sgd", "lr": DIRECT["lr"]})]
    for p, other in zip(*(model.params for model in models), strict=True):
        assert (p.value == other.value).all(), p.name


@pytest.mark.parametrize("name, change, message", [
    ("dense", {"optimizer": {**DIRECT, "momentum": ratio(0.9)}},
     "optimizer: expected sgd without momentum where it is direct"),
    ("dense", {"batch": 2}, "batch: expected 1 with a direct optimizer, got 2"),
    ("self_attention_1d", {}, "attn: a layer of type self_attention_1d does not train as soon as "
                              'it has gradients; leave "direct" out of the optimizer'),
])
def test_what_does_not_train_directly_is_refused(name, change, message):
    entry = {"type": "dense", "name": "attn", "in_features": 8, "out_features": 2, "rows": 4}
    if name == "self_attention_1d":
        entry = {"type": name, "name": "attn", "seq_len": 4, "embed_dim": 8, "projection_dim": 2}
    config = {"format": "attn8-train", "version": 1, "name": "one", "numbers": "Q16.16",
              "input": {"size": 32}, "layers": [entry], "loss": "mse", "batch": 1,
              "optimizer": DIRECT, **change}
    tensors = session.initial(config, np.random.default_rng(0))
    words = {key: np.zeros(values.shape, np.int32) for key, values in tensors.items()}
    with pytest.raises(Attn8Error, match=message):
        train_plan(config, words, arches=())


def test_a_board_alone_needs_no_frozen_layers(tmp_path):
    """Nor what serves it."""
    path = tmp_path / "model.safetensors"
    write(path)
    base = load(path, False)
    served = tune.planned(base, path, "head", 1, "sgd", "direct")
    alone = tune.planned_alone(base, path, "head", "sgd", "direct")
    assert alone.peak_heap < served.peak_heap and alone.ram < served.ram
