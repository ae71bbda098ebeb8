"""One token at a time through all layers: bit for bit the rows of a whole causal pass."""

import numpy as np
import pytest

from attn8_host import modelfile
from attn8_host.deploy import push
from attn8_host.errors import ModelError
from attn8_host.model import Model
from attn8_host.quantize.model import quantize_model

from .test_zero_allocation import GROWN

N, E, HIDDEN, VOCAB = 10, 8, 12, 30
CORES = {
    "exact": {}, "decode": {"cache_len": N}, "sliding": {"window": 4},
    "linear": {}, "linear, not normalized": {"normalize": False}, "performer": {},
}


def decoder(core="exact", options=None, ids=True, causal=True):
    """(config, tensors, inputs) of a float model: a token's probabilities of the next one."""
    rng = np.random.default_rng(7)
    layers, tensors = [], {}

    def dense(name, n, m, **fields):
        layers.append({"type": "dense", "name": name, "rows": N, "in_features": n,
                       "out_features": m, **fields})
        tensors[f"{name}.weight"] = rng.normal(0, n**-0.5, (m, n))
        tensors[f"{name}.bias"] = rng.normal(0, 0.3, m)

    if ids:
        layers.append({"type": "embedding", "name": "words", "seq_len": N, "vocab_size": VOCAB,
                       "embed_dim": E})
        tensors["words.weight"] = rng.normal(size=(VOCAB, E))
    else:
        dense("words", 3, E)
    layers.append({"type": "reshape", "name": "shaped", "shape": [N, E]})
    layers.append({"type": "position", "name": "position", "seq_len": N, "embed_dim": E})
    tensors["position.weight"] = rng.normal(0, 0.5, (N, E))
    layers.append({"type": "layer_norm", "name": "norm1", "features": E, "eps": 1e-5})
    tensors |= {"norm1.weight": rng.normal(1, 0.2, E), "norm1.bias": rng.normal(size=E)}
    entry = {"type": "attention", "name": "attn", "seq_len": N, "embed_dim": E, "num_heads": 2,
             "core": core, "causal": causal}
    layers.append({**entry, "options": options} if options else entry)
    for part in ("q", "k", "v", "out"):
        tensors[f"attn.{part}.weight"] = rng.normal(0, E**-0.5, (E, E))
        tensors[f"attn.{part}.bias"] = rng.normal(0, 0.3, E)
    if core == "performer":
        tensors["attn.core.features"] = rng.normal(size=(2, 6, E // 2))
    layers.append({"type": "add", "name": "sum1", "inputs": ["position", "attn"]})
    layers.append({"type": "rms_norm", "name": "norm2", "features": E, "eps": 1e-5})
    tensors["norm2.weight"] = rng.normal(1, 0.2, E)
    dense("up", E, HIDDEN)
    layers.append({"type": "gelu", "name": "gelu", "approximate": "none"})
    dense("gate", E, HIDDEN, inputs=["norm2"])
    layers.append({"type": "multiply", "name": "gated", "inputs": ["gelu", "gate"]})
    dense("down", HIDDEN, E)
    layers.append({"type": "add", "name": "sum2", "inputs": ["sum1", "down"]})
    layers.append({"type": "concat", "name": "both", "inputs": ["sum2", "sum1"], "rows": N})
    dense("head", 2 * E, VOCAB)
    layers.append({"type": "softmax", "name": "p", "rows": N, "columns": VOCAB})
    taken = {"shape": [N], "format": "tokens"} if ids else {"shape": [N, 3]}
    config = {"format": "attn8", "version": 1, "name": "decoder", "layers": layers, "input": taken}
    inputs = rng.integers(0, VOCAB, (8, N)) if ids else rng.normal(size=(8, N, 3))
    return config, tensors, inputs


STEPS = GROWN + """
from attn8 import load
model = load('/models/steps.safetensors', step=True)
for again in range(2):
    model.reset()
    t = 0
    def step():
        global t
        t += 1
        model.step(tokens[t - 1])
    tokens = [array(kind, x[i:i + size]) for i in range(0, len(x), size)]
    for token in tokens:
        give(model.step(token))
model.reset()
grown(0)
model.reset()
t = 0
give(grown(0))
give(grown(N))
try:
    model.step(tokens[0])
except ValueError as error:
    give(str(error))
"""


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("core", CORES)
def test_steps_are_the_rows_of_a_whole_pass(board, remote, core, ids):
    config, tensors, inputs = decoder(core.partition(",")[0], CORES[core], ids)
    made, integers = quantize_model(config, tensors, inputs)
    model = Model(made, integers)
    rng = np.random.default_rng(8)
    x = (rng.integers(0, VOCAB, N).astype(np.int16) if ids
         else rng.integers(-127, 128, (N, 3)).astype(np.int8))
    whole = model(x)["p"]
    for _ in range(2):  # the second time from the start again
        model.reset()
        for token, row in zip(x, whole, strict=True):
            assert (model.step(np.atleast_1d(token)) == row).all()
    with pytest.raises(ValueError, match="position: it has 10 positions and all are taken; reset"):
        model.step(np.atleast_1d(x[0]))
    board.enter_repl()
    push(board, "/models/steps.safetensors", modelfile.pack(made, integers))
    *rows, without, grown, full = remote(STEPS, x=x.ravel(), N=N, kind="h" if ids else "b",
                                         size=1 if ids else 3)
    assert (np.array(rows).reshape(2, N, VOCAB) == whole).all()
    assert grown == without
    assert full == "position: it has 10 positions and all are taken; reset"


def changed(name, **fields):
    def change(config):
        next(e for e in config["layers"] if e["name"] == name).update(fields)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("attn", causal=False), "attn.causal: steps need true, got false"),
        (changed("attn", options={"precise": True}), "attn.core: exact takes no steps"),
        (changed("attn", core="micro", constants={}), "attn.core: micro takes no steps"),
        (changed("attn", core="sparse", options={"mask": ["window", 2]}),
         "attn.core: sparse takes no steps"),
        (lambda c: c["layers"].insert(2, {"type": "transpose", "name": "t", "rows": N,
                                          "columns": E}),
         "t: there are no steps with a transpose, which takes more than a token"),
        (lambda c: c["layers"].append({"type": "mean_pool", "name": "m", "seq_len": N,
                                       "embed_dim": VOCAB, "mult": 20000, "shift": 20}),
         "m: there are no steps with a mean_pool, which takes more than a token"),
        (changed("up", rows=2 * N, in_features=E // 2),
         "up.rows: steps take one of 10 tokens each, got 20"),
    ],
)
def test_what_has_no_steps_is_refused_by_name_on_both_sides(board, remote, change, message):
    made, integers = quantize_model(*decoder())
    change(made)
    model = None
    try:
        model = Model(made, integers)
    except ModelError as error:  # a layer that fits nothing is refused before
        assert "takes" in str(error) or "expected" in str(error)
    if model is not None:
        with pytest.raises(ModelError) as refused:
            model.reset()
        assert message in str(refused.value)
    board.enter_repl()
    push(board, "/models/steps.safetensors", modelfile.pack(made, integers))
    said = remote.refused("load('/models/steps.safetensors', step=True)", "from attn8 import load")
    assert message in said


def test_a_whole_model_has_no_step(board, remote):
    setup = "from attn8 import load\nmodel = load('/models/digits.safetensors')"
    assert remote.refused("model.step()", setup) == "step: load the model with step=True"
    assert remote.refused("model.reset()", setup) == "reset: load the model with step=True"
