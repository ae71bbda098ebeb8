# What the layers before those that train make of each sample, once for all, in a file: what trains
# then has the memory that they took. And what is asked of samples and arguments before that.
import gc
import os
import sys

from .. import checks, forms, memory
from .fitting import each_of
from .samples import Samples


def features(path, samples):
    # path: of the training file. -> the features as Samples, and the input and the first layer that
    # stand for those; the samples and () where they are not to be made again, or all layers train
    before = set(sys.modules)
    rooms = forms.scratch.bytes, forms.weights.bytes
    from ..loading import loaded

    try:
        front, labels = loaded(path, lambda: _front(path))
        return _made(path + ".features", front, labels, samples) if front else (samples, ())
    finally:
        del loaded
        found = [name for name in sys.modules if name not in before and name[:6] == "attn8."
                 and name.split(".")[1] not in ("forms", "kernels")]
        found.sort(reverse=True)  # what lies in a package comes before it
        for name in found:
            memory.forget(name)
        forms.scratch.bytes, forms.weights.bytes = rooms  # which other models may work in
        gc.collect()


def _front(path):
    from ..configuration import configuration, known

    config = configuration(path, "attn8-train")
    first = config["layers"][0]
    if not config.get("recompute") or first["type"] != "front":
        return None, 1
    known(first, ("count", "last", "lengths", "model", "mult", "name", "type"), "front.")
    for key in "count", "last", "model", "mult", "name":  # a KeyError says which is missing
        first[key]
    return first, config.get("labels", 1)


def _made(path, front, labels, samples):
    from ..model import load

    try:
        os.remove(path)
    except OSError:
        pass
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
        from .token_labels import TokenLabels

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
        made.append(model(None, told), label, left)
    return made, (given, {"type": "features", "name": front["name"], "mult": front["mult"]})


def pair(samples, i):
    # -> what the sample is, and its label
    try:
        found = samples[i]
    except (TypeError, KeyError):
        checks.refuse("samples", samples)
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        checks.refuse("sample", i, found)
    return found


def check(samples, trainer, order, held):
    # What the samples say, before anything is trained, where none are appended any more. held: how
    # many of `order` do not train
    if "attn8.train.keeping" in sys.modules:
        memory.forget("attn8.train.keeping")
    model = trainer.model
    classes = bytearray(model.output_size // model.labels)
    each = each_of(trainer)
    for at in range(len(order)):
        i = order[at]
        x, label = pair(samples, i)
        checks.values("sample %d" % i, x, model.input_size, False, trainer.code)
        if each:
            found = each(i, x, label)
        else:
            found = (checks.between("sample %d: label" % i, label, 0, len(classes) - 1),)
        if at >= held and label is not None:  # but for a text's
            for label in found:
                if label >= 0:
                    classes[label] = 1
    if sum(classes) == 1:
        raise ValueError("samples: all that train are of class %d; keep some of others, too"
                         % list(classes).index(1))
    missing = [str(i) for i in range(len(classes)) if not classes[i]]
    if 0 < len(missing) < len(classes):
        print("fit: no sample that trains is of class %s: what trains forgets it"
              % ", ".join(missing))


def arguments(path, samples, trainer, epochs, batch, validation, patience):
    # Those of attn8.train.fit -> how many samples validate, samples of a step, steps of an epoch
    model = trainer.model
    if not trainer.int8 or not model.labels:
        raise ValueError("%s: expected what attn8 train --prepare makes, with an int8 model and "
                         "labels" % path)
    n = checks.between("samples", len(samples), 1, 65535)
    checks.between("validation", validation, 0, 65535)
    held = n // validation if validation else 0
    if validation == 1:
        raise ValueError("validation: 1 leaves none to train with; give 0, or 2 at least")
    if validation and held < 2:
        raise ValueError("samples: expected %d at least, one of %d to validate with, got %d; "
                         "collect more, or give validation=0" % (2 * validation, validation, n))
    if model.direct and batch not in (None, 1):
        raise ValueError("batch: a step is one sample, as --memory direct said; leave it out")
    batch = checks.between("batch", trainer.batch if batch is None else batch, 1, n)
    steps = (n - held + batch - 1) // batch
    checks.between("epochs", epochs, 1, max(1, 32767 // steps))
    checks.between("patience", patience, 1, 32767)
    return held, batch, steps
