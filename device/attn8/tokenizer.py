
from . import checks
from .kernels import tokens

RULES = (1, 2, 1, 1)  # of a file that has none
BYTES = 3  # the token of byte 0; those of the other 255 follow


class Tokenizer:
    # Text as token ids, as llama2.c does it: pieces with scores, of which pairs are joined, the
    # best first; what has no piece is bytes. pieces: bytes, one piece behind another; ends: int32
    # [tokens], where each stops; ranks: int16 [tokens], the order of their scores, -1: not
    # joined; lefts: int16 [tokens], which one each is joined from, if not any. All may be Stored in
    # a model's file (see tiles.py), from where they come to encode. rules: begin and
    # end, the tokens between which a text lies (end -1: none); whether each text begins with begin,
    # or an empty one alone; and whether a space stands in front: 0, 1, or 2 where none does
    # already.

    least = BYTES + 256

    def __init__(self, pieces, ends, ranks, lefts=None, rules=RULES, classes=None):
        # classes: see bpe.ByteTokenizer
        self._tables = [pieces, ends, ranks, lefts, classes]
        self._stored = tuple(self._tables) if hasattr(pieces, "source") else ()
        pieces, ends, ranks, lefts, classes = self._open()
        checks.values("tokenizer.pieces", pieces, None, False, "B")
        checks.values("tokenizer.ends", ends, None, False, "i")
        self._n = n = checks.between("tokenizer: pieces", len(ends), self.least, 1 << 15)
        checks.values("tokenizer.ranks", ranks, n, False, "h")
        if lefts is not None:
            checks.values("tokenizer.lefts", lefts, n, False, "h")
        for rule, least, most in zip(rules, (0, -1, 0, 0), (n - 1, n - 1, 1, 2)):
            checks.between("tokenizer.rules", rule, least, most)
        self.begin, self.end, self._begins, self._space = rules
        last = 0
        for end in ends:
            last = checks.between("tokenizer.ends", end, last, len(pieces))
        checks.between("tokenizer.ends: the last", last, len(pieces), len(pieces))
        self._check(classes)
        self._close()

    def _check(self, classes):
        pass

    def __len__(self):
        return self._n

    def _open(self):
        # -> the tables; where they stay in the file they come into the scratch, which nothing else
        # needs before a prompt is encoded
        if self._stored:
            from . import forms

            forms.scratch.claim(sum([table.size() + 4 for table in self._stored if table]))
            self._tables, at = [], 0
            for table in self._stored:
                self._tables.append(table and table.load(forms.scratch.bytes, at))
                at += (table.size() + 3) & ~3 if table else 0
        return self._tables

    def _close(self):
        if self._stored:
            self._tables = []

    def piece(self, token):
        checks.between("token", token, 0, self._n - 1)
        if not self._tables:
            return self._read(token)
        pieces, ends = self._tables[:2]
        start = ends[token - 1] if token else 0
        return bytes(memoryview(pieces)[start : ends[token]])

    def _read(self, token):
        pieces, ends = self._stored[:2]
        room = memoryview(bytearray(8))
        first = 0 if token else 4
        ends.read(room[first:], 4 * token - 4 + first)
        start = int.from_bytes(room[:4], "little")
        found = bytearray(int.from_bytes(room[4:], "little") - start)
        pieces.read(memoryview(found), start)
        return bytes(found)

    def _find(self, data):
        pieces, ends = self._tables[:2]
        token = tokens.find(pieces, ends, self._n, data, len(data))
        return None if token == self._n else token

    def encode(self, text):
        # -> the tokens of a text
        checks.kind("text", text, str)
        self._open()
        try:
            return self._encode(text)
        finally:
            self._close()

    def _encode(self, text):
        # As the rules say behind begin, and with a space in front
        ids = [self.begin] if self._begins or not text else []
        space = self._find(b" ") if self._space and text else None
        if space is not None and not (self._space == 2 and text[0] == " "):
            ids.append(space)
        for character in text:
            data = character.encode()
            token = self._find(data)
            if token is None:
                for byte in data:
                    ids.append(BYTES + byte)
            else:
                ids.append(token)
        return self._join(ids)

    def _join(self, ids):
        joined = [self._joined(ids, i) for i in range(len(ids) - 1)]
        ranks = self._tables[2]
        while True:
            best, at = -1, 0
            for i in range(len(joined)):
                token = joined[i]
                if token is not None and ranks[token] > best:
                    best, at = ranks[token], i
            if best < 0:
                return ids
            ids[at] = joined[at]
            del ids[at + 1]
            del joined[at]
            for i in (at - 1, at):
                if 0 <= i < len(joined):
                    joined[i] = self._joined(ids, i)

    def _joined(self, ids, i):
        token = self._find(self.piece(ids[i]) + self.piece(ids[i + 1]))
        lefts = self._tables[3]
        if token is None or lefts is None or lefts[token] == ids[i]:
            return token

    def decode(self, before, token):
        # -> the bytes that a token stands for, behind another one: begin and end for none
        if token in (self.begin, self.end):
            return b""
        piece = self.piece(token)
        if before == self.begin and self._space and piece[:1] == b" ":
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
    import json

    keep = getattr(tensors, "stored", tensors.pop)
    found = []
    for part in ("pieces", "ends", "ranks"):
        if "tokenizer." + part not in tensors:
            raise ValueError("missing tensor tokenizer." + part)
        found.append(keep("tokenizer." + part))
    found.append(keep("tokenizer.lefts", None))
    rules = tensors.pop("tokenizer.rules", RULES)
    if rules is not RULES:
        checks.values("tokenizer.rules", rules, 4, False, "h")
    found.append(rules)
    kind = Tokenizer
    if "tokenizer.classes" in tensors:
        from .bpe import ByteTokenizer

        kind = ByteTokenizer
        found.append(keep("tokenizer.classes"))
    made = kind(*found)
    first = json.loads(config["layers"][0])
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
