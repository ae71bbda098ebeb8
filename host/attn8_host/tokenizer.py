"""Text as token ids, as llama2.c does it: pieces with scores, of which pairs are joined, the best
first; what has no piece is bytes. The device module of the same name is its twin.

A model file has pieces, each one's end and its rank by score, as tensors `tokenizer.PART`.
"""

import struct
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ModelError
from .schema import Tensor

BEGIN, END = 1, 2  # tokens between which a text lies
BYTES = 3  # the token of byte 0; those of the other 255 follow
TENSORS = {"pieces": Tensor(np.uint8, (None,), needed=False),
           "ends": Tensor(np.int32, (None,), needed=False),
           "ranks": Tensor(np.int16, (None,), needed=False)}
KEYS = {f"tokenizer.{part}" for part in TENSORS}


class Tokenizer:
    """Pieces by token, and which of two is joined first.

    Args:
        pieces: bytes of each token; BYTES + 256 or more.
        ranks: whole numbers in the order of the scores.

    Raises:
        ModelError: there are too few, or not as many ranks.
    """

    def __init__(self, pieces: list[bytes], ranks: Iterable[int]):
        self.pieces, self.ranks = pieces, [int(rank) for rank in ranks]
        if len(pieces) < BYTES + 256 or len(self.ranks) != len(pieces):
            raise ModelError(f"tokenizer: expected {BYTES + 256} pieces or more and as many ranks, "
                             f"got {len(pieces)} and {len(self.ranks)}")
        self._ids: dict[bytes, int] = {}
        for token, piece in enumerate(pieces):
            self._ids.setdefault(piece, token)

    @classmethod
    def read(cls, path: Path) -> "Tokenizer":
        """That of a tokenizer.bin of llama2.c: the longest piece's bytes as int32, then for each
        token its score as float32, the bytes of its piece as int32, and these.

        Raises:
            ModelError: it is none, or is cut off.
        """
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
        return {
            "tokenizer.pieces": np.frombuffer(b"".join(self.pieces), np.uint8),
            "tokenizer.ends": np.cumsum([len(piece) for piece in self.pieces]).astype(np.int32),
            "tokenizer.ranks": np.array(self.ranks, np.int16),
        }

    def encode(self, text: str) -> list[int]:
        """BEGIN and the tokens of a text, before which stands a space."""
        ids = [BEGIN]
        if text and b" " in self._ids:
            ids.append(self._ids[b" "])
        for character in text:
            data = character.encode("utf-8", "surrogateescape")
            ids += [self._ids[data]] if data in self._ids else [BYTES + byte for byte in data]
        while True:
            best, at = -1, 0
            for i, (left, right) in enumerate(pairwise(ids)):
                token = self._ids.get(self.pieces[left] + self.pieces[right])
                if token is not None and self.ranks[token] > best:
                    best, at, joined = self.ranks[token], i, token
            if best < 0:
                return ids
            ids[at : at + 2] = [joined]

    def decode(self, before: int, token: int) -> bytes:
        """What a token stands for, behind another one."""
        piece = self.pieces[token]
        if before == BEGIN and piece[:1] == b" ":
            piece = piece[1:]
        if len(piece) == 6 and piece[:3] == b"<0x" and piece[5:] == b">":
            try:
                return bytes([int(piece[3:5], 16)])
            except ValueError:
                pass
        return piece

    def text(self, ids: Iterable[int]) -> str:
        """That of some tokens, the first of which is BEGIN."""
        found, before = b"", BEGIN
        for token in ids:
            if token not in (BEGIN, END):
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
    for part, tensor in TENSORS.items():
        if part not in found:
            raise ModelError(f"missing tensor tokenizer.{part}")
        tensor.check(f"tokenizer.{part}", found[part])
    ends = found["ends"]
    if not len(ends) or (np.diff(ends, prepend=0) < 0).any() or ends[-1] != len(found["pieces"]):
        raise ModelError("tokenizer.ends: expected ends of pieces, the last one at "
                         f"{len(found['pieces'])}")
    data = found["pieces"].tobytes()
    pieces = [data[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    made = Tokenizer(pieces, found["ranks"])
    made.check(config)
    return made
