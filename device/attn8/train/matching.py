# Whether what trains is what a model infers.
import json


def check(layers, said, path):
    # What trains is what the int8 model at `path` infers: its layers say so in `infers`. said: of
    # layers by their names, the JSON of that model's config
    for layer in layers:
        infers = getattr(layer, "infers", None)
        if not infers:
            continue
        fields = json.loads(said[layer.name]) if layer.name in said else infers
        for key in infers:
            found = fields.get(key, infers[key])
            if found != infers[key]:
                raise ValueError("%s.%s: what trains has %s, the model that it becomes, %s, has %s"
                                 % (layer.name, key, infers[key], path, found))
        layer.infers = ()  # that is all that it was for
