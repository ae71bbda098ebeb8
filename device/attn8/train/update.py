# Changes the model in a safetensors file that was checked when the training was loaded. Its header
# is read and written a little at a time: memory may have no piece that is large enough for it.
import gc
import json
import os
from io import IOBase

PIECE = 512  # bytes of a file that are copied at a time
MOST = 32768  # of a header that is read again (see safetensors.py)
QUOTE, ESCAPE, OBJECT, LIST = b'"\\{['
_one = bytearray(1)


def update(path, change):
    # change(config, tensors) -> the values of the tensors that get new ones, {name: array}; it has
    # changed the config then. None: it is called again, with the config as it was. tensors: see
    # _scan. The file need not fit into memory: it gets another name until it is whole, and then its
    # own, which file systems do at once: a power cut leaves the old file or the new one, and an
    # error the old one alone. OSError: it cannot be read or written as a whole.
    gc.collect()
    temporary = path + ".new"
    try:
        with open(path, "rb") as file:
            data = 8 + int.from_bytes(file.read(8), "little")
            start, end, last, tensors = _scan(file)
            values = None
            while values is None:
                file.seek(start)
                config = None  # what was changed in vain goes first
                config = json.load(_Text(file))
                values = change(config, tensors)
            with open(temporary, "wb") as new:
                file.seek(0)
                _copy(file, new, start)
                _write(new, config)
                file.seek(end)
                _copy(file, new, last - end)
                _put(new, b" " * (-new.tell() % 8))
                length = new.tell() - 8
                if length > MOST:
                    raise OSError("its header has %d bytes now, and %d are read" % (length, MOST))
                for name in sorted(tensors, key=lambda name: tensors[name][0]):
                    start, end, _ = tensors[name]
                    if name in values:
                        _put(new, values[name], end - start)
                    else:
                        file.seek(data + start)
                        _copy(file, new, end - start)
                new.seek(0)
                _put(new, length.to_bytes(8, "little"))
        os.rename(temporary, path)
    finally:
        try:
            os.remove(temporary)  # of which there is a part
        except OSError:
            pass


def _scan(file):
    # Of a header that the file is at: the places where what the config says begins and ends, that
    # behind the last member; and of each tensor by its name where its bytes begin and end, counted
    # from the first tensor's, and how many sizes its shape has
    tensors = {}
    start = None
    while _byte(file) != OBJECT:
        pass
    for name, first in _members(file):
        if name == "__metadata__":
            for key, first in _members(file):
                found = file.tell()
                for _ in _value(file, first):
                    pass
                if key == "config":
                    start, end = found, file.tell() - 1
        else:
            entry = json.loads(bytes(_value(file, first)))
            tensors[name] = tuple(entry["data_offsets"]) + (len(entry["shape"]),)
    if start is None:
        raise OSError("it has no config")
    return start, end, file.tell(), tensors


def _members(file):
    # Those of the object whose first byte the file is behind: the name of each, and its value's
    # first byte; whoever takes it reads the rest
    while True:
        first = _byte(file)
        if first == OBJECT + 2:
            return
        if first == QUOTE:
            name = json.loads(bytes(_value(file, first)))
            while first != OBJECT:  # ":", and spaces
                first = _byte(file)
                if first == QUOTE:
                    break
            yield name, first


def _byte(file):
    if not file.readinto(_one):
        raise OSError("it is cut off")
    return _one[0]


def _value(file, first):
    # The bytes of the value that begins so: a string or an object
    depth = 0
    quoted = False
    while True:
        yield first
        if quoted:
            if first == ESCAPE:
                yield _byte(file)
            quoted = first != QUOTE
        elif first == QUOTE:
            quoted = True
        elif first == OBJECT or first == LIST:
            depth += 1
        elif first == OBJECT + 2 or first == LIST + 2:
            depth -= 1
        if not depth and not quoted:
            return
        first = _byte(file)


class _Text(IOBase):
    # What a string says whose first quote the file is behind, as json.load reads it: by one byte

    def __init__(self, file):
        self._file = file
        self._left = b""

    def readinto(self, buffer):
        if not self._left:
            found = buffer[0] = _byte(self._file)
            if found != ESCAPE:
                return found != QUOTE  # that is the end
            found = b"\\" + self._file.read(1)
            if found == b"\\u":
                found += self._file.read(4)
            self._left = json.loads(b'"%s"' % found).encode()
        buffer[0] = self._left[0]
        self._left = self._left[1:]
        return 1


def _write(file, config):
    # The inside of a string that says the config
    before = "{"
    for key, value in config.items():
        _escaped(file, before + json.dumps(key) + ":")
        before = ","
        if key == "layers":
            inner = "["
            for fields in value:
                _escaped(file, inner + _json(fields))
                inner = ","
            _escaped(file, "]")
        else:
            _escaped(file, _json(value))
    _escaped(file, "}")


def _json(value):
    # No longer than others write it
    return json.dumps(value, separators=(",", ":"))


def _escaped(file, text):
    _put(file, json.dumps(text)[1:-1].encode())


def _copy(file, new, size):
    while size:
        piece = file.read(min(PIECE, size))
        if not piece:
            raise OSError("it is cut off")
        _put(new, piece)
        size -= len(piece)


def _put(file, data, size=None):
    # size: in bytes, where data is no bytes
    if file.write(data) != (len(data) if size is None else size):
        raise OSError(28)  # no room
