"""GPT-2's and Llama's tokenizers of Hugging Face folders, beside the library that made them."""

import json

import numpy as np
import pytest

from attn8_host import bpe, tokenizer
from attn8_host.errors import ModelError
from attn8_host.importers import pieces
from attn8_host.model import load
from attn8_host.paths import MODELS
from attn8_host.tokenizer import Tokenizer
from tests.compiled import compiled

SIZE = 500  # of the vocabulary
WORDS = ["Once", "upon", "a", "time", "lily's", "they'll", "I'M", "don't", "'tis", "  ", "\n\n",
         "\t", " \n ", "x=1", "2024", "½", "3.14", "dög", "日本語", "🙂", "naïve", "Ω≈ç", "\u00a0",
         "\u3000", "===", "----", "...", "aaaa", "[]{}", "é", "Привет", "मानक", "a\u0301"]


def texts(count):
    """Words, spaces and characters of all kinds that Unicode 13 knows."""
    rng = np.random.default_rng(2)
    for i in range(count):
        chosen = rng.choice(["", " ", "  "]).join(rng.choice(WORDS, rng.integers(0, 9)))
        others = [chr(int(c)) for c in rng.integers(1, 0xD800, 4)] if i % 3 == 0 else []
        yield chosen + "".join(c for c in others if bpe.unicodedata.category(c) != "Cn")


def corpus():
    return [" ".join(WORDS), *texts(300), *[f"{word} {word}s the {word}ing" for word in WORDS]]


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """(the library's tokenizer, the folder where it is)."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.ByteLevelBPETokenizer()
    made.train_from_iterator(corpus(), vocab_size=SIZE, min_frequency=2, show_progress=False,
                             special_tokens=["<|endoftext|>"])
    folder = tmp_path_factory.mktemp("gpt2")
    made.save(str(folder / "tokenizer.json"))
    return made, folder


def test_a_thousand_texts_are_the_tokens_of_gpt2(gpt2):
    original, folder = gpt2
    made = pieces.read(folder, 0, 0, SIZE + 20)
    seen = set()
    for text in texts(1000):
        ids = made.encode(text)
        assert ids == (original.encode(text).ids or [0])
        assert made.text(ids) == original.decode(ids) == text
        seen |= set(ids)
    assert len(seen) > 300


def test_the_older_files_say_the_same(gpt2, tmp_path):
    original, folder = gpt2
    original.save_model(str(tmp_path))
    whole, older = pieces.read(folder, 0, 0, SIZE), pieces.read(tmp_path, 0, 0, SIZE)
    assert [whole.encode(text) for text in texts(50)] == [older.encode(text) for text in texts(50)]


def test_bytes_and_an_end_are_enough():
    made = bpe.ByteTokenizer([b"", *(bytes([byte]) for byte in range(256))], [-1] * 257, None,
                             (0, 0, 0, 0))
    found = tokenizer.of({"layers": [{"vocab_size": 257}]}, made.tensors())
    assert found.encode("né") == [111, 196, 170] and found.text([111, 196, 170]) == "né"


@pytest.fixture(scope="module")
def stories():
    return load(MODELS / "stories.safetensors", False).tokenizer


def of_llama(stories, newer, every):
    """The stories' tokenizer as the library has it.

    newer: as transformers 5 writes it. every: with all merges of SentencePiece.
    """
    tokenizers = pytest.importorskip("tokenizers")
    names = [piece.decode().replace(" ", "\u2581") for piece in stories.pieces]
    names[:3] = ["<unk>", "<s>", "</s>"]
    vocabulary, merges = {name: token for token, name in enumerate(names)}, []
    assert len(vocabulary) == len(names)
    for token in np.argsort(stories.ranks, kind="stable")[::-1]:
        piece = names[token]
        ways = [(piece[:i], piece[i:]) for i in range(1, len(piece))
                if piece[:i] in vocabulary and piece[i:] in vocabulary]
        if token >= 259:
            merges += ways if every else ways[:1]
    made = tokenizers.Tokenizer(tokenizers.models.BPE(
        vocabulary, merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    parts, replace = tokenizers.decoders, tokenizers.normalizers.Replace(" ", "\u2581")
    if newer:
        made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace("\u2581", "first", False)
    else:
        made.normalizer = tokenizers.normalizers.Sequence(
            [tokenizers.normalizers.Prepend("\u2581"), replace])
    made.decoder = parts.Sequence([parts.Replace("\u2581", " "), parts.ByteFallback(),
                                   parts.Fuse(), parts.Strip(" ", 1, 0)])
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)])
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    return made


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("every", [False, True])
def test_a_thousand_texts_are_the_tokens_of_llama(tmp_path, stories, newer, every):
    original = of_llama(stories, newer, every)
    original.save(str(tmp_path / "tokenizer.json"))
    made = pieces.read(tmp_path, 1, 2, 512)
    assert type(made) is Tokenizer and (made.lefts is None) is every
    seen = set()
    for text in texts(1000):
        ids = made.encode(text)
        assert ids == original.encode(text).ids
        assert made.text(ids) == original.decode(ids)
        seen |= set(ids)
    assert len(seen) > 150


ENCODE = """
from attn8.tokenizer import of
tensors = {"tokenizer.pieces": pieces, "tokenizer.ends": ends, "tokenizer.ranks": ranks,
           "tokenizer.lefts": lefts, "tokenizer.rules": rules}
