# What a training file says, read before there is anything else.
import json

from ..configuration import checked, configuration, known
from ..safetensors import metadata
from ..tensors import Tensors


def read(path):
    # -> config; of each tensor by its name (typecode, the place of its first byte, values); and of
    # each layer by its name, as JSON, what the int8 model says that it becomes (see matching.py)
    config = configuration(path, "attn8-train")
    known(config, ("batch", "clip_norm", "held", "input", "int8", "labels", "layers", "loss",
                   "name", "numbers", "optimizer", "recompute", "schedule"))
    known(config["input"], ("format", "mult", "size", "tokens"))
    tensors = Tensors(path)
    tensors.close()
    places = {name: (tensors[name][0],) + tuple(tensors[name][2:]) for name in tensors}
    del tensors
    said = {}
    if "int8" in config:
        names = [fields.get("name") for fields in config["layers"] if isinstance(fields, dict)]
        for text in checked(metadata(config["int8"]), "attn8")["layers"]:
            name = json.loads(text)["name"]
            if name in names:
                said[name] = text
    return config, places, said
