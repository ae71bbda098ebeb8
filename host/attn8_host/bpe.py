"""GPT-2's byte pair encoding: text in words, words in bytes, of which pairs are joined as their
merges say. The device module of the same name is its twin.

Words are those of GPT-2's pattern (openai/gpt-2, src/encoder.py):

    's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+

`classes` says which characters are letters (L), numbers (N) and spaces (s): int32, in ascending
order, each the first of some characters of one class << 2 | that class.
"""

import unicodedata
from collections.abc import Iterable, Iterator

import numpy as np

from .errors import ModelError
from .tokenizer import RULES, Tokenizer

LETTER, NUMBER, SPACE, OTHER = range(4)
SUFFIXES = ("s", "t", "re", "ve", "m", "ll", "d")
# White_Space of Unicode
SPACES = frozenset([*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029,
                    0x202F, 0x205F, 0x3000])


def character_class(code: int) -> int:
    """Of a character, by its general category."""
    if code in SPACES:
        return SPACE
    category = unicodedata.category(chr(code))[0]
    return LETTER if category == "L" else NUMBER if category == "N" else OTHER


def unicode_classes() -> np.ndarray:
    """`classes` of all of Unicode."""
    found = [character_class(code) for code in range(0x110000)]
    return np.array([code << 2 | kind for code, kind in enumerate(found)
                     if not code or found[code - 1] != kind], np.int32)


class ByteTokenizer(Tokenizer):
    """Pieces by token, among them each byte.

    Args:
        pieces, ranks, lefts, rules: as of Tokenizer; a space in front is none of the rules.
        classes: see the module.

    Raises:
        ModelError: a byte has no piece, the classes are out of order, or as Tokenizer.
    """

    least = 256

    def __init__(
        self, pieces: list[bytes], ranks: Iterable[int], lefts: Iterable[int] | None = None,
        rules: Iterable[int] = RULES, classes: np.ndarray | None = None,
    ):
        super().__init__(pieces, ranks, lefts, rules)
        if self.space:
            raise ModelError(f"tokenizer.rules: expected no space with classes, got {self.space}")
        self.classes = unicode_classes() if classes is None else np.asarray(classes, np.int32)
        starts = self.classes >> 2
        if not len(starts) or starts[0] or (np.diff(starts) <= 0).any():
            raise ModelError("tokenizer.classes: expected characters from 0 in ascending order")
        for byte in range(256):
            if bytes([byte]) not in self._ids:
                raise ModelError(f"tokenizer: byte {byte} has no piece; train it with all 256")

    def tensors(self) -> dict[str, np.ndarray]:
        """Those of a model file."""
        return {**super().tensors(), "tokenizer.classes": self.classes}

    def _encode(self, text: str) -> list[int]:
        """As the rules say behind begin."""
        ids = [self.begin] if self.begins or not text else []
        for word in words(text, self.kinds(text)):
            data = word.encode("utf-8", "surrogateescape")
            ids += self.joined([self._ids[data[i : i + 1]] for i in range(len(data))])
        return ids

    def kinds(self, text: str) -> list[int]:
        """The class of each character."""
        codes = np.array([ord(character) for character in text], np.int64)
        at = np.searchsorted(self.classes >> 2, codes, "right") - 1
        return [int(kind) for kind in self.classes[at] & 3]

    def decode(self, before: int, token: int) -> bytes:
        """What a token stands for; begin and end for nothing."""
        return b"" if token in (self.begin, self.end) else self.piece(token)


def words(text: str, kinds: list[int]) -> Iterator[str]:
    """A text taken apart by GPT-2's pattern; kinds: the class of each character."""
    at, n = 0, len(text)
    while at < n:
        end = at
        if text[at] == "'":
            end += next((1 + len(each) for each in SUFFIXES if text.startswith(each, at + 1)), 0)
        if end == at:
            first = at + 1 if text[at] == " " and at + 1 < n and kinds[at + 1] != SPACE else at
            end = first + 1
            while end < n and kinds[end] == kinds[first]:
                end += 1
            # Of spaces in front of a word, the last one is the word's
            if kinds[first] == SPACE and end < n and end > at + 1:
                end -= 1
        yield text[at:end]
        at = end
