"""Models of text: llama2.c's checkpoints and its tokenizer, and what a board writes."""

import json
import struct
from array import array
from binascii import crc32

import numpy as np
import pytest
from mpremote.romfs import VfsRomWriter

from attn8_host import float_model, modelfile, partition
from attn8_host.boards import Board
from attn8_host.cli import main
from attn8_host.commands.pictures import WIDTH, wrapped
from attn8_host.deploy import push
from attn8_host.errors import BoardError, ModelError
from attn8_host.importers import llama2c
from attn8_host.model import Model, load
from attn8_host.paths import MODELS
from attn8_host.plan.inference import executed, loaded
from attn8_host.proof import generate
from attn8_host.proof.attention import attended
from attn8_host.sampling import Sampler
from attn8_host.text import encoded, steps
from attn8_host.tokenizer import RULES, Tokenizer
from tests.compiled import compiled

BEGIN = RULES[0]
STORIES = MODELS / "stories.safetensors"
# What llama2.c's doc/stories260K.md begins with: the float model's likeliest tokens
PUBLISHED = ("Once upon a time, there was a little girl named Lily. She loved to play outside in "
             "the park. One day, she saw a big, red ball. She wanted to play with it, but it was "
             "too high.")
PATH = "/models/text.safetensors"
CONTEXT, VOCAB = 24, 300


@pytest.fixture(scope="module")
def stories():
    return load(STORIES, False)


# The tokenizer


def run_c_encode(vocab, scores, text):
    """encode of llama2.c's run.c, line by line, of a text's bytes without 0; with BOS."""
    def str_lookup(piece):
        return next((i for i, each in enumerate(vocab) if each == piece), -1)

    tokens = [1]
    if text:
        tokens.append(str_lookup(b" "))
    str_buffer = b""
    for c in range(len(text)):
        if text[c] & 0xC0 != 0x80:
            str_buffer = b""
        str_buffer += text[c : c + 1]
        following = text[c + 1] if c + 1 < len(text) else 0
        if following & 0xC0 == 0x80 and len(str_buffer) < 4:
            continue
        token = str_lookup(str_buffer)
        if token != -1:
            tokens.append(token)
        else:
            tokens += [byte + 3 for byte in str_buffer]
        str_buffer = b""
    lookup = {piece: i for i, piece in reversed(list(enumerate(vocab)))}
    while True:
        best_score, best_id, best_idx = -1e10, -1, -1
        for i in range(len(tokens) - 1):
            token = lookup.get(vocab[tokens[i]] + vocab[tokens[i + 1]], -1)
            if token != -1 and scores[token] > best_score:
                best_score, best_id, best_idx = scores[token], token, i
        if best_idx == -1:
            return tokens
        tokens[best_idx] = best_id
        del tokens[best_idx + 1]


def run_c_decode(vocab, previous, token):
    """decode of llama2.c's run.c."""
    piece = vocab[token]
    if previous == 1 and piece[:1] == b" ":
        piece = piece[1:]
    digits = piece[3:5]
    if piece[:3] == b"<0x" and piece[5:6] == b">" and all(d in b"0123456789ABCDEF" for d in digits):
        return bytes([int(digits, 16)])
    return piece


def texts(count):
    """Words of stories, characters of all kinds, and both."""
    rng = np.random.default_rng(1)
    words = [*PUBLISHED.split(), "once", "upon", "  ", "dög", "日本", "🙂", "\n", "<0x41>", "<s>"]
    for i in range(count):
        chosen = " ".join(rng.choice(words, rng.integers(0, 8)))
        others = [chr(int(c)) for c in rng.integers(1, 0xD800, 4)] if i % 3 == 0 else []
        yield chosen + "".join(others)


def test_a_thousand_texts_are_the_tokens_of_llama2_c(stories):
    vocab, scores = stories.tokenizer.pieces, stories.tokenizer.ranks
    seen = set()
    for text in texts(1000):
        ids = stories.tokenizer.encode(text)
        assert ids == run_c_encode(vocab, scores, text.encode())
        before = BEGIN
        for token in ids[1:]:
            assert stories.tokenizer.decode(before, token) == run_c_decode(vocab, before, token)
            before = token
        assert stories.tokenizer.text(ids) == text
        seen |= set(ids)
    assert len(seen) > 150


def test_a_board_encodes_and_decodes_the_same(board, remote, stories):
    tensors = stories.tokenizer.tensors()
    given = list(texts(25))
    want = [stories.tokenizer.encode(text) for text in given]
    board.enter_repl()
    found = remote(
        "from attn8.tokenizer import Tokenizer\n"
        "made = Tokenizer(pieces, ends, ranks)\n"
        f"for text in {given!r}:\n"
        "    give(made.encode(text))\n"
        "for token in range(len(made)):\n"
        "    give(made.decode(1, token).hex())",
        pieces=tensors["tokenizer.pieces"], ends=tensors["tokenizer.ends"],
        ranks=tensors["tokenizer.ranks"],
    )
    assert [list(ids) for ids in found[:25]] == want
    assert found[25:] == [stories.tokenizer.decode(1, token).hex() for token in range(512)]


