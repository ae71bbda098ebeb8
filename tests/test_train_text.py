"""Decoders that train on a board: grouped attention, gated products, norms in int16."""

import numpy as np
import pytest

from attn8_host import modelfile
from attn8_host.deploy import push
from attn8_host.errors import ModelError
from attn8_host.importers import decoder
from attn8_host.layers.grouped_attention import most
from attn8_host.model import Model as Integers
from attn8_host.model import load
from attn8_host.quantize.model import quantize_model
from attn8_host.train import arithmetic as formats
from attn8_host.train import tune
from attn8_host.train.arithmetic import ratio
from attn8_host.train.losses import TokenCrossEntropy
from attn8_host.train.model import Model
from tests.compiled import compiled
from tests.test_train_layers import REQUANTIZE
from tests.test_train_model import upload

CONTEXT, VOCABULARY, CLASSES = 6, 12, 3
SIZES = decoder.Sizes(dim=16, hidden_dim=24, layers=2, heads=4, kv_heads=2, context=CONTEXT,
                      vocab_size=VOCABULARY, eps=1e-5)
LLAMA = {"attention_norm": (), "q": (16,), "k": (8,), "v": (8,), "out": (16,), "ffn_norm": (),
         "w1": (24,), "w2": (16,), "w3": (24,)}  # outputs of each layer's tensors


def llama(tied=True, normed=False):
    """A float model of random weights."""
    rng = np.random.default_rng(4)
    found = {key: rng.normal(0, 0.25, (2, *rows, 24 if key == "w2" else 16)) if rows
             else rng.normal(1, 0.1, (2, 16)) for key, rows in LLAMA.items()}
    found |= {"norm": np.ones(16), "words": rng.normal(0, 1, (VOCABULARY, 16))}
    if normed:
        found |= {key: rng.normal(1, 0.2, (2, 4)) for key in ("q_norm", "k_norm")}
    if not tied:
        found["head"] = rng.normal(0, 0.25, (VOCABULARY, 16))
    return decoder.llama("tiny", SIZES, {key: np.float32(values) for key, values in found.items()},
                         100.0)


def classifier(normed=False, **attention):
    """The same, whose last token says of which class the text is."""
    config, tensors = llama(normed=normed)
    config["layers"] = [
        *({**entry, **attention} if "num_kv_heads" in entry else entry
          for entry in config["layers"][:-1]),
        {"type": "select", "name": "last", "seq_len": CONTEXT, "embed_dim": 16, "index": -1},
        {"type": "dense", "name": "head", "in_features": 16, "out_features": CLASSES,
         "output": "int32", "activation_bits": 16},
    ]
    weight = np.random.default_rng(5).normal(0, 0.25, (CLASSES, 16)).astype(np.float32)
    tensors |= {"head.weight": weight, "head.bias": np.zeros(CLASSES, np.float32)}
    for entry in config["layers"]:  # its weight is no head's any more
        entry.pop("tied", None)
    return config, tensors


def texts(count=60):
    """Ids; the class of each is that of its last token, one of three."""
    rng = np.random.default_rng(6)
    labels = np.arange(count) % CLASSES
    ids = rng.integers(CLASSES, VOCABULARY, (count, CONTEXT))
    ids[:, -1] = labels
    return ids, labels


