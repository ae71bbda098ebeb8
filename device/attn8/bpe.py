from . import checks
from .tokenizer import Tokenizer

SPACE = 2  # of classes; letters are 0, numbers 1, all others 3
SUFFIXES = ("s", "t", "re", "ve", "m", "ll", "d")


class ByteTokenizer(Tokenizer):
    # GPT-2's byte pair encoding: text in words, words in bytes, of which pairs are joined. classes:
    # int32, in ascending order, each the first of some characters of one class << 2 | that class.

    least = 256

    def _check(self, classes):
        checks.between("tokenizer.rules: space", self._space, 0, 0)
        checks.values("tokenizer.classes", classes, None, False, "i")
        if not len(classes) or classes[0] >> 2:
            raise ValueError("tokenizer.classes: expected characters from 0 in ascending order")

    def _encode(self, text):
        # As the rules say behind begin
        ids = [self.begin] if self._begins or not text else []
        at = 0
        while at < len(text):
            end = self._end(text, at)
            word = []
            for byte in text[at:end].encode():
                token = self._find(bytes((byte,)))
                if token is None:
                    raise ValueError("tokenizer: byte %d has no piece" % byte)
                word.append(token)
            ids.extend(self._join(word))
            at = end
        return ids

    def decode(self, before, token):
        # -> the bytes that a token stands for; begin and end for none
        return b"" if token in (self.begin, self.end) else self.piece(token)

    def _end(self, text, at):
        # Where a word stops, by the pattern
        # 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
        n = len(text)
        if text[at] == "'":
            for suffix in SUFFIXES:
                if text.startswith(suffix, at + 1):
                    return at + 1 + len(suffix)
        end = at
        if text[at] == " " and at + 1 < n and self._kind(text[at + 1]) != SPACE:
            end += 1
        kind = self._kind(text[end])
        end += 1
        while end < n and self._kind(text[end]) == kind:
            end += 1
        if kind == SPACE and end < n and end > at + 1:
            end -= 1  # of spaces in front of a word, the last one is the word's
        return end

    def _kind(self, character):
        # The class of a character: that of the last start not behind it
        classes = self._tables[4]
        key = ord(character) << 2 | 3
        low, high = 0, len(classes)
        while high - low > 1:
            middle = (low + high) >> 1
            if classes[middle] <= key:
                low = middle
            else:
                high = middle
        return classes[low] & 3
