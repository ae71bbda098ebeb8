# Training without a host. attn8_host.train.fitting computes the same.
import os
from array import array

from .. import checks, memory
from . import load
from .schedule import LinearSchedule

CALIBRATION = 100  # samples, at most, that new ranges of activations are taken of


def fit(path, samples, epochs, batch, validation, patience, seed, report):
    # See attn8.train.fit
    checks.kind("path", path, str)
    if report is not None and not callable(report):
        checks.refuse("function", "report", report)
    try:
        len(samples)
    except TypeError:
        checks.refuse("samples", samples)
    from .features import SUFFIX, features

    samples, given = features(path, samples)
    memory.forget("attn8.train.features")
    try:
        trainer = load(path, given)
        if given:
            trainer.code = samples.code
        return _fit(path, samples, trainer, epochs, batch, validation, patience, seed, report)
    finally:
        if given:
            os.remove(path + SUFFIX)


def _fit(path, samples, trainer, epochs, batch, validation, patience, seed, report):
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
    order = array("H", range(n))
    state = _shuffle(order, 0, checks.between("seed", seed, 1, 0xFFFFFFFF))
    _check(samples, trainer, order, held)
    steps *= epochs
    model.schedule = LinearSchedule(min(5, steps - 1), steps)
    run = _runner(trainer, samples)
    best_path = path + ".best"
    history = []
    best = 0
    least = _evaluate(run, order, held)[0] if held else 0
    for epoch in range(1, epochs + 1):
        total = hits = count = 0
        state = _shuffle(order, held, state)
        for at in range(held, n):
            loss, right, labels = run(order[at])
            total += loss
            hits += right
            count += labels
            model.backward()
            if (at - held) % batch == batch - 1 or at == n - 1:
                model.step()
        seen, right, labels = _evaluate(run, order, held)
        if model.f.overflows:
            raise ValueError("values saturated in epoch %d: give a lower learning rate; the model "
                             "is as it was" % epoch)
        one = model.f.number(1.0)
        history.append((total / (n - held) / one, hits / count,
                        seen / held / one if held else None, right / labels if held else None))
        if report:
            report(epoch, *history[-1])
        if not held:
            best = epoch
        elif seen < least:
            least = seen
            best = epoch
            trainer.save(best_path)
        elif epoch - best >= patience:
            break
    if best:
        if not held:
            trainer.save(best_path)
        trainer.calibrate()
        if best < len(history):
            trainer.restore(best_path)
        for at in range(held, min(n, held + CALIBRATION)):
            run(order[at])
        for name in trainer.quantize():
            print("fit: %s: it has outgrown the int16 scale that it has together with layers that "
                  "do not train, and is clipped" % name)
        os.rename(best_path, path)
    return best, history


def pair(samples, i):
    # -> what the sample is, and its label
    try:
        found = samples[i]
    except (TypeError, KeyError):
        checks.refuse("samples", samples)
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        checks.refuse("sample", i, found)
    return found


def _check(samples, trainer, order, held):
    # What the samples say, before anything is trained. held: how many of `order` do not train
    model = trainer.model
    classes = bytearray(model.output_size // model.labels)
    each = _each(trainer)
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


def _each(trainer):
    # -> what makes of a sample's labels those of each token; None where a sample has one
    model = trainer.model
    if model.labels == 1:
        return None
    from .token_loss import TokenLabels

    # What the first layers' features are kept with says already what counts
    return TokenLabels(model.labels, model.output_size // model.labels,
                       None if trainer.inner else model._tokens)


def _runner(trainer, samples):
    # -> what runs a sample forwards, and gives its loss, how many labels were right, of how many
    model = trainer.model
    each = _each(trainer)
    classes = model.output_size // model.labels
    mult, size = trainer.mult, trainer.size
    words = model.f.zeros(0 if trainer.inner else model.input_size)

    def run(i):
        values, labels = samples[i]
        labels = each(i, values, labels) if each else (labels,)
        for k in range(len(words)):
            words[k] = (values[k] * mult + 128) >> 8 if mult and k < size else values[k]
        y = model(words or values)
        right = count = first = 0
        for label in labels:
            largest = first
            for k in range(first, first + classes):
                if y[k] > y[largest]:
                    largest = k
            right += int(largest - first == label)
            count += int(label >= 0)
            first += classes
        return model.loss(y, labels if each else label), right, count

    return run


def _evaluate(run, order, held):
    # -> of those that do not train the sum of the losses, how many are right, and of how many
    total = hits = count = 0
    for at in range(held):
        loss, right, labels = run(order[at])
        total += loss
        hits += right
        count += labels
    return total, hits, count


def _shuffle(order, first, state):
    # Those from `first` on, by R. Durstenfeld's Algorithm 235 over xorshift32 -> its next state
    for i in range(len(order) - 1, first, -1):
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        j = first + state % (i - first + 1)
        order[i], order[j] = order[j], order[i]
    return state