@pytest.mark.parametrize("normed", [False, True], ids=["grouped", "normed"])
@pytest.mark.parametrize("cache", ["int8", "int16"])
def test_the_board_makes_the_int8_model_that_it_came_from(roomy, tmp_path, cache, normed):
    """From int8 to words and back, with ranges of the same inputs."""
    ids, _ = texts(12)
    before, integers = quantize_model(*classifier(normed, cache=cache), ids)
    path = "/models/tiny.safetensors"
    config, words, _ = tune.training(Integers(before, integers), "all", path)
    config |= {"optimizer": {"type": "sgd", "lr": ratio(0.02)}}
    del config["int8"], config["format"], config["version"], config["name"]
    model = Model(config, words)
    push(roomy.board, path, modelfile.pack(before, integers))
    roomy("tensors = {}")
    upload(roomy, words, model.f)
    given = np.concatenate([model.words(each) for each in ids])
    roomy(REQUANTIZE, config=config, path=path, x=given.astype(np.int32))
    made = tmp_path / "made.safetensors"
    made.write_bytes(roomy.board.read_file(path))
    after, found = modelfile.read(made)
    for entry, other in zip(before["layers"], after["layers"], strict=True):
        for key, scale in {**entry.get("scales", {}), "": entry["scale"]}.items():
            now = {**other.get("scales", {}), "": other["scale"]}[key]
            assert now == pytest.approx(scale, rel=0.02), (entry["name"], key)
    for name, values in integers.items():
        if name.endswith("weight") and values.dtype == np.int8:
            assert np.abs(values.astype(int) - found[name]).max() <= 1, name
            assert (values == found[name]).mean() > 0.98, name
        if name.endswith("_norm.weight"):
            assert np.abs(values / found[name] - 1).max() < 0.02, name
        if name.endswith("centre"):
            assert np.abs(values.astype(int) - found[name]).max() < 0.01 * most(4, "int8")["k"]
    outputs = [Integers(*pair)(ids[0].astype(np.int16))["head"] * pair[0]["layers"][-1]["scale"]
               for pair in ((before, integers), (after, found))]
    assert np.abs(outputs[1] - outputs[0]).max() < 0.02 * np.abs(outputs[0]).max()


@pytest.mark.parametrize("which, names, normed", [("all", 15, False), ("last:8", 8, False),
                                                  ("all", 15, True)])
def test_what_trains_is_int8_again(tmp_path, roomy, which, names, normed):
    """All of it, and the last block with the head behind a front of token ids: every step is
    NumPy's, and so is every inference of the int8 model that comes of it."""
    model, made = tmp_path / "tiny.safetensors", tmp_path / "tuned.safetensors"
    ids, labels = texts()
    modelfile.write(model, *quantize_model(*classifier(normed), ids))
    base = load(model)
    found = tune.tune(roomy.board, model, base, (ids.astype(np.int16), labels), made, which,
                      epochs=4, batch=8, rate=0.02)
    assert found.bit_exact and len(found.layers) == names
    assert found.history[-1].loss < found.history[0].loss
    tuned = load(made)
    changed = {name for name, values in tuned.tensors.items()
               if (values != base.tensors[name]).any()}
    assert {"layers.1.attention.k.weight", "layers.1.attention.centre", "head.weight"} <= changed
    assert ("words.weight" in changed) == (which == "all")
    assert ("layers.0.attention.q_norm.weight" in changed) == normed
    right = [tuned(each)["head"].argmax() == label
             for each, label in zip(ids.astype(np.int16), labels, strict=True)]
    assert np.mean(right) > 0.9


def logits_and_labels():
    """Of five classes, of four tokens, one of which has no label."""
    return np.random.default_rng(1).normal(0, 3, (4, 5)), np.array([1, -1, 0, 4])


def test_the_loss_of_each_token_is_pytorchs():
    """Its mean, and the gradient of its sum."""
    torch = pytest.importorskip("torch")
    logits, labels = logits_and_labels()
    loss = TokenCrossEntropy(formats.get("float64"), 4)
    found = loss(logits.ravel(), labels)
    x = torch.tensor(logits, requires_grad=True)
    wanted = torch.nn.functional.cross_entropy(x, torch.tensor(labels), ignore_index=-1,
                                               reduction="sum")
    wanted.backward()
    assert found == pytest.approx(wanted.item() / 3, abs=1e-12)
    assert np.abs(loss.grad - x.grad.numpy().ravel()).max() < 1e-12
    for i in range(logits.size):
        step = 1e-6 * (np.arange(logits.size) == i)
        slope = (loss(logits.ravel() + step, labels) - loss(logits.ravel() - step, labels)) / 2e-6
        assert 3 * slope == pytest.approx(x.grad.numpy().ravel()[i], abs=1e-7)


LOSS = compiled("""
from attn8.train import arithmetic
from attn8.train.token_loss import TokenCrossEntropy
loss = TokenCrossEntropy(arithmetic.get(numbers), 4, 5)
give([loss(logits, labels)])
give(loss.grad)
give([loss(logits, array("i", [-1] * 4))])
give(loss.grad)
""")