if len(classes):
    tensors["tokenizer.classes"] = classes
layer = '{"vocab_size": %d}' % len(ends)
made, _ = of(tensors, {"layers": [layer], "text": {"mult": 1, "shift": 1}})
for text in texts:
    give(made.encode(text))
for token in range(len(made)):
    give(made.decode(made.begin, token).hex())
"""


@pytest.mark.parametrize("of_bytes", [True, False])
def test_a_board_encodes_and_decodes_the_same(board, remote, gpt2, stories, tmp_path, of_bytes):
    if of_bytes:
        made = pieces.read(gpt2[1], 0, 0, SIZE)
    else:
        of_llama(stories, True, False).save(str(tmp_path / "tokenizer.json"))
        made = pieces.read(tmp_path, 1, 2, 512)
    tensors = {key.removeprefix("tokenizer."): values for key, values in made.tensors().items()}
    tensors.setdefault("classes", np.zeros(0, np.int32))
    given = list(texts(25))
    board.enter_repl()
    program = ENCODE.replace("import of", f"import {compiled('of')} as of")
    found = remote(program.replace("texts:", f"{given!r}:"), **tensors)
    assert [list(ids) for ids in found[:25]] == [made.encode(text) for text in given]
    assert found[25:] == [made.decode(made.begin, token).hex() for token in range(len(made.pieces))]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a["model"].update(type="Unigram"), 'model.type: expected "BPE", got "Unigram"'),
        (lambda a: a["model"].update(ignore_merges=True), "model.ignore_merges: expected none"),
        (lambda a: a["model"].pop("merges"), "model lacks vocab or merges"),
        (lambda a: a["model"]["merges"].append(["a"]), "expected two pieces a merge, got ('a',)"),
        (lambda a: a["model"]["merges"].append(["a", "hm"]), "has a piece that is no token"),
        (lambda a: a["model"]["vocab"].update(zz=900), "expected each token from 0 on once"),
        (lambda a: a["model"]["merges"].append(a["model"]["merges"][0]), "only one merge a piece"),
        (lambda a: a.update(normalizer={"type": "NFC"}), 'normalizer: expected none, got {"type"'),
        (lambda a: a["pre_tokenizer"].update(add_prefix_space=True), "pre_tokenizer: expected B"),
        (lambda a: a.update(decoder=None), "decoder: expected ByteLevel, got null"),
        (lambda a: a.update(post_processor={"type": "BertProcessing"}), "post_processor: expected"),
        (lambda a: a["added_tokens"].append({"id": SIZE, "content": "hm", "special": False}),
         'added_tokens: expected special ones alone, got "hm"'),
    ],
)
def test_another_tokenizer_is_refused_in_one_line(gpt2, tmp_path, change, words):
    about = json.loads((gpt2[1] / "tokenizer.json").read_text())
    change(about)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(about))
    with pytest.raises(ModelError) as refused:
        pieces.read(tmp_path, 0, 0, SIZE + 10)
    assert words in str(refused.value) and "\n" not in str(refused.value)
    assert str(path) in str(refused.value)


def test_files_that_are_none_are_refused(gpt2, tmp_path):
    with pytest.raises(ModelError, match=f"it has {SIZE} tokens, the model {SIZE - 1}"):
        pieces.read(gpt2[1], 0, 0, SIZE - 1)
    (tmp_path / "tokenizer.model").touch()
    with pytest.raises(ModelError, match=r"tokenizer\.json is needed beside it"):
        pieces.read(tmp_path, 0, 0, SIZE)
    (tmp_path / "vocab.json").write_text("[")
    (tmp_path / "tokenizer.model").unlink()
    with pytest.raises(ModelError, match="not a JSON file that can be read"):
        pieces.read(tmp_path, 0, 0, SIZE)
