# Reads and writes safetensors files: 8 bytes of header length, a JSON header, the tensors' bytes.
import json
import os
from array import array

_types = {"I8": ("b", 1), "U8": ("B", 1), "I16": ("h", 2), "U16": ("H", 2), "I32": ("i", 4),
          "F32": ("f", 4)}
MAX_HEADER = 32768


def read(path):
    # -> (metadata, {name: array}, {name: shape}); ValueError where the file is not what it says
    try:
        size = os.stat(path)[6]
        file = open(path, "rb")
    except OSError:
        raise ValueError("%s: no such file" % path)
    with file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise ValueError("%s: not a safetensors file, or its header is too long" % path)
        try:
            header = json.loads(file.read(length))
        except ValueError:
            raise ValueError("%s: the header is not JSON" % path)
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
            if end - start != count * itemsize or not 0 <= start <= end <= size - 8 - length:
                raise ValueError("%s: %s does not fit the file" % (path, name))
            tensor = array(code, bytes(end - start))
            file.seek(8 + length + start)
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
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    temporary = path + ".new"
    with open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for _, _, _, values in tensors:
            file.write(values)
    os.rename(temporary, path)