DECODE = """
from binascii import crc32
import attn8.text as text
class Pieces:
    begin = end = -1
    def encode(self, prompt):
        return []
    def decode(self, before, token):
        return data[token * size : token * size + size]
class Model:
    tokenizer = Pieces()
text.steps = lambda *given: ((token, None) for token in range(-(-len(data) // size)))
for first in range(256):
    for rest in rests[: len(rests) if first >= 0xE0 else 1]:
        data = b"".join([bytes((first, second)) + rest for second in range(256)]) + rest[:-1]
        for size in 4, len(data):
            found = 0
            for letters in text.generate(Model()):
                found = crc32(letters.encode(), found)
            give(found)
"""
ENDS = 0x41, 0x80, 0xBF, 0xC2  # beside what goes on, and its ends
RESTS = [b"A", *(bytes((third, fourth, 65)) for third in ENDS for fourth in ENDS)]


def test_a_board_writes_for_bytes_that_are_no_characters_what_cpython_does(board, remote):
    """Overlong forms, surrogates, what is above U+10FFFF, is cut off or begins with nothing: each
    first byte with each second one, and what may lie behind them; in tokens of any bytes."""
    board.enter_repl()
    found = remote(compiled(f"rests = {RESTS!r}\n{DECODE}"))
    wanted = [b"".join(bytes((first, second)) + rest for second in range(256)) + rest[:-1]
              for first in range(256) for rest in RESTS[: len(RESTS) if first >= 0xE0 else 1]]
    assert found == [crc32(data.decode("utf-8", "replace").encode())
                     for data in wanted for _ in range(2)]


def tokenizer_bin(pieces, scores):
    data = struct.pack("<i", max(map(len, pieces)))
    return data + b"".join(struct.pack("<fi", score, len(piece)) + piece
                           for score, piece in zip(scores, pieces, strict=True))


def test_a_tokenizer_file_is_read_and_a_wrong_one_refused(tmp_path, stories):
    pieces = stories.tokenizer.pieces
    scores = [-1e10 if i < 3 else float(-i) for i in range(512)]
    whole, path = tokenizer_bin(pieces, scores), tmp_path / "tok.bin"
    path.write_bytes(whole)
    found = Tokenizer.read(path)
    assert found.pieces == pieces
    assert list(np.argsort(found.ranks)) == [0, 1, 2, *range(511, 2, -1)]
    for data, words in [(whole[:-1], "cut off after 511 pieces"), (b"", "cut off after 0 pieces"),
                        (tokenizer_bin(pieces[:20], scores[:20]), "expected 259 pieces or more")]:
        path.write_bytes(data)
        with pytest.raises(ModelError) as refused:
            Tokenizer.read(path)
        assert words in str(refused.value) and "\n" not in str(refused.value)


# Checkpoints

SIZES = {"dim": 12, "hidden_dim": 20, "layers": 2, "heads": 6, "kv_heads": 3, "vocab_size": VOCAB,
         "context": CONTEXT}


