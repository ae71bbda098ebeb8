"""Folders of Hugging Face: Llama and GPT-2, beside torch as the two are published, and the library,
which has Mistral, Qwen2, Qwen3 and Phi-3 as well."""

import json
import math
import warnings

import numpy as np
import pytest

from attn8_host import float_model
from attn8_host.cli import main
from attn8_host.errors import ModelError
from attn8_host.importers import huggingface
from attn8_host.model import load
from attn8_host.text import encoded, steps

torch = pytest.importorskip("torch")
F = torch.nn.functional
VOCAB, CONTEXT = 300, 20
LLAMA = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": VOCAB,
         "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-3, "rope_theta": 500.0,
         "tie_word_embeddings": False, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2}
GPT2 = {"model_type": "gpt2", "n_embd": 12, "n_layer": 2, "n_head": 3, "vocab_size": VOCAB,
        "n_positions": CONTEXT, "layer_norm_epsilon": 1e-3, "activation_function": "gelu_new",
        "bos_token_id": 0, "eos_token_id": 0, "resid_pdrop": 0.1}
TOKENS = torch.arange(CONTEXT) * 31 % VOCAB


def causal(q, k, v):
    """Attention of [heads, tokens, head_dim] of each."""
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    hidden = torch.ones(scores.shape[1:]).triu(1) > 0
    heads = scores.masked_fill(hidden, -math.inf).softmax(-1) @ v
    return heads.transpose(0, 1).flatten(1)