@pytest.mark.parametrize("numbers", ["Q16.16", "Q8.8"])
def test_the_loss_of_each_token_is_the_boards(roomy, numbers):
    logits, labels = logits_and_labels()
    f = formats.get(numbers)
    loss, words = TokenCrossEntropy(f, 4), f.array(logits).ravel()
    wanted = [[loss(words, labels)], loss.grad, [0], np.zeros(20)]
    found = roomy(LOSS, numbers=numbers, logits=words.astype(np.int32),
                  labels=labels.astype(np.int32))
    for one, other in zip(found, wanted, strict=True):
        assert (np.array(one) == other).all()


def counting(count=60):
    """Texts whose next id is the next number."""
    return (np.random.default_rng(7).integers(0, VOCABULARY, (count, 1))
            + np.arange(CONTEXT)) % VOCABULARY


@pytest.mark.parametrize("tied, which, memory", [(True, "all", "fast"), (True, "all", "recompute"),
                                                 (False, "last:8", "direct")])
def test_a_text_model_learns_what_comes_next(tmp_path, roomy, tied, which, memory):
    """By the cross entropy of each next token; a head with a weight of its own trains alone with
    the last block."""
    model, data, made = (tmp_path / name for name in ("tiny", "data.npz", "tuned"))
    modelfile.write(model, *quantize_model(*llama(tied), counting()))
    base = load(model)
    np.savez(data, inputs=counting())
    samples = tune.read(data, base)
    assert (samples[1][:, :-1] == samples[0][:, 1:]).all() and (samples[1][:, -1] == -1).all()
    found = tune.tune(roomy.board, model, base, samples, made, which, epochs=4, batch=8,
                      rate=0.01 if memory == "direct" else 0.03, memory=memory)
    assert found.bit_exact and found.best_epoch
    assert found.history[-1].loss < found.history[0].loss
    assert found.accuracy_after > found.accuracy_before + 0.2


def test_what_is_right_counts_over_tokens(tmp_path, roomy):
    """As attn8.train.fit counts it: a text weighs as much as it has labels."""
    model, data, made = (tmp_path / name for name in ("tiny", "data.npz", "tuned"))
    modelfile.write(model, *quantize_model(*llama(False), counting()))
    base, ids = load(model), counting(20)
    ids[:, 1:] = np.random.default_rng(8).integers(0, VOCABULARY, (20, CONTEXT - 1))
    found = np.stack([base(each)[base.output].reshape(CONTEXT, -1).argmax(axis=1) for each in ids])
    # A text of one label that is right, and one of as many as there are of which few are
    labels = np.where(np.arange(20)[:, None] % 2, ids, np.where(np.arange(CONTEXT), -1, found))
    np.savez(data, inputs=ids, labels=labels)
    held, kept = tune.split(np.random.default_rng(1), 20)
    outcome = tune.tune(roomy.board, model, base, tune.read(data, base), made, "head", epochs=1,
                        batch=len(kept), rate=2**-15, memory="plain")
    right, seen = (found == labels)[held], (labels >= 0)[held]
    assert outcome.accuracy_before == right.sum() / seen.sum()
    assert outcome.accuracy_before != (right.sum(axis=1) / seen.sum(axis=1)).mean()
    for share, some in ((outcome.history[0].accuracy, kept),
                        (outcome.history[0].validation_accuracy, held)):
        count = (labels >= 0)[some].sum()
        assert share == round(share * count) / count


def test_labels_of_tokens_that_do_not_fit_are_refused(tmp_path):
    model, data = tmp_path / "tiny", tmp_path / "data.npz"
    modelfile.write(model, *quantize_model(*llama(), counting()))
    base, ids = load(model), counting(10)
    for labels, words in ((ids[:, 0], r"\[10, 6\], one a token, got int64 \[10\]"),
                          (ids + 1, "labels up to 11, .* got 12"),
                          (np.where(ids[:, :1] == 3, -1, ids), "no token of sample . has a label"),
                          (np.full_like(ids, 5), "every sample is of class 5")):
        np.savez(data, inputs=ids, labels=labels)
        with pytest.raises(ModelError, match=words):
            tune.read(data, base)
