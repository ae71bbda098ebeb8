"""Tokenizers of Hugging Face folders: byte pair encoding in tokenizer.json, or in vocab.json and
merges.txt, as GPT-2 (words and bytes) and Llama (spaces and byte fallback) have it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..bpe import ByteTokenizer
from ..errors import ModelError
from ..paths import require_file
from ..tokenizer import BYTES, Tokenizer

SPACE = "\u2581"  # what stands for a space in pieces of Llama


@dataclass
class Found:
    """What the files say.

    Attributes:
        vocabulary: token by piece.
        merges: which two pieces are joined, the best first.
        special: tokens that are no text.
        of_bytes: GPT-2's, else Llama's.
        begins: whether each text begins with begin.
        space: of tokenizer.SPACES.
    """

    vocabulary: dict[str, int]
    merges: list[tuple[str, str]]
    special: dict[str, int] = field(default_factory=dict)
    of_bytes: bool = True
    begins: bool = False
    space: int = 0


FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer.model")


def there(folder: Path) -> bool:
    """Whether a folder has a tokenizer."""
    return any((folder / file).exists() for file in FILES)


def read(folder: Path, begin: int, end: int, size: int) -> Tokenizer:
    """The tokenizer of a folder.

    Args:
        begin, end: the tokens between which a text lies; end -1: there is none.
        size: tokens of the model; those that the tokenizer has not are no text.

    Raises:
        ModelError: it is of another kind than GPT-2's and Llama's, or does not fit the model.
    """
    whole, vocabulary, merges, model = (folder / file for file in FILES)
    if whole.exists():
        path, found = whole, _of_json(whole, begin)
    elif model.exists():
        raise ModelError(f"{model}: tokenizer.json is needed beside it; save the tokenizer with "
                         "save_pretrained")
    else:
        path, found = vocabulary, Found(load(vocabulary), _lines(merges))
    try:
        return _made(found, begin, end, size)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def load(path: Path) -> Any:
    """What a JSON file has, an object.

    Raises:
        ModelError: it cannot be read, or is none.
    """
    require_file(path)
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not a JSON file that can be read ({error})") from None
    if type(found) is not dict:
        raise ModelError(f"{path}: expected an object, got {type(found).__name__}")
    return found


def _lines(path: Path) -> list[tuple[str, str]]:
    require_file(path)
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from None
    return _pairs(str(path), [line.split(" ") for line in lines
                              if line.strip() and not line.startswith("#version")])


def _pairs(where: str, merges: Sequence[Any]) -> list[tuple[str, str]]:
    pairs = [tuple(each.split(" ") if type(each) is str else each) for each in merges]
    for pair in pairs:
        if len(pair) != 2 or not all(type(each) is str and each for each in pair):
            raise ModelError(f"{where}: expected two pieces a merge, got {pair!r}")
    return pairs


def _of_json(path: Path, begin: int) -> Found:
    about = load(path)

    def refuse(key: str, given: Any, wanted: str) -> ModelError:
        return ModelError(f"{path}: {key}: expected {wanted}, got {json.dumps(given)[:100]}")

    model = about.get("model")
    if type(model) is not dict or model.get("type", "BPE") != "BPE":
        raise refuse("model.type", model and model.get("type"), '"BPE"')
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"):
        if model.get(key):
            raise refuse(f"model.{key}", model[key], "none")
    vocabulary, merges = model.get("vocab"), model.get("merges")
    if type(vocabulary) is not dict or type(merges) is not list:
        raise ModelError(f"{path}: model lacks vocab or merges")
    found = Found(vocabulary, _pairs(f"{path}: model.merges", merges),
                  of_bytes=not model.get("byte_fallback"))
    for token in about.get("added_tokens") or ():
        if not token.get("special"):
            raise refuse("added_tokens", token.get("content"), "special ones alone")
        found.special[token["content"]] = token["id"]
    normalizer, before = about.get("normalizer"), about.get("pre_tokenizer")
    if found.of_bytes:
        if normalizer is not None:
            raise refuse("normalizer", normalizer, "none")
        if not _is(before, type="ByteLevel", add_prefix_space=False, use_regex=True):
            raise refuse("pre_tokenizer", before, "ByteLevel of GPT-2, which adds no space")
        strips = None
    else:
        found.space = _space(normalizer, before)
        if found.space < 0:
            raise refuse("pre_tokenizer", [normalizer, before],
                         "that of Llama, which makes spaces part of pieces and does not split")
        strips = bool(found.space)
    decoder = about.get("decoder")
    if not (_is(decoder, type="ByteLevel") if strips is None else
            _is(decoder, type="Sequence") and strips is any(
                _is(each, type="Strip", content=" ", start=1) for each in decoder["decoders"])):
        raise refuse("decoder", decoder, "ByteLevel" if found.of_bytes else "that of Llama")
    post = about.get("post_processor")
    for each in post.get("processors", [post]) if post else ():
        if each.get("type") == "TemplateProcessing":
            template = [next(iter(part.values()))["id"] for part in each.get("single", ())]
            known = {**vocabulary, **found.special}
            if template != ["A"] and not (
                    template[1:] == ["A"] and known.get(template[0]) == begin):
                raise refuse("post_processor", template, "the token that begins a text, and A")
            found.begins = template != ["A"]
        elif each.get("type") != "ByteLevel":
            raise refuse("post_processor", each.get("type"), "TemplateProcessing or ByteLevel")
    return found


def _is(given: Any, **fields: Any) -> bool:
    """Whether an object says all that; what says nothing of use_regex has a regex."""
    return type(given) is dict and all(
        given.get(key, True if key == "use_regex" else None) == value
        for key, value in fields.items())


def _space(normalizer: Any, before: Any) -> int:
    """Where a space stands in front of a text, of tokenizer.SPACES; -1: that is another tokenizer.
    """
    if before is None and normalizer:
        steps = list(normalizer.get("normalizers", [normalizer]))
        always = bool(steps) and _is(steps[0], type="Prepend", prepend=SPACE)
        if always:
            del steps[0]
        if len(steps) == 1 and _is(steps[0], type="Replace", pattern={"String": " "},
                                   content=SPACE):
            return int(always)
    elif normalizer is None and _is(before, type="Metaspace", replacement=SPACE, split=False):
        return {"never": 0, "always": 2, "first": 2}.get(before.get("prepend_scheme"), -1)
    return -1


def _made(found: Found, begin: int, end: int, size: int) -> Tokenizer:
    known = {**found.vocabulary, **found.special}
    tokens = sorted(known.values())
    if tokens != list(range(len(tokens))):
        raise ModelError("expected each token from 0 on once")
    if len(tokens) > size:
        raise ModelError(f"it has {len(tokens)} tokens, the model {size}")
    pieces = [b""] * size  # what is no text, and never comes of one
    for piece, token in known.items():
        if piece not in found.special or token in (begin, end):
            pieces[token] = _bytes(found, piece)
    if not found.of_bytes:
        for byte in range(256):
            if found.vocabulary.get(f"<0x{byte:02X}>") != BYTES + byte:
                raise ModelError(f"expected <0x{byte:02X}> as token {BYTES + byte}")
    ranks, lefts = _joins(found, size)
    rules = begin, end, int(found.begins), found.space
    if found.of_bytes:
        return ByteTokenizer(pieces, ranks, lefts, rules)
    return Tokenizer(pieces, ranks, lefts, rules)


def _bytes(found: Found, piece: str) -> bytes:
    if piece in found.special:
        return piece.encode()
    if not found.of_bytes:
        return piece.replace(SPACE, " ").encode()
    try:
        return bytes(OF_CHARACTERS[character] for character in piece)
    except KeyError as error:
        raise ModelError(f"the piece {piece!r} has {error}, which stands for no byte") from None


def _characters() -> dict[str, int]:
    """The byte that each character of GPT-2's pieces stands for: itself where it is printed, else
    those from 256 on in their order."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {
        chr(256 + i): byte for i, byte in enumerate(others)}


