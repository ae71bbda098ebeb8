"""Every core inside MultiHeadAttention: a float model, its integers, the board."""

import numpy as np
import pytest

from attn8_host import cores, float_model, modelfile
from attn8_host.cores.performer import random_features
from attn8_host.deploy import push
from attn8_host.errors import ModelError
from attn8_host.model import load
from attn8_host.proof.compare import verify
from attn8_host.quantize.model import quantize_model
from tests.compiled import compiled
from tests.test_train_layers import CASES as TRAINING

HEADS, HEAD_DIM, SEQ_LEN = 3, 4, 11

# core, its options, its float parameters, causal, least cosine to the float model
CASES = {
    "exact": ("exact", {}, {}, False, 0.999),
    "relu": ("linear", {"phi": "relu"}, {}, False, 0.998),
    "relu+1": ("linear", {"phi": "relu+1"}, {}, True, 0.999),
    "elu+1": ("linear", {"phi": "elu+1"}, {}, True, 0.999),
    "unnormalized": ("linear", {"phi": "relu", "normalize": False}, {}, False, 0.999),
    "performer": ("performer", {}, {"features": random_features(HEADS, 16, HEAD_DIM, 1)}, False,
                  0.995),
    "performer causal": ("performer", {}, {"features": random_features(HEADS, 9, HEAD_DIM, 2)},
                         True, 0.995),
    "local_global": ("local_global", {"window": 2, "global_indices": [0, 7]},
                     {"gate": np.linspace(-2, 2, HEADS * HEAD_DIM).reshape(HEADS, HEAD_DIM)}, True,
                     0.999),
    "micro": ("micro", {}, {}, True, 0.8),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_from_a_float_model_to_the_board(board, tmp_path, case):
    core, options, parameters, causal, least = CASES[case]
    rng = np.random.default_rng(11)
    embed_dim = HEADS * HEAD_DIM
    config = {
        "format": "attn8", "version": 1, "name": "one",
        "input": {"shape": [SEQ_LEN, embed_dim]},
        "layers": [{
            "type": "attention", "name": "a", "seq_len": SEQ_LEN, "embed_dim": embed_dim,
            "num_heads": HEADS, "core": core, "causal": causal, "options": options,
        }],
    }  # fmt: skip
    tensors = {}
    for part in ("q", "k", "v", "out"):
        tensors[f"a.{part}.weight"] = rng.normal(0, 0.3, (embed_dim, embed_dim))
        tensors[f"a.{part}.bias"] = rng.normal(0, 0.1, embed_dim)
    tensors |= {f"a.core.{name}": values for name, values in parameters.items()}
    inputs = rng.normal(size=(10, SEQ_LEN, embed_dim))
    made, integers = quantize_model(config, tensors, inputs)
    path = tmp_path / "one.safetensors"
    modelfile.write(path, made, integers)
    model = load(path)
    x = np.clip(np.round(inputs / made["input"]["scale"]), -127, 127).astype(np.int8)
    wanted = np.array([float_model.run(config, tensors, one)["a"] for one in inputs])
    found = np.array([model(one)["a"] for one in x]) * made["layers"][0]["scale"]
    cosine = (wanted * found).sum() / np.linalg.norm(wanted) / np.linalg.norm(found)
    assert cosine >= least, cosine

    push(board, "/models/one.safetensors", path.read_bytes())
    with board.serve() as client:
        for need_weights in (True, False):
            client.load("/models/one.safetensors", need_weights)
            expected = {name for name in model(x[0]) if need_weights or name.count(".") < 2}
            assert {output.name for output in client.outputs} == expected
            if need_weights:
                assert verify(client, model, x).bit_exact
            else:
                assert (client.infer(x[0]).tensors["a"] == model(x[0])["a"].ravel()).all()


def test_streaming_layers_take_one_token_at_a_time(board, remote, tmp_path):
    test_from_a_float_model_to_the_board(board, tmp_path, "performer causal")
    model = load(tmp_path / "one.safetensors")
    x = np.random.default_rng(3).integers(-127, 128, (SEQ_LEN, 12)).astype(np.int8)
    expected = model(x)["a"]
    rows = remote("""
from attn8 import load
layer = load("/models/one.safetensors", step=True).layers[0]
for _ in range(2):
    for t in range(11):
        row = layer.step(x[12 * t : 12 * t + 12])
        if _:
            give(row)
    layer.reset()
""", x=x)
    assert (np.array(rows) == expected).all()


OWN = [name for name, core in cores.all_cores().items() if not core.crosses]


@pytest.mark.parametrize("core", OWN)
def test_cores_of_their_own_sequence_take_no_other(remote, core):
    """Neither half takes a cross attention with one, which only a file made by hand can say."""
    cross = {"type": "cross_attention", "name": "a", "seq_len": 2, "key_len": 4, "embed_dim": 4,
             "memory_dim": 4, "num_heads": 2, "core": core, "causal": False, "options": {},
             "constants": {}, "inputs": ["q", "x"]}
    config = {"format": "attn8", "version": 1, "name": "crossed", "input": {"shape": [4, 4]},
              "layers": [
                  {"type": "relu", "name": "x"},
                  {"type": "slice", "name": "q", "seq_len": 4, "embed_dim": 4, "start": 0,
                   "rows": 2}, cross]}
    kind = cores.get(core)
    cross["options"] = {"mask": ["local_window", 1]} if core == "sparse" else dict.fromkeys(
        (key for key in ("window", "cache_len") if key in kind.options), 4)
    message = f"a.core: {core} takes keys and values of its own sequence only; take exact"
    with pytest.raises(ModelError) as refused:
        modelfile.check_config(config)
    assert str(refused.value) == message
    push(remote.board, "/models/crossed.safetensors", modelfile.pack(config, {}))
    said = remote.refused("load('/models/crossed.safetensors')", "from attn8 import load")
    assert said == f"/models/crossed.safetensors: {message}"


@pytest.mark.parametrize("core", [core for core in OWN if cores.get(core).trainable])
def test_nor_do_they_train_so(roomy, core):
    layers = [dict(entry) for entry in TRAINING["cross"].config["layers"]]
    layers[-1]["core"] = core
    config = {**TRAINING["cross"].config, "format": "attn8-train", "version": 1, "name": "crossed",
              "batch": 1, "layers": layers}
    message = f"attn.core: {core} takes keys and values of its own sequence only; take exact"
    with pytest.raises(ModelError) as refused:
        modelfile.check_config(config, "attn8-train")
    assert str(refused.value) == message
    assert roomy.refused(compiled("Model(config, {})"),
                         compiled("from attn8.train.model import Model"), config=config) == message
