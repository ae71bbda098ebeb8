# What the layers before those that train make of each sample, once for all, in a file: what trains
# then has the memory that they took.
import gc
import os
import sys

from .. import checks, forms, memory
from .fitting import pair
from .samples import Samples

SUFFIX = ".features"


def features(path, samples):
    # path: of the training file. -> the features as Samples, and the input and the first layer that
    # stand for those; the samples and () where they are not to be made again, or all layers train
    before = set(sys.modules)
    rooms = forms.scratch.bytes, forms.weights.bytes
    front, labels = _front(path)
    if not front:
        return samples, ()
    try:
        os.remove(path + SUFFIX)
    except OSError:
        pass
    made, given = _made(path + SUFFIX, front, labels, samples)
    found = [name for name in sys.modules if name not in before and name[:6] == "attn8."
             and name.split(".")[1] not in ("forms", "kernels")]
    found.sort(reverse=True)  # what lies in a package comes before it
    for name in found:
        memory.forget(name)
    forms.scratch.bytes, forms.weights.bytes = rooms  # which other models may work in
    gc.collect()
    return made, given


def _front(path):
    from ..configuration import configuration

    config = configuration(path, "attn8-train")
    first = config["layers"][0]
    apart = config.get("recompute") and first["type"] == "front"
    return first if apart else None, config.get("labels", 1)


def _made(path, front, labels, samples):
    from ..model import load

    model = load(front["model"], count=front["count"])
    lengths = front.get("lengths")
    _, code, y = model.outputs[-1]
    given = {"size": len(y)}
    if lengths and max(lengths):
        given["tokens"] = max(lengths)
    size = len(model.input)
    made = Samples(path, len(y) + ("tokens" in given), code, labels)
    each = None
    if labels > 1:
        from .token_loss import TokenLabels

        each = TokenLabels(labels, 1 << 15, len(lengths) if lengths else None)
    for i in range(len(samples)):
        x, label = pair(samples, i)
        checks.values("sample %d" % i, x, size + bool(lengths), False, model.code)
        if each:
            label = each(i, x, label)
        else:
            checks.between("sample %d: label" % i, label, 0, 65535)
        for k in range(size):
            model.input[k] = x[k]
        told = int(x[size]) if lengths else None
        left = lengths[int(x[size]) - 1] if "tokens" in given else None
        try:
            made.append(model(None, told), label, left)
        except OSError as error:
            raise ValueError("%s: there is no room for what the first layers make of %d samples: "
                             "%s" % (path, len(samples), error))
    return made, (given, {"type": "features", "name": front["name"], "mult": front["mult"]})