def checkpoint(newer, tied, sizes=None):
    """(bytes of a checkpoint of llama2.c, its weights)."""
    sizes = sizes or SIZES
    rng = np.random.default_rng(3)
    n, e, h = sizes["layers"], sizes["dim"], sizes["hidden_dim"]
    kv, vocab = e // sizes["heads"] * sizes["kv_heads"], sizes["vocab_size"]
    w = {"tok": (vocab, e), "att": (n, e), "wq": (n, e, e), "wk": (n, kv, e), "wv": (n, kv, e),
         "wo": (n, e, e), "ffn": (n, e), "w1": (n, h, e), "w2": (n, e, h), "w3": (n, h, e),
         "norm": (e,), "cls": (vocab, e)}
    w = {key: rng.normal(1 if key in ("att", "ffn", "norm") else 0, 0.5, shape).astype("f4")
         for key, shape in w.items()}
    values = [sizes[key] for key in llama2c.NAMES]
    if newer:
        order = ("att", "ffn", "norm", "tok", "wq", "wk", "wv", "wo", "w1", "w2", "w3")
        head = struct.pack("<Ii7iB", 0x616B3432, 1, *values, tied).ljust(256, b"\0")
        tables = b""
    else:
        order = ("tok", "att", "wq", "wk", "wv", "wo", "ffn", "w1", "w2", "w3", "norm")
        values[5] *= 1 if tied else -1
        head = struct.pack("<7i", *values)
        tables = bytes(4 * sizes["context"] * (e // sizes["heads"]))
    data = head + b"".join(w[key].tobytes() for key in order) + tables
    if tied:
        w["cls"] = w["tok"]
    else:
        data += w["cls"].tobytes()
    return data, w


def run_c_forward(w, tokens):
    """forward of llama2.c's run.c, in float64: logits of each token."""
    e, heads, kv = SIZES["dim"], SIZES["heads"], SIZES["kv_heads"]
    size, past, logits = e // heads, [([], []) for _ in range(SIZES["layers"])], []

    def rmsnorm(x, weight):
        return weight * x / np.sqrt((x * x).mean() + 1e-5)

    for pos, token in enumerate(tokens):
        x = w["tok"][token].astype(float)
        for layer in range(SIZES["layers"]):
            xb = rmsnorm(x, w["att"][layer])
            q, k, v = (w[name][layer] @ xb for name in ("wq", "wk", "wv"))
            for vector in q, k:
                for i in range(0, len(vector), 2):
                    angle = pos / 10000 ** (i % size / size)
                    a, b = vector[i], vector[i + 1]
                    vector[i] = a * np.cos(angle) - b * np.sin(angle)
                    vector[i + 1] = a * np.sin(angle) + b * np.cos(angle)
            keys, values = past[layer]
            keys.append(k)
            values.append(v)
            out = np.zeros(e)
            for h in range(heads):
                own, shared = (slice(g * size, (g + 1) * size) for g in (h, h // (heads // kv)))
                scores = np.array([q[own] @ key[shared] for key in keys]) / np.sqrt(size)
                weights = np.exp(scores - scores.max())
                out[own] = weights / weights.sum() @ np.array([value[shared] for value in values])
            x = x + w["wo"][layer] @ out
            xb = rmsnorm(x, w["ffn"][layer])
            hb = w["w1"][layer] @ xb
            x = x + w["w2"][layer] @ (hb / (1 + np.exp(-hb)) * (w["w3"][layer] @ xb))
        logits.append(w["cls"] @ rmsnorm(x, w["norm"]))
    return np.array(logits)


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_a_checkpoint_computes_what_llama2_c_does(tmp_path, newer, tied):
    data, w = checkpoint(newer, tied)
    (tmp_path / "model.bin").write_bytes(data)
    config, tensors = llama2c.read(tmp_path / "model.bin", 9)
    tokens = np.arange(9) * 31 % VOCAB
    want = run_c_forward(w, tokens)
    assert np.abs(float_model.run(config, tensors, tokens)["head"] - want).max() <= 1e-4
    step = float_model.stepping(config, tensors)
    found = np.array([step(tokens[i : i + 1]) for i in range(9)])
    assert np.abs(found - want).max() <= 1e-4
    assert ("head.weight" in tensors) is not tied


@pytest.mark.parametrize("newer", [False, True])
def test_a_wrong_checkpoint_is_refused_in_one_line(tmp_path, newer):
    data, _ = checkpoint(newer, True)
    path = tmp_path / "model.bin"
    for wrong, words in [
        (data[:-4], f"expected {len(data)} bytes as its header says, got {len(data) - 4}"),
        (data + b"1", f"got {len(data) + 1}"), (data[:20], "begins with 28 bytes, and this has 20"),
        (b"#!/bin/sh\n" * 9, "a checkpoint of llama2.c"),
        (struct.pack("<Ii", 0x616B3432, 2) + bytes(300), "version 2 of llama2.c"),
    ]:
        path.write_bytes(wrong)
        with pytest.raises(ModelError) as refused:
            llama2c.read(path)
        assert words in str(refused.value) and "\n" not in str(refused.value)
    path.write_bytes(data)
    for context in (0, CONTEXT + 1):
        with pytest.raises(ModelError, match=f"context: expected 1 to {CONTEXT}, got {context}"):
            llama2c.read(path, context)


def test_an_import_refuses_what_the_next_command_would(tmp_path, capsys):
    """Heads of an odd width, products of more values than a kernel takes, weights of NaN, and a
    header longer than a board's."""
    odd, wide = SIZES | {"heads": 4, "kv_heads": 2}, SIZES | {"hidden_dim": 4104}
    for sizes, words in (
        (odd, "heads: expected a divisor of dim 12 with heads of an even width, as positions turn "
         "pairs of values, and a multiple of kv_heads 2, got 4; train it with other heads"),
        (wide, "layers.0.w2.in_features: expected a whole number from 1 to 4096, got 4104"),
        (SIZES, "words.weight [300, 12]: holds NaN or infinities; train it again"),
    ):
        data = checkpoint(True, True, sizes)[0]
        at = 256 + 4 * 12 * 5  # behind the norms
        path, made = tmp_path / "model.bin", tmp_path / "float.safetensors"
        path.write_bytes(data[:at] + np.float32("nan").tobytes() + data[at + 4 :]
                         if sizes is SIZES else data)
        assert main(["import", str(path), "--output", str(made)]) == 2
        assert capsys.readouterr().err == f"attn8: {path}: {words}\n" and not made.exists()
    path.write_bytes(checkpoint(True, True, SIZES | {"layers": 20})[0])
    assert main(["import", str(path), "--output", str(made)]) == 2
    assert f"{made}: its header has" in capsys.readouterr().err and not made.exists()


# A small model all the way, through the commands


@pytest.fixture(scope="module")
def small(tmp_path_factory, stories):
    """(its int8 file, its float file), of random weights, calibrated with what it writes."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "model.bin").write_bytes(checkpoint(True, True)[0])
    pieces = stories.tokenizer.pieces[:VOCAB]
    (folder / "tok.bin").write_bytes(tokenizer_bin(pieces, [float(-i) for i in range(VOCAB)]))
    floats, made = folder / "float.safetensors", folder / "text.safetensors"
    assert main(["import", str(folder / "model.bin"), "--tokenizer", str(folder / "tok.bin"),
                 "--output", str(floats)]) == 0
    assert main(["quantize", str(floats), "--output", str(made), "--calibrate", "absmax"]) == 0
    return made, floats


def test_int8_weights_with_int16_activations_are_near_to_floats(small):
    made, floats = load(small[0], False), modelfile.read(small[1])
    x = np.arange(CONTEXT, dtype=np.int16) * 31 % VOCAB
    want = float_model.run(*floats, x)["head"]
    got = made(x)["head"] * made.config["layers"][-1]["scale"]
    assert np.abs(got - want).mean() <= 0.01 * np.ptp(want)


def test_a_cache_of_int16_is_asked_for(small, tmp_path, capsys):
    made = tmp_path / "text.safetensors"
    assert main(["quantize", str(small[1]), "--output", str(made), "--calibrate", "absmax",
                 "--cache", "int16"]) == 0
    config, tensors = modelfile.read(made)
    assert [entry["cache"] for entry in config["layers"]
            if entry["type"] == "grouped_attention"] == ["int16"] * SIZES["layers"]
    assert not any(name.endswith(".centre") for name in tensors)
    assert main(["quantize", str(MODELS / "digits_float.safetensors"), "--cache", "int16",
                 "--output", str(made)]) == 2
    assert "--cache int16: no layer takes it; leave it out" in capsys.readouterr().err


WRITE = """
import gc
from attn8 import generate, load
for weights in "resident", "stream":
    model = load(path, step=True, weights=weights)
    give("".join(generate(model, prompt, None, 0.9, 0.8, 5)))
    give("".join(generate(model, prompt, 4)))
    model.reset()
    give(model.prefill(array("h", [1, 2, 3])))
"""


def test_a_board_writes_what_numpy_does_with_weights_in_memory_and_in_the_file(
        board, remote, small):
    model = load(small[0], False)
    prompt = "Lily saw ünd"
    ids = encoded(model, prompt)
    assert len(ids) < CONTEXT
    texts = []
    for request in (None, 0.9, 0.8, 5), (4,):
        tokens = [token for token, _ in steps(model, ids, *request)]
        texts.append(model.tokenizer.text([*ids, *tokens]))
    model.reset()
    logits = model.prefill(np.array([1, 2, 3]))
    board.enter_repl()
    push(board, PATH, small[0].read_bytes())
    found = remote(WRITE, path=PATH, prompt=prompt)
    for drawn, likeliest, last in (found[:3], found[3:]):
        assert [drawn, likeliest] == texts
        assert (last == logits).all()


WRONG = {
    "list(generate(model, 'a' * 30))": "the prompt has 31 tokens, the model has room for 24",
    "model.step(array('h', [300]))": "words: token 0: expected 0 to 299, got 300",
    "for i in range(25): model.step(array('h', [1]))":
        "layers.0.attention: its cache has room for 24 tokens and holds 24; reset",
    "list(generate(model, 'a', 0))": "tokens: expected 1 to 32768, got 0",
    "list(generate(model, 'a', 1, 101))": "temperature: expected 0 to 100, got 101",
    "list(generate(model, 'a', 1, 'a'))": "temperature: expected a number, got str",
    "list(generate(model, 'a', 1, 1, -1))": "top_p: expected 0 to 1, got -1",
    "list(generate(model, 'a', 1, 1, 1, -1))": "seed: expected 0 to 4294967295, got -1",
    "list(generate(5))": "model: expected one that attn8.load gave, got int",
    "list(generate(load('/models/digits.safetensors')))":
        "the model has no tokenizer: import it with --tokenizer, or with tokenizer.json in its "
        "folder",
}


def test_wrong_calls_are_refused_in_one_line(board, remote, small):
    board.enter_repl()
    push(board, PATH, small[0].read_bytes())
    remote("from attn8 import generate, load\n"
           f"model = load({PATH!r}, step=True, weights='stream')\ngive(0)")
    assert {code: remote.refused(code) for code in WRONG} == WRONG


# What is asked of a tokenizer with each of VALUES, and what is expected of it
ASKED = {
    "made.encode({})": ("text: expected str, got {}", ("str",)),
    "made.decode(1, {})": ("token: expected a whole number, got {}", ("int", "bool")),
    "made.piece({})": ("token: expected a whole number, got {}", ("int", "bool")),
}
VALUES = ("None", "5", "True", "b'ab'", "1.5", "[1]", "['a']", "(1,)", "{}", "'ab'", "object")
# Of which there are 300
NONE = {call: f"token: expected 0 to 299, got {token}" for token in (-2, 300, 1 << 40)
        for call in (f"made.decode(1, {token})", f"made.piece({token})")}
WORDS = [(call.format(value), expected.format(type(eval(value)).__name__))
         for call, (expected, kinds) in ASKED.items() for value in VALUES
         if type(eval(value)).__name__ not in kinds]


@pytest.mark.parametrize("weights", ["stream", "resident"])
def test_a_tokenizer_says_what_it_expected(board, remote, small, weights):
    board.enter_repl()
    push(board, PATH, small[0].read_bytes())
    remote(compiled(f"from attn8 import load\nmodel = load({PATH!r}, step=True, "
                    f"weights={weights!r})\nmade = model.tokenizer\ngive(0)"))
    assert [(call, remote.refused(compiled(call))) for call, _ in WORDS] == WORDS
    assert {call: remote.refused(compiled(call)) for call in NONE} == NONE


def test_a_tokenizer_on_the_host_says_the_same(small):
    made = load(small[0], False).tokenizer
    for call, message in [*WORDS, *NONE.items()]:
        with pytest.raises((TypeError, ValueError)) as refused:
            eval(call, {"made": made})
        assert str(refused.value) == message


@pytest.mark.parametrize(("given", "message"), [
    (None, "text: expected mult and shift, got None"),
    ({"mult": 5}, "text: expected mult and shift, got {'mult': 5}"),
    ({"mult": 0, "shift": 3}, "text.mult: expected 1 to 536870912, got 0"),
    ({"mult": 5, "shift": "a"}, "text.shift: expected a whole number, got str"),
])
def test_both_halves_refuse_what_no_draw_can_be_made_of(board, remote, small, given, message):
    config, tensors = modelfile.read(small[0])
    config["text"] = given
    if given is None:
        del config["text"]
    with pytest.raises(ModelError) as refused:
        Model(config, tensors)
    assert str(refused.value) == message
    board.enter_repl()
    push(board, PATH, modelfile.pack(config, tensors))
    assert remote.refused(f"load({PATH!r}, step=True)", "from attn8 import load") == (
        f"{PATH}: {message}")


@pytest.mark.parametrize(("call", "message"), [
    ("tokenizer.text(5)", "ids: expected a list of tokens, got int"),
    ("tokenizer.text(None)", "ids: expected a list of tokens, got NoneType"),
    ("step('a')", "x: expected whole numbers, got str"),
    ("step(None)", "x: expected whole numbers, got NoneType"),
    ("step(np.array([1.5]))", "x: expected whole numbers, got ndarray of float64"),
    ("step([1, 2])", "x: expected 1 whole numbers, got 2"),
    ("step([])", "x: expected 1 whole numbers, got 0"),
    ("step([300])", "words: token 0: expected 0 to 299, got 300"),
    ("prefill('a')", "tokens: expected whole numbers, got str"),
    ("prefill([True])", "tokens: expected whole numbers, got list of bool"),
    ("prefill([])", "tokens: expected one or more whole numbers, got 0"),
    ("prefill([[1, 2], [3]])", "tokens: expected whole numbers, got list"),
    ("__call__(5)", f"input: expected {CONTEXT} whole numbers, got 1"),
    ("__call__(np.zeros(3, np.int16))", f"input: expected {CONTEXT} whole numbers, got 3"),
    (f"__call__(np.ones({CONTEXT}))", "input: expected whole numbers, got ndarray of float64"),
])
def test_what_numpy_is_given_in_place_of_tokens_is_refused(small, call, message):
    model = load(small[0], False)
    with pytest.raises((TypeError, ValueError)) as refused:
        eval(f"model.{call}")
    assert str(refused.value) == message
    assert (model.step(5) == model(np.full(CONTEXT, 5, np.int16))["head"].ravel()[:VOCAB]).all()


@pytest.mark.parametrize(("request_", "message"), [
    (("a",), "tokens: expected a whole number, got str"),
    ((0,), "tokens: expected 1 to 32768, got 0"),
    ((1, "a"), "temperature: expected a number, got str"),
    ((1, 1, None), "top_p: expected a number, got NoneType"),
    ((1, 1, 1, 1.5), "seed: expected a whole number, got float"),
    ((1, 1, 1, -1), "seed: expected 0 to 4294967295, got -1"),
])
def test_what_numpy_is_asked_to_write_is_refused_as_well(small, request_, message):
    with pytest.raises((TypeError, ValueError, ModelError)) as refused:
        list(steps(load(small[0], False), [1], *request_))
    assert str(refused.value) == message


NEWER = ("generate: a newer one writes with this model; end one before the next, or load the model "
         "twice")
TWO = """
from attn8 import generate, load
model = load(path, step=True)
alone = "".join(generate(model, "ab", 6))
first = generate(model, "ab", 6)
next(first)
second = generate(model, "ab", 6)
begun = next(second)
for _ in range(2):
    try:
        give("".join(first))
    except ValueError as error:
        give(str(error))
give(int(begun + "".join(second) == alone == "".join(generate(model, "ab", 6))))
first = generate(model, "ab", 6)
next(first)
try:
    list(generate(model, "ab", 6, 101))
except ValueError as error:
    give(str(error))
try:
    next(first)
except ValueError as error:
    give(str(error))
"""


def test_of_two_that_write_with_one_model_the_older_is_refused(board, remote, small):
    board.enter_repl()
    push(board, PATH, small[0].read_bytes())
    # An iterator that has failed has ended; one that is refused has reset the model
    assert remote(TWO, path=PATH) == [NEWER, "", 1, "temperature: expected 0 to 100, got 101",
                                      NEWER]


def test_numpy_refuses_the_older_too(small):
    model = load(small[0], False)
    ids = encoded(model, "ab")
    alone = [token for token, _ in steps(model, ids, 6)]
    first, second = steps(model, ids, 6), steps(model, ids, 6)
    next(first)
    begun, _ = next(second)
    with pytest.raises(ModelError) as refused:
        next(first)
    assert str(refused.value) == NEWER
    assert [begun, *(token for token, _ in second)] == alone


def test_a_run_of_a_model_of_text_is_refused_before_a_board_is_asked(
    capsys, monkeypatch, tmp_path, small
):
    """The board gets what it takes to write a token at a time: a whole pass found no module."""
    monkeypatch.setattr(Board, "__init__", None)
    np.save(tmp_path / "ids.npy", np.ones((1, CONTEXT), np.int16))
    assert main(["run", str(small[0]), str(tmp_path / "ids.npy")]) == 2
    assert capsys.readouterr().err == (f"attn8: {small[0]}: it takes text; attn8 generate compares "
                                       "each token that it writes\n")


IN_PLACE = """
import vfs
from attn8 import load
from uctypes import addressof
model, image = None, bytearray(size)
with open("/models/memory.romfs", "rb") as file:
    file.readinto(image)
vfs.mount(vfs.VfsRom(image), "/memory")
for weights in None, "stream", "resident":
    model = None
    model = load("/memory/text.safetensors", step=True, weights=weights)
    give(int(0 <= addressof(model.layers[0].weight) - addressof(image) < len(image)))
    give(model.prefill(array("h", [1, 2, 3])))
vfs.umount("/memory")
"""


@pytest.mark.board("virtual")  # a chip's ROMFS is in its flash
def test_weights_of_a_file_in_memory_are_read_where_they_lie(board, remote, small):
    model = load(small[0], False)
    model.reset()
    logits = model.prefill(np.array([1, 2, 3]))
    writer = VfsRomWriter()
    writer.mkfile("text.safetensors", small[0].read_bytes())
    board.enter_repl()
    image = writer.finalise()
    push(board, "/models/memory.romfs", image)
    found = remote(IN_PLACE, size=len(image))
    assert found[::2] == [1, 1, 0]
    assert all((each == logits).all() for each in found[1::2])


# What a chip's esp32 module has of a data partition, with 12 blocks in a file
ESP32 = """
class Partition:
    TYPE_DATA = 1
    def find(kind, label):
        return [Partition()] if (kind, label) == (1, "attn8") else []
    def ioctl(self, what, ignored):
        return {4: 12, 5: 4096}[what]
    def readblocks(self, block, out, offset=0):
        with open("/flash.bin", "rb") as file:
            file.seek(4096 * block + offset)
            if 4096 * block + offset + len(memoryview(out)) > 12 * 4096:
                raise OSError(22)
            file.readinto(out)
    def writeblocks(self, block, data):
        assert len(data) == 4096
        with open("/flash.bin", "r+b") as file:
            file.seek(4096 * block)
            file.write(data)
"""


@pytest.mark.board("virtual")
def test_a_model_in_a_partition_computes_the_same(board, remote, small):
    model = load(small[0], False)
    model.reset()
    logits = model.prefill(np.array([1, 2, 3]))
    load_it = f"load({partition.PATH!r}, step=True)"
    board.enter_repl()
    with pytest.raises(BoardError, match="has no partition attn8; make it with attn8 flash"):
        partition.push(board, b"x", lambda done, total: None)
    assert remote.refused(load_it, "from attn8 import load") == (
        "partition:attn8: there is no such partition; make it with attn8 flash --data 1M")
    try:
        board.write_file("/lib/esp32.py", ESP32.encode())
        board.write_file("/flash.bin", b"\xff" * 12 * 4096)
        board.enter_repl()
        with pytest.raises(BoardError, match="has 49,152 bytes, and the model 49,153"):
            partition.push(board, bytes(49153), lambda done, total: None)
        sent = []
        for _ in range(2):  # it is there the second time
            partition.push(board, small[0].read_bytes(), lambda done, total: sent.append(done))
        assert sent[-1] == small[0].stat().st_size and len(sent) == -(-sent[-1] // 4096)
        found, said = remote(f"""
from attn8 import load
model = {load_it}
give(model.prefill(array("h", [1, 2, 3])))
import esp32
def gone(self, block, out, offset=0): raise OSError(5)
esp32.Partition.readblocks = gone
try:
    model.step(array("h", [4]))
except ValueError as error:
    give(str(error))
""")
        assert (found == logits).all()
        assert said == "partition:attn8: its weights cannot be read any more; load it again"
    finally:
        board.enter_repl()
        board.execute("import os\nfor path in '/lib/esp32.py', '/flash.bin': os.remove(path)")


def test_a_file_that_is_cut_off_is_noticed_and_the_board_goes_on(board, remote, small):
    board.enter_repl()
    push(board, PATH, small[0].read_bytes())
    said, again = remote(
        "import os\n"
        "from attn8 import load\n"
        "model = load(path, step=True, weights='stream')\n"
        "data = open(path, 'rb').read()\n"
        "with open(path, 'wb') as file:\n"
        "    file.write(data[:9000])\n"
        "try:\n"
        "    model.step(array('h', [5]))\n"
        "except ValueError as error:\n"
        "    give(str(error))\n"
        "with open(path, 'wb') as file:\n"
        "    file.write(data)\n"
        "give(load(path, step=True, weights='stream').step(array('h', [5])))", path=PATH)
    assert said == f"{PATH}: its weights cannot be read any more; load it again"
    model = load(small[0], False)
    model.reset()
    assert (again == model.step(np.array([5], np.int16))).all()


def test_a_tokenizer_of_another_model_is_refused(tmp_path, small, capsys, stories):
    (tmp_path / "model.bin").write_bytes(checkpoint(True, True)[0])
    tok = tmp_path / "tok.bin"
    tok.write_bytes(tokenizer_bin(stories.tokenizer.pieces, range(512)))
    assert main(["import", str(tmp_path / "model.bin"), "--tokenizer", str(tok), "--output",
                 str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "it has 512 pieces, the first layer takes 300 tokens" in " ".join(said.split())
    assert not (tmp_path / "out").exists()
    config, tensors = modelfile.read(small[0])
    tensors["tokenizer.ends"] = tensors["tokenizer.ends"][:-1]
    tensors["tokenizer.ranks"] = tensors["tokenizer.ranks"][:-1]
    with pytest.raises(ModelError, match=r"tokenizer\.ends: expected ends of pieces"):
        Model(config, tensors)


def test_draws_are_of_the_fewest_tokens_that_have_top_p():
    logits = np.array([0, 100, 200, 300, 400, -32767], np.int16)
    ratio = {"mult": 1 << 14, "shift": 4}  # 1024 steps an octave / 4096: 100 steps are 25 octaves
    assert Sampler(ratio, 0.0, 1.0, 1)(logits) == 4
    ratio = {"mult": 41 * 16, "shift": 4}  # 100 steps are about an octave
    drawn = [set(), set(), set()]
    for seen, top_p in zip(drawn, (1.0, 0.7, 0.4), strict=True):
        sampler = Sampler(ratio, 1.0, top_p, 9)
        seen |= {sampler(logits) for _ in range(400)}
    assert drawn == [{0, 1, 2, 3, 4}, {3, 4}, {4}]
    first = [Sampler(ratio, 1.0, 1.0, seed)(np.zeros(10, np.int16)) for seed in range(1000)]
    assert np.bincount(first).min() > 70  # small seeds begin everywhere


def test_the_stories_are_the_published_ones(stories):
    ids = encoded(stories, "")
    tokens = [token for token, _ in steps(stories, ids, 60)]
    assert stories.tokenizer.text([BEGIN, *tokens]).startswith(PUBLISHED[:150])
    assert PUBLISHED.startswith(stories.tokenizer.text([BEGIN, *tokens]))


@pytest.mark.parametrize("arch, cache, most", [
    ("xtensawin", "int8", 1_100_000), ("rv32imc", "int8", 1_490_000),
    ("xtensawin", "int16", 975_000), ("rv32imc", "int16", 1_455_000),
])
def test_a_token_takes_so_many_instructions(arch, cache, most):
    """All of it at position 100, with weights in the file: docs/text.md says what they are."""
    config, tensors = modelfile.read(MODELS / "stories.safetensors")
    for entry in config["layers"]:
        if entry["type"] == "grouped_attention" and cache == "int16":
            entry["cache"] = cache
            del tensors[f"{entry['name']}.centre"]
    tally = executed(config, tensors, arch, "turbo")
    assert most - 10_000 < tally.instructions <= most
    # Products, the ratios of their outputs, tables of silu, two rows of the embedding with theirs
    assert tally.read == 259_328 + 3 * 3512 + 5 * 1026 + 2 * (64 + 3)
    assert tally.reads < 70


def test_a_token_of_a_prompt_takes_four_fifths_of_a_step():
    config, tensors = modelfile.read(MODELS / "stories.safetensors")
    model, device, _ = loaded(config, modelfile.pack(config, tensors), "xtensawin", "turbo")
    tally, tokens = device.tally, array("h", range(32))

    def steps():
        for i in range(len(tokens)):
            model.step(tokens[i : i + 1])

    found = []
    for run, *arguments in (steps,), (model.prefill, tokens):
        model.reset()
        tally.known = {}
        tally.count(run, *arguments)
        found.append((tally.instructions, tally.read))
    (instructions, read), (fewer, less) = found
    assert 0.79 * instructions < fewer < 0.81 * instructions
    assert 0.75 * read < less < 0.76 * read


def test_plan_says_what_a_rate_of_the_flash_makes_of_a_text(small, tmp_path, capsys):
    path = tmp_path / "plan.json"
    assert main(["plan", "--model", str(small[0]), "--flash-rate", "1M", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    seconds = found["read"] / (1 << 20) + found["cycles"] / 160e6
    assert found["tokens_per_second"]["160 MHz"] == pytest.approx(1 / seconds, rel=0.01)
    said = " ".join(capsys.readouterr().out.split())
    assert f"in {found['reads']} reads" in said and "at 160 MHz, 1,048,576 bytes read" in said
    assert main(["plan", "--model", str(MODELS / "digits.safetensors"), "--flash-rate", "1M"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.endswith("is no model of text, which alone is read for each token; leave it out")


def test_what_the_last_token_attends_to_is_near_to_floats(small):
    model, (config, tensors) = load(small[0], False), modelfile.read(small[1])
    ids = [1, *range(40, 58)]
    found = attended(model, ids)
    outputs = float_model.run(config, tensors, np.array(ids + [0] * (CONTEXT - len(ids))))
    assert len(found) == SIZES["layers"]
    for name, shares in found.items():
        q, k = (outputs[f"{name}.{part}"] for part in "qk")
        k = k.reshape(CONTEXT, SIZES["kv_heads"], -1).swapaxes(0, 1)
        k = np.repeat(k, SIZES["heads"] // SIZES["kv_heads"], 0)[:, : len(ids)]
        e = np.exp(np.einsum("hd,htd->ht", q[:, len(ids) - 1], k) / np.sqrt(q.shape[-1]))
        assert np.abs(shares - (e / e.sum(axis=1, keepdims=True)).mean(axis=0)).max() <= 0.03


def test_generate_proves_each_token(tmp_path, small, capsys):
    report, picture = tmp_path / "report.json", tmp_path / "picture"
    assert main(["generate", str(small[0]), "--prompt", "Lily", "--tokens", "9", "--temperature",
                 "0.8", "--top-p", "0.9", "--seed", "3", "--float", str(small[1]), "--board",
                 "virtual", "--json", str(report), "--attention", "--png", str(picture)]) == 0
    found = json.loads(report.read_text())
    model = load(small[0], False)
    ids = encoded(model, "Lily")
    tokens = [token for token, _ in steps(model, ids, 9, 0.8, 0.9, 3)]
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert found["tokens"] == tokens and found["bit_exact"] is True
    assert found["text"] == model.tokenizer.text([*ids, *tokens])
    assert abs(found["cross_entropy"] - found["cross_entropy_float"]) <= 0.1
    assert found["tokens_per_second"] > 0 and found["ram_bytes"] > 0
    assert 0.9 <= found["top1_agreement_vs_float"] <= 1
    assert found["instructions_per_token"] is None  # of a chip alone
    said = " ".join(capsys.readouterr().out.split())
    assert "every bit equal" in said and "attends to layers.0.attention: " in said


def test_a_deployment_brings_what_a_text_needs(small, capsys):
    assert main(["deploy", "--model", str(small[0]), "--board", "virtual"]) == 0  # a new one loads
    assert "files, " in capsys.readouterr().out


LIES = """    if token == {token}:
        logits[7] ^= 1
"""


def test_one_bit_of_one_logit_that_is_not_numpys_ends_with_status_1(
        tmp_path, small, capsys, monkeypatch):
    model, report = load(small[0], False), tmp_path / "report.json"
    ids = encoded(model, "Lily")
    tokens = [token for token, _ in steps(model, ids, 9, 0.8)]
    assert len(tokens) == 9
    head, loop, tail = generate.SCRIPT.partition("    spent = ")
    assert loop
    monkeypatch.setattr(generate, "SCRIPT", head + LIES.format(token=tokens[4]) + loop + tail)
    assert main(["generate", str(small[0]), "--prompt", "Lily", "--tokens", "9", "--temperature",
                 "0.8", "--board", "virtual", "--json", str(report)]) == 1
    found = json.loads(report.read_text())
    assert found["tokens"] == tokens and found["bit_exact"] is False
    assert found["mismatches"] == tokens.count(tokens[4])
    assert "NOT EQUAL" in " ".join(capsys.readouterr().out.split())


def test_a_board_that_resets_while_it_writes_is_said_in_one_line(small, capsys, monkeypatch):
    head, loop, tail = generate.SCRIPT.partition("    spent = ")
    reset = "    import machine; machine.reset()\n"
    monkeypatch.setattr(generate, "SCRIPT", head + reset + loop + tail)
    assert main(["generate", str(small[0]), "--prompt", "Lily", "--board", "virtual"]) == 2
    said = capsys.readouterr().err
    assert said == "attn8: the board was reset behind 0 tokens; run it again\n"


def test_an_int8_file_is_no_float_one(small, capsys):
    assert main(["generate", str(small[0]), "--float", str(small[0]), "--board", "a9"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith(f"attn8: {small[0]}: words.weight: expected floats [300, 12], got int8")
    assert said.endswith("; --float takes the float file")


def test_a_prompt_beyond_the_context_is_refused_before_a_board_is_opened(small, capsys):
    assert main(["generate", str(small[0]), "--prompt", "a" * 30, "--board", "a9"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.endswith("the prompt has 31 tokens, the model has room for 24")


def test_a_drawn_text_breaks_between_words():
    pieces = ["", *["Tom", " had", " a", " b", "i", "g", "ge", "r"] * 9, " " + "x" * 40,
              *["x" * 40] * 2, ".\u21b5"]
    places = wrapped(pieces)
    lines: dict[int, str] = {}
    for piece, (line, column) in zip(pieces, places, strict=True):
        assert len(lines.get(line, "")) == max(column, 0)
        lines[line] = (lines.get(line, "") + piece).lstrip(" ")
    assert [*lines] == [*range(len(lines))] and max(map(len, lines.values())) <= WIDTH
    broken = "".join(line + "|" for line in lines.values())
    assert broken.startswith("Tom had a bigger" + "Tom had a bigger" * 3 + "Tom had a|bigger")
    assert broken.endswith("|" + "x" * 40 + "|" + "x" * 40 + "|" + "x" * 40 + ".\u21b5|")
