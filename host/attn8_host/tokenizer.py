"""Text as token ids, as llama2.c does it: pieces with scores, of which pairs are joined, the best
first; what has no piece is bytes. The device module of the same name is its twin.

A model file has pieces, each one's end and its rank by score, as tensors `tokenizer.PART`. `lefts`
says of each token which one it is joined from together with what is left of its piece, -1 none;
without them any two are joined whose bytes are a piece. `rules` are begin and end, the tokens
between which a text lies (end -1: none), whether each text begins with the first, or only one that
is empty, and where a space stands in front of a text (SPACES). With `classes`, text is taken apart
into words and bytes (see bpe).
"""

import struct
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ModelError
from .paths import require_file
from .schema import Tensor, between

RULES = (1, 2, 1, 1)  # of a file that has none: begin, end, begins, space
SPACES = ("none", "always", "unless the text begins with one")
BYTES = 3  # the token of byte 0; those of the other 255 follow
TENSORS = {"pieces": Tensor(np.uint8, (None,), needed=False),
           "ends": Tensor(np.int32, (None,), needed=False),
           "ranks": Tensor(np.int16, (None,), needed=False),
           "lefts": Tensor(np.int16, (None,), needed=False),
           "rules": Tensor(np.int16, (len(RULES),), needed=False),
           "classes": Tensor(np.int32, (None,), needed=False)}
NEEDED = ("pieces", "ends", "ranks")
KEYS = {f"tokenizer.{part}" for part in TENSORS}