OF_CHARACTERS = _characters()


def _joins(found: Found, size: int) -> tuple[list[int], list[int] | None]:
    """Ranks of tokens, and from which ones they are joined: from one, or None: from any two, as in
    SentencePiece, where there is a merge for each two."""
    vocabulary = found.vocabulary
    ways: dict[str, list[str]] = {}
    order: list[str] = []  # of the pieces that are joined, as often as they change
    for left, right in found.merges:
        if not {left, right, left + right} <= vocabulary.keys():
            raise ModelError(f"the merge of {left!r} and {right!r} has a piece that is no token")
        if not order or order[-1] != left + right:
            order.append(left + right)
        ways.setdefault(left + right, []).append(left)
    ranks = [-1] * size
    for i, piece in enumerate(order):
        ranks[vocabulary[piece]] = len(order) - 1 - i
    if all(len(each) == 1 for each in ways.values()):
        lefts = [-1] * size
        for piece, (left,) in ways.items():
            lefts[vocabulary[piece]] = vocabulary[left]
        return ranks, lefts
    if len(order) > len(ways):
        raise ModelError("its merges are in no order of pieces; only one merge a piece, or all of "
                         "SentencePiece are known")
    for piece, each in _all_ways(vocabulary, ways).items():
        if set(ways[piece]) != each:
            raise ModelError(f"{piece!r} has {len(ways[piece])} merges of {len(each)}; only one "
                             "merge a piece, or all of SentencePiece are known")
    return ranks, None


def _all_ways(
    vocabulary: Mapping[str, int], pieces: Mapping[str, Sequence[str]]
) -> dict[str, set[str]]:
    """Of each piece what it may begin with, where the rest is a piece as well."""
    return {piece: {piece[:i] for i in range(1, len(piece))
                    if piece[:i] in vocabulary and piece[i:] in vocabulary} for piece in pieces}
