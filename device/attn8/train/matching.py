# Whether what trains is what a model infers.
import json

from ..safetensors import metadata


def check(layers, path):
    # What trains is what the int8 model at `path` infers: its layers say so in `infers`
    said = {fields["name"]: fields
            for fields in json.loads(metadata(path)["config"].encode())["layers"]}
    for layer in layers:
        infers = getattr(layer, "infers", ())
        for key in infers:
            found = said.get(layer.name, infers).get(key, infers[key])
            if found != infers[key]:
                raise ValueError("%s.%s: what trains has %s, the model that it becomes, %s, has %s"
                                 % (layer.name, key, infers[key], path, found))
        if infers:
            layer.infers = ()  # that is all that it was for
