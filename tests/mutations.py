"""Model files with something wrong in them, as a bad disk, an editor or a program would make them.

A file here is (config, tensors): the config's text follows from the JSON value, and a tensor is
(dtype, shape, bytes), so that a mutation can say what no writer would. `Mutator` changes one or a
few things of a file and packs it.
"""

import copy
import json
import struct
from typing import Any

DTYPES = {"int8": "I8", "uint8": "U8", "int16": "I16", "uint16": "U16", "int32": "I32",
          "float32": "F32", "float64": "F64"}
ITEMSIZES = {"I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
             "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8, "X9": 1}
DEEP = 100_000
WRONG: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 127, 128, 255, 256, 513, 4096, 16384, 32767, 32768, 65536,
    1 << 29, (1 << 30) - 1, 1 << 30, (1 << 31) - 1, 1 << 31, -(1 << 31), 1 << 40, 1 << 63, 1 << 64,
    10**30, 0.0, 0.5, 1.0, -1.5, 43568.0, 1e-300, 1e308, float("nan"), float("inf"), "", " ", "a",
    "3", "int8", "int16", "int32", "tokens", "uint16", "Q8.8", "Q16.16", "float", "input", "exact",
    "exact16", "flash", "linear", "sparse", "relu", "relu+1", "elu+1", "add", "none", "tanh",
    "wrap", "attention", "_x", "../x", "attn8", "ü", "\0", "\x1b[2J", "x" * 300, [], [0], [1],
    [1, 2], [-1], [16], ["a"], [None], [[]], [1] * 256, [0] * 256, ["full"], ["local_window", 2],
    {}, {"a": 1}, {"window": 2}, {"x": None},
)  # fmt: skip
VALUES = ["weight", "bias", "mult", "shift", "table", "scale", "core.mask", "memory", "x", "type",
          "name", "at", "options", "constants", "lengths", "output", "format", "inputs", "rows",
          "arena", "key_padding_mask", "core.gate", "core.features", "channels"]


def decompose(config, tensors):
    """A file of NumPy arrays, as it is here."""
    return config, {name: (DTYPES[values.dtype.name], list(values.shape), values.tobytes())
                    for name, values in tensors.items()}


def pack(text, tensors, change=lambda header: header):
    """A safetensors file: of the config's text, and of tensors in the order of their alignment."""
    metadata = {} if text is None else {"config": text}
    header, data = {"__metadata__": metadata}, b""
    for name, (dtype, shape, values) in sorted(tensors.items(), key=lambda each: (
            -ITEMSIZES.get(each[1][0], 1), each[0])):
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    return assemble(change(header), data)


