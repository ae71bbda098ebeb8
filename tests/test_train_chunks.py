"""Causal linear attention that trains, of more tokens than a chunk has."""

import numpy as np
import pytest

from attn8_host.cores import linear
from attn8_host.train.arithmetic import ratio
from attn8_host.train.model import Model
from tests.test_train_layers import BOARD, upload

TOKENS, WIDTH = 35, 6  # chunks of 12, 12 and 11 tokens
ENTRIES = {
    "elu+1": {"options": {"phi": "elu+1"}},
    "relu+1, lengths": {"constants": {"steps": [500000, 300000]}, "lengths": True},
    "sums": {"options": {"phi": "elu+1", "normalize": False}},
}  # fmt: skip


@pytest.fixture(scope="module")
def remote(roomy):
    return roomy


def drawn(entry, numbers):
    """A model that trains, a sample of it in words with its length, and the target."""
    rng = np.random.default_rng(5)
    fields = {"type": "attention", "name": "attn", "seq_len": TOKENS, "embed_dim": WIDTH,
              "num_heads": 2, "core": "linear", "causal": True, **entry}
    about = {"size": TOKENS * WIDTH}
    if "lengths" in entry:
        about["tokens"] = TOKENS
    config = {"numbers": numbers, "input": about, "layers": [fields], "loss": "mse",
              "optimizer": {"type": "sgd", "lr": ratio(0.02)}}
    tensors = {f"attn.{part}.{kind}": rng.normal(0, 0.25, shape) for part in ("q", "k", "v", "out")
               for kind, shape in (("weight", (WIDTH, WIDTH)), ("bias", WIDTH))}
    x, target = rng.normal(0, 1, (2, TOKENS * WIDTH))
    model = Model(config, tensors)
    words = model.words(x, 27 if "lengths" in entry else None)
    return config, tensors, model, words, model.f.array(target)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_the_board_has_the_same_words(remote, entry):
    config, tensors, model, words, target = drawn(entry, "Q16.16")
    loss = model.accumulate(words, target)
    wanted = [np.array([loss]), *(p.grad for p in model.params)]
    model.step()
    wanted += [*(p.value for p in model.params), np.array([model.f.overflows])]
    remote("tensors = {}")
    upload(remote, tensors, model.f)
    found = remote(BOARD, config=config, x=words.astype(np.int32), target=target.astype(np.int32))
    assert len(found) == len(wanted) and model.f.overflows == 0
    for one, other in zip(found, wanted, strict=True):
        assert (np.array(one) == other.ravel()).all()


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_chunks_of_any_size_are_the_same_function(monkeypatch, entry):
    """In float64, but for rounding; and Q16.16 is as near to them as it is token by token."""

    def grads(numbers, chunk):
        monkeypatch.setattr(linear, "CHUNK", chunk)
        _, _, model, words, target = drawn(entry, numbers)
        model.accumulate(words, target)
        return [model.f.floats(p.grad) for p in model.params]

    for one, *others in zip(*(grads("float64", n) for n in (16, 1, 5, TOKENS)), strict=True):
        for other in others:
            assert np.abs(one - other).max() < 1e-12 * max(1, np.abs(one).max())
    exact = grads("float64", 16)
    errors = [max(np.abs(one - other).max() for one, other in zip(exact, grads("Q16.16", n),
                                                                  strict=True)) for n in (1, 16)]
    assert 0 < errors[1] < 1.6 * errors[0]