class Tokenizer:
    """Pieces by token, and which of two is joined first.

    Args:
        pieces: bytes of each token; BYTES + 256 or more.
        ranks: whole numbers in the order of the scores; -1: never joined.
        lefts: of each token the one that it is joined from, -1 none; None: any.
        rules: begin, end, begins and space.

    Raises:
        ModelError: there are too few, or not as many ranks or lefts, or no such rules.
    """

    def __init__(
        self, pieces: list[bytes], ranks: Iterable[int], lefts: Iterable[int] | None = None,
        rules: Iterable[int] = RULES,
    ):
        self.pieces, self.ranks = pieces, [int(rank) for rank in ranks]
        self.lefts = None if lefts is None else [int(left) for left in lefts]
        self.rules = tuple(int(rule) for rule in rules)
        self.begin, self.end, self.begins, self.space = self.rules
        n, least = len(pieces), self.least
        if n < least or len(self.ranks) != n:
            raise ModelError(f"tokenizer: expected {least} pieces or more and as many ranks, "
                             f"got {n} and {len(self.ranks)}")
        if self.lefts is not None and (len(self.lefts) != n or not
                                       all(-1 <= left < n for left in self.lefts)):
            raise ModelError(f"tokenizer.lefts: expected {n} tokens, or -1")
        if not (0 <= self.begin < n and -1 <= self.end < n and self.begins in (0, 1)
                and self.space in range(len(SPACES))):
            raise ModelError(f"tokenizer.rules: expected two tokens of {n}, 0 or 1, and 0, 1 or 2, "
                             f"got {list(self.rules)}")
        self.writer: object = None  # who began to write with the model last
        self._ids: dict[bytes, int] = {}
        for token, piece in enumerate(pieces):
            self._ids.setdefault(piece, token)

    least = BYTES + 256  # pieces that there must be

    @classmethod
    def read(cls, path: Path) -> "Tokenizer":
        """That of a tokenizer.bin of llama2.c: the longest piece's bytes as int32, then for each
        token its score as float32, the bytes of its piece as int32, and these.

        Raises:
            ModelError: it is none, or is cut off.
        """
        require_file(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: {error.strerror}") from None
        at, pieces, scores = 4, list[bytes](), list[float]()
        while at + 8 <= len(data):
            score, size = struct.unpack_from("<fi", data, at)
            at += 8
            if not 0 <= size <= len(data) - at:
                break
            pieces.append(data[at : at + size])
            scores.append(score)
            at += size
        if at != len(data) or not pieces or not np.isfinite(scores).all():
            raise ModelError(f"{path}: not a tokenizer of llama2.c, or cut off after "
                             f"{len(pieces)} pieces")
        try:
            return cls(pieces, np.unique(scores, return_inverse=True)[1])
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from None

    def check(self, config: Mapping[str, Any]) -> None:
        """Raises ModelError unless a model's first layer takes as many tokens."""
        size = config["layers"][0].get("vocab_size")
        if size != len(self.pieces):
            raise ModelError(f"tokenizer: it has {len(self.pieces)} pieces, the first layer takes "
                             f"{size} tokens")

    def tensors(self) -> dict[str, np.ndarray]:
        """Those of a model file."""
        made: dict[str, np.ndarray] = {
            "tokenizer.pieces": np.frombuffer(b"".join(self.pieces), np.uint8),
            "tokenizer.ends": np.cumsum([len(piece) for piece in self.pieces]).astype(np.int32),
            "tokenizer.ranks": np.array(self.ranks, np.int16),
        }
        if self.lefts is not None:
            made["tokenizer.lefts"] = np.array(self.lefts, np.int16)
        if self.rules != RULES:
            made["tokenizer.rules"] = np.array(self.rules, np.int16)
        return made

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, as the rules say behind begin, and with a space in front.

        Raises:
            TypeError: it is none.
        """
        if not isinstance(text, str):
            raise TypeError(f"text: expected str, got {type(text).__name__}")
        return self._encode(text)

    def _encode(self, text: str) -> list[int]:
        ids = [self.begin] if self.begins or not text else []
        if text and self.space and not (self.space == 2 and text[0] == " ") and b" " in self._ids:
            ids.append(self._ids[b" "])
        for character in text:
            data = character.encode("utf-8", "surrogateescape")
            ids += [self._ids[data]] if data in self._ids else [BYTES + byte for byte in data]
        return self.joined(ids)

    def joined(self, ids: list[int]) -> list[int]:
        """Tokens of which no two can be joined any more; of equally good pairs the first is."""
        while True:
            best, at = -1, 0
            for i, (left, right) in enumerate(pairwise(ids)):
                token = self._ids.get(self.pieces[left] + self.pieces[right])
                if token is not None and self.ranks[token] > best and (
                        self.lefts is None or self.lefts[token] == left):
                    best, at, made = self.ranks[token], i, token
            if best < 0:
                return ids
            ids[at : at + 2] = [made]

    def piece(self, token: int) -> bytes:
        """That of a token.

        Raises:
            TypeError, ValueError: it is no whole number, or no token.
        """
        between("token", token, 0, len(self.pieces) - 1)
        return self.pieces[token]

    def decode(self, before: int, token: int) -> bytes:
        """What a token stands for, behind another one: begin and end for nothing, and of the first
        one no space in front. Errors are those of `piece`."""
        if token in (self.begin, self.end):
            return b""
        piece = self.piece(token)
        if before == self.begin and self.space and piece[:1] == b" ":
            piece = piece[1:]
        if len(piece) == 6 and piece[:3] == b"<0x" and piece[5:] == b">":
            try:
                return bytes([int(piece[3:5], 16)])
            except ValueError:
                pass
        return piece

    def text(self, ids: Iterable[int]) -> str:
        """That of some tokens.

        Raises:
            TypeError, ValueError: there are none to go through, or one is no token.
        """
        if not isinstance(ids, Iterable):
            raise TypeError(f"ids: expected a list of tokens, got {type(ids).__name__}")
        found, before = b"", self.begin
        for token in ids:
            found += self.decode(before, token)
            before = token
        return found.decode("utf-8", "replace")


def of(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Tokenizer | None:
    """That of a model file; None where it has none.

    Raises:
        ModelError: its tensors do not fit each other, or the model's tokens.
    """
    found = {part: tensors[f"tokenizer.{part}"] for part in TENSORS
             if f"tokenizer.{part}" in tensors}
    if not found:
        return None
    for part in NEEDED:
        if part not in found:
            raise ModelError(f"missing tensor tokenizer.{part}")
    for part, values in found.items():
        TENSORS[part].check(f"tokenizer.{part}", values)
    ends = found["ends"]
    if not len(ends) or (np.diff(ends, prepend=0) < 0).any() or ends[-1] != len(found["pieces"]):
        raise ModelError("tokenizer.ends: expected ends of pieces, the last one at "
                         f"{len(found['pieces'])}")
    data = found["pieces"].tobytes()
    pieces = [data[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    given = found["ranks"], found.get("lefts"), found.get("rules", RULES)
    if "classes" in found:
        from .bpe import ByteTokenizer

        made: Tokenizer = ByteTokenizer(pieces, *given, found["classes"])
    else:
        made = Tokenizer(pieces, *given)
    made.check(config)
    return made
