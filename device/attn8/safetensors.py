# Reads and writes safetensors files: 8 bytes of header length, a JSON header, the tensors' bytes.
import json
import os
from array import array

_types = {"I8": ("b", 1), "U8": ("B", 1), "I16": ("h", 2), "U16": ("H", 2), "I32": ("i", 4),
          "F32": ("f", 4)}
MAX_HEADER = 32768


def _open(path):
    # -> (file, bytes before the tensors' data, bytes of it, header)
    try:
        size = os.stat(path)[6]
        file = open(path, "rb")
    except OSError:
        raise ValueError("%s: no such file" % path)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(MAX_HEADER, size - 8):
        file.close()
        raise ValueError("%s: not a safetensors file, or its header is too long" % path)
    try:
        header = json.loads(file.read(length))
    except ValueError:
        file.close()
        raise ValueError("%s: the header is not JSON" % path)
    return file, 8 + length, size - 8 - length, header


def read(path):
    # -> (metadata, {name: array}, {name: shape}); ValueError where the file is not what it says
    file, data, size, header = _open(path)
    with file:
        metadata = header.pop("__metadata__", {})
        tensors = {}
        shapes = {}
        for name in header:
            entry = header[name]
            shape = entry["shape"]
            start, end = entry["data_offsets"]
            code, itemsize = _types.get(entry["dtype"], (None, 0))
            if code is None:
                raise ValueError("%s: %s has dtype %s" % (path, name, entry["dtype"]))
            count = 1
            for n in shape:
                count *= n
            if end - start != count * itemsize or not 0 <= start <= end <= size:
                raise ValueError("%s: %s does not fit the file" % (path, name))
            tensor = array(code, bytes(end - start))
            file.seek(data + start)
            if file.readinto(tensor) != end - start:
                raise ValueError("%s: %s is cut off" % (path, name))
            tensors[name] = tensor
            shapes[name] = shape
    return metadata, tensors, shapes


def write(path, metadata, tensors):
    # tensors: [(name, shape, typecode, array)]. Under another name until it is whole, then renamed,
    # which file systems do at once: a power cut leaves the old file or the new one.
    dtypes = {code: (dtype, size) for dtype, (code, size) in _types.items()}
    header = {"__metadata__": metadata}
    end = 0
    for name, shape, code, values in tensors:
        dtype, size = dtypes[code]
        start, end = end, end + len(values) * size
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    _write(path, header, [values for _, _, _, values in tensors])


def metadata(path):
    file, _, _, header = _open(path)
    file.close()
    return header.get("__metadata__", {})


def update(path, metadata, tensors):
    # Changes the metadata and the values of some tensors, {name: array}, as `write` does; the
    # others are copied piece by piece: the file need not fit into memory
    file, data, _, header = _open(path)
    header["__metadata__"] = metadata
    names = [name for name in header if name != "__metadata__"]
    names.sort(key=lambda name: header[name]["data_offsets"][0])
    with file:
        parts = []
        for name in names:
            start, end = header[name]["data_offsets"]
            parts.append(tensors.get(name) or _pieces(file, data + start, end - start))
        _write(path, header, parts)


def _pieces(file, start, size):
    file.seek(start)
    while size:
        piece = file.read(min(512, size))
        size -= len(piece)
        yield piece


def _write(path, header, parts):
    # A part is an array or a generator of bytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    temporary = path + ".new"
    with open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for part in parts:
            if isinstance(part, array):
                file.write(part)
            else:
                for piece in part:
                    file.write(piece)
    os.rename(temporary, path)