def assemble(header, data):
    """Of a header, a JSON value or its bytes, and what comes behind."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw + data


class Mutator:
    """Changes files; rng is a random.Random."""

    def __init__(self, rng):
        self.rng = rng

    def __call__(self, file, others=()):
        """One mutated file, bytes. others: files whose layers may come in."""
        config, tensors = copy.deepcopy(file[0]), dict(file[1])
        ways = [self.field] * 8 + [self.number] * 6 + [self.tensor] * 5 + [self.values] * 3 + [
            self.layers] * 2
        finish = self.plain
        chance = self.rng.random()
        if chance < 0.66:
            for _ in range(self.rng.choice((1, 1, 1, 2, 3))):
                self.rng.choice(ways)(config, tensors, others)
        elif chance < 0.74:
            finish = self.text
        elif chance < 0.86:
            finish = self.header
        else:
            finish = self.bytes
        return finish(config, tensors)

    def wrong(self):
        """A value that may not be there, of its own: another mutation may change it."""
        return copy.deepcopy(self.rng.choice(WRONG))

    # What changes the config

    def places(self, value, depth=0):
        """All (container, key) within a JSON value."""
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, held in items:
            yield value, key
            if isinstance(held, (dict, list)) and held and depth < 8:
                yield from self.places(held, depth + 1)

    def field(self, config, tensors, others):
        """Another value, none, or one of another name."""
        found = list(self.places(config))
        container, key = self.rng.choice(found)
        way = self.rng.randrange(8)
        if way == 0:
            del container[key]
        elif way == 1 and isinstance(container, dict):
            container[self.rng.choice(VALUES)] = container.pop(key)
        elif way == 2 and isinstance(container, dict):
            container[self.rng.choice(VALUES)] = self.wrong()
        elif way == 3:
            other, at = self.rng.choice(found)
            container[key] = copy.deepcopy(other[at])
        elif way == 4 and self.rng.random() < 0.05:
            container[key] = "DEEP"
        else:
            container[key] = self.wrong()

    def number(self, config, tensors, others):
        """A number that is a little or a lot off."""
        found = [(c, k) for c, k in self.places(config) if type(c[k]) in (int, float)]
        if found:
            container, key = self.rng.choice(found)
            value = container[key]
            container[key] = self.rng.choice((
                value + 1, value - 1, 2 * value, value // 2, -value, 1 << self.rng.randrange(32),
                float(value), str(value), [value], value + 16, self.rng.randrange(-5, 70),
                bool(value),
            ))

    def layers(self, config, tensors, others):
        """A layer twice, none, elsewhere, or one of another file with its tensors."""
        found = config.get("layers")
        if type(found) is not list or not found:
            return
        at, way = self.rng.randrange(len(found)), self.rng.randrange(5)
        if way == 0:
            del found[at]
        elif way == 1:
            found.insert(self.rng.randrange(len(found) + 1), copy.deepcopy(found[at]))
        elif way == 2:
            found.insert(self.rng.randrange(len(found)), found.pop(at))
        elif way == 3:
            found[at] = self.wrong()
        elif others:
            other, more = self.rng.choice(others)
            entry = copy.deepcopy(self.rng.choice(other["layers"]))
            found.insert(at, entry)
            tensors.update({name: values for name, values in more.items()
                            if name.startswith(entry["name"] + ".")})

    # What changes the tensors

    def tensor(self, config, tensors, others):
        """Another dtype, shape, name or length."""
        if not tensors:
            return
        name = self.rng.choice(sorted(tensors))
        dtype, shape, values = tensors[name]
        if not (type(shape) is list and all(type(n) is int for n in shape)):
            return  # it is wrong already
        shape = list(shape)
        way = self.rng.randrange(9)
        if way == 0:
            del tensors[name]
            return
        if way == 1:
            dtype = self.rng.choice(sorted(ITEMSIZES))
        elif way == 2:  # as many bytes of another type
            dtype = self.rng.choice([each for each in ITEMSIZES
                                     if ITEMSIZES[each] == ITEMSIZES.get(dtype)])
        elif way == 3:  # a true tensor of another type
            count = len(values) // ITEMSIZES[dtype]
            dtype = self.rng.choice(sorted(ITEMSIZES))
            values = (values * 8)[: count * ITEMSIZES[dtype]]
        elif way == 4 and shape:
            at = self.rng.randrange(len(shape))
            shape[at] = self.rng.choice((0, 1, shape[at] + 1, -1, 1 << 40, 1.0, "1", None, True))
        elif way == 5:
            shape = self.rng.choice(([], [len(values)], shape[::-1], [1, *shape], [*shape, 1], None,
                                     {}, "1", 3))
        elif way == 6 and shape:  # one more or less along an axis, truly
            at = self.rng.randrange(len(shape))
            shape[at] = max(0, shape[at] + self.rng.choice((-1, 1)))
            size = ITEMSIZES[dtype]
            for n in shape:
                size *= n
            values = (values * 3)[:size]
        elif way == 7:
            del tensors[name]
            name = self.rng.choice((name + "x", "x", "", "x.y", name.rpartition(".")[0] + "."
                                    + self.rng.choice(VALUES)))
        else:
            values = values[: self.rng.randrange(len(values) + 1)]
        tensors[name] = dtype, shape, values

    def values(self, config, tensors, others):
        """Numbers of a tensor, the extreme ones among them."""
        if not tensors:
            return
        name = self.rng.choice(sorted(tensors))
        dtype, shape, values = tensors[name]
        made, size = bytearray(values), ITEMSIZES[dtype]
        for _ in range(self.rng.choice((1, 1, 3, len(made) // size))):
            if made:
                at = self.rng.randrange(len(made) // size) * size
                made[at : at + size] = self.rng.choice((
                    b"\xff" * size, b"\0" * size, b"\xff" * (size - 1) + b"\x7f",
                    b"\0" * (size - 1) + b"\x80", self.rng.randbytes(size),
                    b"\0" * (size - 1) + b"\x40",
                ))
        tensors[name] = dtype, shape, bytes(made)

    # What makes the file

    def plain(self, config, tensors):
        return pack(self.dumps(config), tensors)

    def dumps(self, config):
        deep = self.rng.choice((40, 200, 5000, 12_000, DEEP))
        return json.dumps(config).replace('"DEEP"', self.nested(deep))

    def nested(self, deep):
        opening, closing = self.rng.choice((("[", "]"), ('{"a":', "}")))
        return opening * deep + "1" * (opening != "[") + closing * deep

    def damaged(self, raw, marks):
        """Bytes of JSON with a few of them other, gone or added."""
        raw = bytearray(raw)
        for _ in range(self.rng.choice((1, 1, 2, 5))):
            if not raw:
                break
            at, way = self.rng.randrange(len(raw)), self.rng.randrange(7)
            if way == 0:
                raw[at] ^= 1 << self.rng.randrange(8)
            elif way == 1:
                del raw[at : at + self.rng.choice((1, 1, 4, 60))]
            elif way == 2:
                del raw[at:]
            elif way == 3:
                raw[at:at] = self.rng.randbytes(self.rng.choice((1, 2, 5)))
            else:  # one of the marks that JSON is made of
                spots = [i for i, byte in enumerate(raw) if byte in b",:[]{}\"\\-.0123456789"]
                at = self.rng.choice(spots or [0])
                found = self.rng.choice(marks)
                if way == 4:
                    raw[at : at + 1] = found
                else:
                    raw[at:at] = found
        return bytes(raw)

    MARKS = [b"", b",", b":", b"[", b"]", b"{", b"}", b'"', b"\\", b" ", b"\n", b"\t", b"\r", b"\0",
             b"-", b"+", b".", b"e", b"0", b"1", b"00", b"1e2", b"null", b"true", b"false", b"NaN",
             b"Infinity", b"'", b"//", b"#", b"\\u0041", b"\\ud800", b"\\x41", b"\\n", b"\xff",
             b"\xc3\xbc", b"\xef\xbb\xbf", b'"a":1,', b',"name":"b"', b"[" * 60 + b"]" * 60]

    def text(self, config, tensors):
        """The config's text itself damaged."""
        text = self.damaged(json.dumps(config).encode(), self.MARKS)
        return pack(text.decode("utf-8", "replace"), tensors)

    def header(self, config, tensors):
        """The header of safetensors: offsets, kinds, keys twice, what is no object."""
        way = self.rng.randrange(14)
        text = json.dumps(config)
        if way == 0:
            return assemble(self.damaged(self._raw(text, tensors), self.MARKS), self._data(tensors))
        if way == 1:
            deep = self.nested(self.rng.choice((100, 126, 127, 128, 5000, 15_000, DEEP)))
            raw = self._raw(text, tensors)
            return assemble(b'{"x":' + deep.encode() + b"," + raw[1:], self._data(tensors))
        if way == 2:
            return assemble(self.rng.choice((b"[]", b"{}", b"1", b'""', b"null", b"[" * DEEP, b"  ",
                                             b"{" * 9000, self.nested(DEEP).encode())), b"")
        if way == 3:  # a key twice
            raw = self._raw(text, tensors)
            first = raw.index(b'"', 2) if self.rng.random() < 0.5 else 1
            again = self.rng.choice((b'"__metadata__":{"config":"{}"},',
                                     b'"x":{"dtype":"I8","shape":[0],"data_offsets":[0,0]},', b""))
            name = self.rng.choice(sorted(tensors) or ["x"])
            again = again or b'%s:{"dtype":"I8","shape":[0],"data_offsets":[0,0]},' % json.dumps(
                name).encode()
            return assemble(raw[:1] + again + raw[1:] if first == 1 else raw, self._data(tensors))

        def change(header):
            names = [name for name in header if name != "__metadata__"]
            held = header[self.rng.choice(names)] if names else {}
            if way == 4:
                held["data_offsets"] = self.rng.choice(
                    (WRONG[self.rng.randrange(len(WRONG))], [0, 0], [8, 0], [-8, 0], [0, 1 << 40],
                     [0], [0, 1, 2], [0.0, 8.0], [True, 8]))
            elif way == 5 and held:
                start, end = held["data_offsets"]
                off = self.rng.choice((-8, -1, 1, 8, len(text)))
                held["data_offsets"] = [start + off, end + off]
            elif way == 6 and len(names) > 1:  # two of the same place
                held["data_offsets"] = list(header[self.rng.choice(names)]["data_offsets"])
            elif way == 7 and held:
                del held[self.rng.choice(sorted(held))]
            elif way == 8:
                held[self.rng.choice(("x", "dtype", "shape"))] = self.wrong()
            elif way == 9:
                header["__metadata__"] = self.rng.choice(
                    (*WRONG, {"config": 1}, {"config": None}, {"config": {}}, {"x": "y"},
                     {"config": "[]"}, {"config": text, "x": 1}, {"config": text, "x": "1"}))
            elif way == 10 and names:
                header[self.rng.choice(names)] = self.wrong()
            elif way == 11:
                header[self.rng.choice(VALUES)] = self.rng.choice(
                    (*WRONG, {"dtype": "I8", "shape": [0], "data_offsets": [0, 0]}))
            elif way == 12:
                header["__metadata__"]["x"] = self.rng.choice(("1", "", "x" * 40_000))
            else:
                del header["__metadata__"]
            return header

        return pack(text, tensors, change)

    def _raw(self, text, tensors):
        return pack(text, tensors)[8 : -len(self._data(tensors)) or None].rstrip()

    def _data(self, tensors):
        return b"".join(tensors[name][2] for name in sorted(tensors, key=lambda name: (
            -ITEMSIZES.get(tensors[name][0], 1), name)))

    def bytes(self, config, tensors):
        """The file's bytes damaged."""
        data = bytearray(self.plain(config, tensors))
        length = struct.unpack("<Q", data[:8])[0]
        way = self.rng.randrange(7)
        if way == 0:
            del data[self.rng.randrange(len(data)) :]
        elif way == 1:
            data += self.rng.randbytes(self.rng.choice((1, 8, 100)))
        elif way == 2:
            data[:8] = struct.pack("<Q", self.rng.choice((
                0, 1, 2, length - 8, length - 1, length + 1, length + 8, 1 << 31, 1 << 32, 1 << 63,
                (1 << 64) - 1, len(data) - 8, len(data))))
        elif way == 3:
            for _ in range(self.rng.randrange(1, 20)):
                data[self.rng.randrange(len(data))] = self.rng.randrange(256)
        else:  # within the header
            for _ in range(self.rng.choice((1, 1, 2, 3))):
                data[8 + self.rng.randrange(length)] ^= 1 << self.rng.randrange(8)
        return bytes(data)