def llama(w, about, x):
    """Logits of a Llama by its tensors' names, in float64."""
    heads, kv = about["num_attention_heads"], about["num_key_value_heads"]
    d = about["hidden_size"] // heads
    turn = torch.arange(len(x))[:, None] * about["rope_theta"] ** (-torch.arange(0, d, 2) / d)
    cos, sin = (f(torch.cat([turn, turn], -1)) for f in (torch.cos, torch.sin))

    def norm(x, name):
        return x / (x.square().mean(-1, True) + about["rms_norm_eps"]).sqrt() * w[name + ".weight"]

    def rotated(x):
        return x * cos + torch.cat([-x[..., d // 2 :], x[..., : d // 2]], -1) * sin

    x = w["model.embed_tokens.weight"][x]
    for i in range(about["num_hidden_layers"]):
        at = f"model.layers.{i}."
        h = norm(x, at + "input_layernorm")
        q, k, v = (F.linear(h, w[f"{at}self_attn.{part}_proj.weight"]).unflatten(-1, (-1, d))
                   .transpose(0, 1) for part in "qkv")
        k, v = (each.repeat_interleave(heads // kv, 0) for each in (rotated(k), v))
        x = x + F.linear(causal(rotated(q), k, v), w[at + "self_attn.o_proj.weight"])
        h = norm(x, at + "post_attention_layernorm")
        gate, up = (F.linear(h, w[f"{at}mlp.{part}_proj.weight"]) for part in ("gate", "up"))
        x = x + F.linear(F.silu(gate) * up, w[at + "mlp.down_proj.weight"])
    head = "model.embed_tokens" if about["tie_word_embeddings"] else "lm_head"
    return F.linear(norm(x, "model.norm"), w[head + ".weight"])


def gpt2(w, about, x):
    """Logits of a GPT-2 by its tensors' names, in float64."""
    def product(x, name):
        return x @ w[name + ".weight"] + w[name + ".bias"]

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"],
                            about["layer_norm_epsilon"])

    x = w["wte.weight"][x] + w["wpe.weight"][: len(x)]
    for i in range(about["n_layer"]):
        at = f"h.{i}."
        qkv = product(norm(x, at + "ln_1"), at + "attn.c_attn").chunk(3, -1)
        qkv = (each.unflatten(-1, (about["n_head"], -1)).transpose(0, 1) for each in qkv)
        x = x + product(causal(*qkv), at + "attn.c_proj")
        h = product(norm(x, at + "ln_2"), at + "mlp.c_fc")
        x = x + product(F.gelu(h, approximate="tanh"), at + "mlp.c_proj")
    return F.linear(norm(x, "ln_f"), w["wte.weight"])


def weights(about):
    """Random tensors by name."""
    torch.manual_seed(3)
    if about["model_type"] == "llama":
        e, hidden = about["hidden_size"], about["intermediate_size"]
        kv = e // about["num_attention_heads"] * about["num_key_value_heads"]
        shapes = {"model.embed_tokens": (VOCAB, e), "model.norm": (e,)}
        if not about["tie_word_embeddings"]:
            shapes["lm_head"] = (VOCAB, e)
        for i in range(about["num_hidden_layers"]):
            shapes |= {f"model.layers.{i}.{part}": shape for part, shape in {
                "input_layernorm": (e,), "post_attention_layernorm": (e,),
                "self_attn.q_proj": (e, e), "self_attn.k_proj": (kv, e),
                "self_attn.v_proj": (kv, e), "self_attn.o_proj": (e, e),
                "mlp.gate_proj": (hidden, e), "mlp.up_proj": (hidden, e),
                "mlp.down_proj": (e, hidden)}.items()}
        shapes = {f"{name}.weight": shape for name, shape in shapes.items()}
    else:
        e = about["n_embd"]
        shapes = {"wte.weight": (VOCAB, e), "wpe.weight": (about["n_positions"], e)}
        both = {"ln_f": (e,)}
        for i in range(about["n_layer"]):
            both |= {f"h.{i}.{part}": shape for part, shape in {
                "ln_1": (e,), "ln_2": (e,), "attn.c_attn": (e, 3 * e), "attn.c_proj": (e, e),
                "mlp.c_fc": (e, 4 * e), "mlp.c_proj": (4 * e, e)}.items()}
        for name, shape in both.items():
            shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[-1:]}
    return {name: torch.randn(shape) * (0.3 if len(shape) > 1 else 0.1) + ("norm" in name or
            ("ln_" in name and name.endswith("weight"))) for name, shape in shapes.items()}


def save(folder, about, tensors, files=1):
    from safetensors.torch import save_file

    (folder / "config.json").write_text(json.dumps(about))
    if files == 1:
        save_file(tensors, folder / "model.safetensors")
        return
    where = {name: f"model-{i % files}.safetensors" for i, name in enumerate(sorted(tensors))}
    for file in set(where.values()):
        save_file({name: tensors[name] for name in tensors if where[name] == file}, folder / file)
    (folder / huggingface.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))


def difference(folder, want, tokens=TOKENS):
    config, tensors = huggingface.read(folder, len(tokens))
    got = float_model.run(config, tensors, tokens.numpy())["head"]
    step = float_model.stepping(config, tensors)
    stepped = [step(token) for token in tokens.numpy().reshape(-1, 1)]
    assert np.abs(got - stepped).max() <= 1e-6 * np.abs(got).max()
    return np.abs(got - want.numpy()).max()


@pytest.mark.parametrize(
    ("about", "files", "dtype"),
    [
        (LLAMA, 1, torch.float32), (LLAMA, 3, torch.float32),
        ({**LLAMA, "tie_word_embeddings": True}, 1, torch.bfloat16),
        ({**LLAMA, "num_key_value_heads": 4}, 2, torch.bfloat16),
        ({**LLAMA, "max_position_embeddings": 131072}, 1, torch.float32),
        (GPT2, 1, torch.float32), (GPT2, 2, torch.float16),
    ],
)
def test_a_folder_computes_what_was_published(tmp_path, about, files, dtype):
    tensors = {name: values.to(dtype) for name, values in weights(about).items()}
    save(tmp_path, about, tensors, files)
    reference = llama if about["model_type"] == "llama" else gpt2
    wide = {name: values.double() for name, values in tensors.items()}
    tokens = TOKENS[:13]
    assert difference(tmp_path, reference(wide, about, tokens), tokens) <= 1e-4


FAMILIES = {
    "llama": ("Llama", {}), "biased llama": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("Mistral", {"sliding_window": 4096}), "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 4}),
    "phi3": ("Phi3", {"pad_token_id": 0, "sliding_window": 2047}), "gpt2": ("GPT2", {}),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [False, True])
def test_a_folder_computes_what_transformers_does(tmp_path, family, tied):
    transformers = pytest.importorskip("transformers")
    kind, more = FAMILIES[family]
    about = {**(GPT2 if kind == "GPT2" else LLAMA), "tie_word_embeddings": tied, **more}
    del about["model_type"]
    torch.manual_seed(4)
    head = "LMHeadModel" if kind == "GPT2" else "ForCausalLM"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's own
        config = getattr(transformers, f"{kind}Config")(**about)
        model = getattr(transformers, kind + head)(config).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, 0.1, 0.3)
        model.save_pretrained(tmp_path)
    with torch.no_grad():
        want = model(TOKENS[None]).logits[0]
    assert difference(tmp_path, want) <= 1e-4 * max(1, float(want.abs().max()))


@pytest.mark.parametrize(
    ("about", "change", "words"),
    [
        (LLAMA, {"rope_scaling": {"rope_type": "llama3"}}, 'rope_scaling.rope_type: is not known, '
         'got "llama3"'),
        (LLAMA, {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "rope_parameters.rope"),
        (LLAMA, {"model_type": "mistral", "sliding_window": 16}, "sliding_window: expected null, "
         "or the 20 tokens of the context at least, got 16; --context 16 takes as many"),
        (LLAMA, {"layer_types": ["sliding_attention"]}, 'layer_types: expected a list of "full_'),
        (LLAMA, {"attention_bias": True}, "missing tensor model.layers.0.self_attn.q_proj.bias"),
        (LLAMA, {"mlp_bias": True}, "missing tensor model.layers.0.mlp.gate_proj.bias"),
        (LLAMA, {"model_type": "phi3"}, "missing tensor model.layers.0.self_attn.qkv_proj.weight"),
        (LLAMA, {"hidden_act": "gelu"}, 'hidden_act: expected silu or swish, got "gelu"'),
        (LLAMA, {"head_dim": 8}, "head_dim: expected 4, hidden_size / num_attention_heads, got 8"),
        (LLAMA, {"num_attention_heads": 5}, "num_attention_heads: expected a divisor of hidden"),
        (LLAMA, {"num_key_value_heads": 3}, "a multiple of num_key_value_heads 3, got 4"),
        (LLAMA, {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping: is not known"),
        (LLAMA, {"vocab_size": 50257}, "vocab_size: expected a whole number from 1 to 32768"),
        (LLAMA, {"rms_norm_eps": None}, "rms_norm_eps: expected a number above 0, got null"),
        (LLAMA, {"model_type": "gemma"}, "model_type: expected llama, mistral, qwen2, qwen3, phi3 "
         "or gpt2, got 'gemma'"),
        (LLAMA, {"tie_word_embeddings": True}, "lm_head.weight is not the embedding"),
        (LLAMA, {"num_hidden_layers": 1}, "unused tensor model.layers.1."),
        (LLAMA, {"num_hidden_layers": 3}, "missing tensor model.layers.2."),
        (LLAMA, {"intermediate_size": 25}, "expected floats [25, 16], got F32 [24, 16]"),
        (GPT2, {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx: exp"),
        (GPT2, {"activation_function": "mish"}, "activation_function: expected gelu_new"),
        (GPT2, {"n_head": 5}, "n_head: expected a divisor of n_embd 12, got 5"),
        (GPT2, {"tie_word_embeddings": False}, "missing tensor lm_head.weight"),
        (GPT2, {"n_positions": 19}, "wpe.weight: expected floats [19, 12], got F32 [20, 12]"),
    ],
)
def test_what_computes_otherwise_is_refused_by_name(tmp_path, about, change, words):
    save(tmp_path, {**about, **change}, weights(about))
    with pytest.raises(ModelError) as refused:
        huggingface.read(tmp_path)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_a_field_that_is_missing_is_named(tmp_path):
    save(tmp_path, {key: value for key, value in GPT2.items() if key != "n_head"}, weights(GPT2))
    with pytest.raises(ModelError, match=r"config\.json: it lacks n_head"):
        huggingface.read(tmp_path)


def test_tensors_that_say_nothing_new_may_be_there_and_others_not(tmp_path):
    turns = 500.0 ** (-torch.arange(0, 4, 2) / 4)
    name = "model.layers.1.self_attn.rotary_emb.inv_freq"
    save(tmp_path, LLAMA, weights(LLAMA) | {name: turns})
    huggingface.read(tmp_path)
    save(tmp_path, LLAMA, weights(LLAMA) | {name: turns * 2})
    with pytest.raises(ModelError, match="inv_freq is another than the config says"):
        huggingface.read(tmp_path)
    save(tmp_path, GPT2, weights(GPT2) | {"h.0.attn.bias": torch.ones(1, 1, 20, 20).tril()})
    huggingface.read(tmp_path)
    save(tmp_path, GPT2, weights(GPT2) | {"score.weight": torch.ones(2, 12)})
    with pytest.raises(ModelError, match=r"unused tensor score\.weight"):
        huggingface.read(tmp_path)


def test_files_that_are_missing_or_cut_off_are_refused(tmp_path):
    def refused(words):
        with pytest.raises(ModelError) as found:
            huggingface.read(tmp_path)
        assert words in str(found.value) and "\n" not in str(found.value)

    refused("config.json: No such file")
    (tmp_path / "config.json").write_text("[]")
    refused("config.json: expected an object, got list")
    save(tmp_path, LLAMA, weights(LLAMA), 2)
    part = tmp_path / "model-1.safetensors"
    part.write_bytes(part.read_bytes()[:-4])
    refused("model-1.safetensors: not a safetensors file that can be read")
    part.unlink()
    refused("model-1.safetensors: no such file")
    (tmp_path / huggingface.INDEX).write_text('{"weight_map": {"a": "../model-0.safetensors"}}')
    refused("expected files of its folder, got ../model-0.safetensors")
    (tmp_path / huggingface.INDEX).write_text('{"weight_map": {"a": "model-0.safetensors"}}')
    refused("a: model-0.safetensors lacks it")


# All the way, through the commands


def tokenizer_files(folder):
    """vocab.json of the bytes and 43 merges, as long as the model's vocabulary, and merges.txt."""
    from attn8_host.importers.pieces import OF_CHARACTERS

    names = ["<|endoftext|>", *OF_CHARACTERS]
    merges = [("t", "h"), ("th", "e"), ("\u0120", "the")]
    merges += [(a, b) for a in "aeilnor" for b in "stdlnr"][:40]
    vocabulary = {name: token for token, name in enumerate([*names, *map("".join, merges)])}
    assert len(vocabulary) == VOCAB
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, merges)) + "\n")


def qwen3(about):
    """Tensors of a Qwen3: those of a Llama, and norms of each head."""
    d = about["hidden_size"] // about["num_attention_heads"]
    return weights({**about, "model_type": "llama"}) | {
        f"model.layers.{i}.self_attn.{part}_norm.weight": 0.5 + torch.rand(d)
        for i in range(about["num_hidden_layers"]) for part in "qk"}


QWEN3 = {**LLAMA, "model_type": "qwen3", "bos_token_id": 0, "eos_token_id": 0}


@pytest.mark.parametrize(("about", "tensors"), [(GPT2, weights), (QWEN3, qwen3)])
def test_a_board_writes_what_numpy_does(tmp_path, capsys, about, tensors):
    save(tmp_path, about, tensors(about))
    tokenizer_files(tmp_path)
    floats, made, report = (tmp_path / name for name in ("float.safetensors", "int8.safetensors",
                                                         "report.json"))
    assert main(["import", str(tmp_path), "--output", str(floats)]) == 0
    assert "and a tokenizer" in " ".join(capsys.readouterr().out.split())
    assert main(["quantize", str(floats), "--output", str(made)]) == 0
    assert main(["generate", str(made), "--prompt", "Är the", "--float", str(floats), "--board",
                 "virtual", "--temperature", "0.9", "--json", str(report)]) == 0
    found, model = json.loads(report.read_text()), load(made, False)
    ids = encoded(model, "Är the")
    tokens = [token for token, _ in steps(model, ids, None, 0.9)]
    assert found["tokens"] == tokens and found["bit_exact"] and len(tokens) > 4
    assert found["text"] == model.tokenizer.text([*ids, *tokens])
    assert abs(found["cross_entropy"] - found["cross_entropy_float"]) <= 0.1
    assert main(["plan", "--model", str(made)]) == 0
