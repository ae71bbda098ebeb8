# A model's file: its metadata holds a JSON config, which says what each layer is made of.
import gc
import json
import os

from . import checks, memory

MOST = (1 << 30) - 1
ROOM = 20000  # bytes that layers and their code take, about, besides what the file and arena do


def configuration(path, form):
    # The config of a file of this format, checked as far as all of them are alike
    from .safetensors import metadata

    config = checked(metadata(path), form)
    config["layers"] = [json.loads(text) for text in config["layers"]]
    return config


def checked(metadata, form):
    # As `configuration`, of what a file has besides its tensors, which is taken out of the dict;
    # each layer is the JSON that it is written in, of which most takes less than what it says
    if "config" not in metadata:
        raise ValueError("no attn8 config in the metadata")
    config = _read(bytearray(memory.take(metadata, "config").encode()))
    if type(config.get("version")) is not int or config["version"] != 1:
        raise ValueError("expected an %s model of version 1" % form)
    found = config.get("format")
    if found != form:
        loader = {"attn8": "attn8.load", "attn8-train": "attn8.train.load"}.get(str(found))
        raise ValueError("expected an %s model of version 1%s"
                         % (form, ", got %s: use %s" % (found, loader) if loader else ""))
    del config["format"], config["version"]
    for key, kind in (("name", str), ("input", dict), ("layers", list)):
        if key not in config:
            raise ValueError("the config lacks %s" % key)
        if type(config[key]) is not kind or not config[key]:
            raise ValueError("%s: expected %s, got %s"
                             % (key, {str: "a word", dict: "an object", list: "layers"}[kind],
                                config[key]))
    return config


def _read(text):
    # JSON in a bytearray -> its value, {} of what is no object; "layers" are a list of bytes
    from .grammar import TWICE, first, loads, split

    config = {}
    if not text or text[first(text)] != 123:
        loads(text)
        return config
    for piece in split(text)[1]:
        at = bytes(piece[:16]).find(b":")
        value = piece[at + 1 : len(piece) - 1]
        if bytes(piece[1:at]).strip() == b'"layers"' and value[first(value)] == 91:
            made = {"layers": [bytes(each) for each in split(value, 91)[1]]}
            for each in made["layers"]:
                loads(each)
        else:
            made = loads(piece)
        for key in made:
            if key in config:
                raise ValueError(TWICE)
            config[key] = made[key]
    return config


def streams(path, weights, step, arena):
    # Whether weights stay in the file. arena: its size, as the config has it
    if weights not in (None, "resident", "stream"):
        raise ValueError("weights: expected resident or stream, got %s" % (weights,))
    if weights is None:
        try:
            with open(path, "rb") as file:
                return len(memoryview(file)) > 0  # as ROMFS has it: they are read where they lie
        except TypeError:
            pass
        except OSError:  # a partition
            return True
        gc.collect()
        size, free = os.stat(path)[6], gc.mem_free()
        if step:
            return 2 * size > free
        return size + (arena if type(arena) is int else 0) + ROOM > free
    return weights == "stream"


def source(config, tensors, step):
    # What the config says of the input, which is taken out of it -> (format, values, tokens where
    # they are told apart, whether an input has a length, scale, channels, values between them)
    from .entry import scales

    known(config, ("name", "input", "layers", "arena", "text"))
    source = memory.take(config, "input")
    known(source, ("shape", "scale", "scales", "offsets", "axis", "format", "lengths"), "input.")
    form = source.get("format", "int8")
    if form not in ("int8", "tokens") or form == "tokens" and "scale" in source:
        raise ValueError("input.format: expected int8, or tokens without a scale, got %s" % form)
    heed = source.get("lengths", False)
    if type(heed) is not bool:
        raise ValueError("input.lengths: expected true or false, got %s" % heed)
    if "shape" not in source:
        raise ValueError("input: the config lacks shape")
    sizes = source["shape"]
    size = 1 if isinstance(sizes, list) and sizes else 0
    for n in sizes if size else ():
        size *= n if type(n) is int and n > 0 else 0
    checks.between("input.shape: values", size, 1, 1 << 22)
    first = sizes[0]
    scales("input", source, list)
    for key in ("scales", "offsets"):
        for value in source.get(key, ()):
            checks.kind(key, value, (float, int))
    checks.between("input.axis", source.get("axis", 0), 0, 1 << 15)
    length = first if heed or step else None
    if step:
        size //= first
    channels = None
    inner = 1
    if "input.channels" in tensors:
        found = tensors["input.channels"]
        channels = tensors.pop("input.channels")
        inner = check_channels(channels, found[:2], source)
    return form, size, length, heed, source.get("scale"), channels, inner


def known(fields, names, prefix=""):
    for key in fields:
        if key not in names:
            raise ValueError("unknown field %s%s; take it out of the config" % (prefix, key))


def check_channels(channels, found, source):
    # channels: of a file, whose type and shape are `found` and whose config says `source` of the
    # input -> values between one of a channel and the next channel's
    code, shape = found
    if code != "i" or len(shape) != 2 or shape[1] != 4 or not shape[0]:
        raise ValueError("input.channels: expected array('i') of shape [channels, 4], got "
                         "array('%s') of shape %s" % (code, shape))
    inner = 1
    if shape[0] > 1:
        sizes = source["shape"]
        axis = checks.between("input.axis", source.get("axis", len(sizes) - 1), 0, len(sizes) - 1)
        if sizes[axis] != shape[0]:
            raise ValueError("input.channels: expected %d rows, got %d" % (sizes[axis], shape[0]))
        for n in sizes[axis + 1 :]:
            inner *= n
    for c in range(0, 4 * shape[0], 4):
        checks.between("input.channels: frac", channels[c], -100, 100)
        checks.between("input.channels: offset", channels[c + 1], -MOST, MOST)
        checks.multiplier("input.channels", channels[c + 2], channels[c + 3])
    return inner
