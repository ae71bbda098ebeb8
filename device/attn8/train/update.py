# Changes safetensors files in place.
import gc
import json
import os
from array import array

from ..safetensors import open_file


def update(path, change, target=None):
    # change(metadata) -> the tensors that get new values, {name: array}; it may change the metadata
    # too. Other tensors are copied piece by piece: the file need not fit into memory. Under another
    # name until it is whole, then renamed to `target`, by default its own name, which file systems
    # do at once: a power cut leaves the old file or the new one.
    gc.collect()
    file, data, _, header = open_file(path)
    tensors = change(header["__metadata__"])
    names = [name for name in header if name != "__metadata__"]
    names.sort(key=lambda name: header[name]["data_offsets"][0])
    with file:
        parts = []
        for name in names:
            start, end = header[name]["data_offsets"]
            parts.append(tensors.get(name) or _pieces(file, data + start, end - start))
        _write(target or path, header, parts)


def _pieces(file, start, size):
    file.seek(start)
    while size:
        piece = file.read(min(512, size))
        size -= len(piece)
        yield piece


def _write(path, header, parts):
    # A part is an array, a view of one, as tensors of a file are, or a generator of bytes. The
    # header's length is known once it is written: as a text it would take a few kilobytes.
    temporary = path + ".new"
    with open(temporary, "wb") as file:
        file.write(bytes(8))
        json.dump(header, file)
        file.write(b" " * (-file.tell() % 8))
        length = file.tell() - 8
        for part in parts:
            if isinstance(part, (array, memoryview)):
                file.write(part)
            else:
                for piece in part:
                    file.write(piece)
        file.seek(0)
        file.write(length.to_bytes(8, "little"))
    os.rename(temporary, path)
