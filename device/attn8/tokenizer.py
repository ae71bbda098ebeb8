
from . import checks
from .kernels import tokens

BEGIN, END = 1, 2
BYTES = 3  # the token of byte 0; those of the other 255 follow


class Tokenizer:
    # Text as token ids, as llama2.c does it: pieces with scores, of which pairs are joined, the
    # best first; what has no piece is bytes. pieces: bytes, one piece behind another; ends: int32
    # [tokens], where each stops; ranks: int16 [tokens], the order of their scores.

    def __init__(self, pieces, ends, ranks):
        checks.values("tokenizer.pieces", pieces, None, False, "B")
        checks.values("tokenizer.ends", ends, None, False, "i")
        checks.values("tokenizer.ranks", ranks, len(ends), False, "h")
        checks.between("tokenizer: pieces", len(ends), BYTES + 256, 1 << 15)
        last = 0
        for end in ends:
            last = checks.between("tokenizer.ends", end, last, len(pieces))
        checks.between("tokenizer.ends: the last", last, len(pieces), len(pieces))
        self._pieces, self._ends, self._ranks = pieces, ends, ranks

    def __len__(self):
        return len(self._ends)

    def piece(self, token):
        start = self._ends[token - 1] if token else 0
        return bytes(memoryview(self._pieces)[start : self._ends[token]])

    def _find(self, data):
        token = tokens.find(self._pieces, self._ends, len(self._ends), data, len(data))
        return None if token == len(self._ends) else token

    def encode(self, text):
        # -> [BEGIN and the tokens of a text, before which stands a space]
        ids = [BEGIN]
        space = self._find(b" ")
        if text and space is not None:
            ids.append(space)
        for character in text:
            data = character.encode()
            token = self._find(data)
            if token is None:
                ids.extend([BYTES + byte for byte in data])
            else:
                ids.append(token)
        joined = [self._joined(ids, i) for i in range(len(ids) - 1)]
        while True:
            best, at = -1, 0
            for i in range(len(joined)):
                token = joined[i]
                if token is not None and self._ranks[token] > best:
                    best, at = self._ranks[token], i
            if best < 0:
                return ids
            ids[at] = joined[at]
            del ids[at + 1]
            del joined[at]
            for i in (at - 1, at):
                if 0 <= i < len(joined):
                    joined[i] = self._joined(ids, i)

    def _joined(self, ids, i):
        return self._find(self.piece(ids[i]) + self.piece(ids[i + 1]))

    def decode(self, before, token):
        # -> the bytes that a token stands for, behind another one
        piece = self.piece(token)
        if before == BEGIN and piece[:1] == b" ":
            piece = piece[1:]
        if len(piece) == 6 and piece[:3] == b"<0x" and piece[5:] == b">":
            try:
                return bytes((int(piece[3:5], 16),))
            except ValueError:
                pass
        return piece


def of(tensors, config):
    # What a model file says of text, which is taken out of the dict: -> its Tokenizer, and mult and
    # shift of a Sampler
    found = []
    for part in ("pieces", "ends", "ranks"):
        if "tokenizer." + part not in tensors:
            raise ValueError("missing tensor tokenizer." + part)
        found.append(tensors.pop("tokenizer." + part))
    made = Tokenizer(*found)
    first = config["layers"][0]
    size = first.get("vocab_size") if isinstance(first, dict) else None
    if size != len(made):
        raise ValueError("tokenizer: it has %d pieces, the first layer takes %s tokens"
                         % (len(made), size))
    said = config.get("text")
    if not isinstance(said, dict) or sorted(said) != ["mult", "shift"]:
        raise ValueError("text: expected mult and shift, got %s" % said)
    checks.between("text.mult", said["mult"], 1, 1 << 29)
    checks.between("text.shift", said["shift"], 1, 14)
    return made, (said["mult"], said["shift"])
