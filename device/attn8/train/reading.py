# What a training file says, read before there is anything else.
from ..configuration import configuration, known
from ..tensors import Tensors


def read(path):
    # -> config, and of each tensor by its name (typecode, the place of its first byte, values)
    config = configuration(path, "attn8-train")
    known(config, ("batch", "clip_norm", "held", "input", "int8", "labels", "layers", "loss",
                   "name", "numbers", "optimizer", "recompute", "schedule"))
    known(config["input"], ("format", "mult", "size", "tokens"))
    tensors = Tensors(path)
    tensors.close()
    return config, {name: (tensors[name][0],) + tuple(tensors[name][2:]) for name in tensors}
