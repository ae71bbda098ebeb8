# Training without a host. attn8_host.train.fitting computes the same.
import gc
import os
from array import array

from .. import checks, memory
from . import load

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
    try:
        from .features import features

        memory.forget("attn8.train.features")  # whatever it refuses
        samples, given = features(path, samples)
        del features  # which would hold its module
        trainer = load(path, given)
        if given:
            trainer.code = samples.code
        return _fit(path, samples, trainer, epochs, batch, validation, patience, seed, report)
    except MemoryError as error:
        trainer = None  # the line needs memory, too
        gc.collect()
        checks.refuse("memory", path, error)
    finally:
        for end in (".features", ".best", ".best.new"):
            try:
                os.remove(path + end)
            except OSError:
                pass


def _fit(path, samples, trainer, epochs, batch, validation, patience, seed, report):
    model = trainer.model
    from .features import arguments, check

    memory.forget("attn8.train.features")
    held, batch, steps = arguments(path, samples, trainer, epochs, batch, validation, patience)
    n = len(samples)
    order = array("H", range(n))
    state = _shuffle(order, 0, checks.between("seed", seed, 1, 0xFFFFFFFF))
    check(samples, trainer, order, held)
    del arguments, check
    gc.collect()
    trainer.restore(path)  # when what loads and checks is gone
    steps *= epochs
    model.schedule.last(min(5, steps - 1), steps)
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
        trainer.ranges.fitted(trainer, path, best_path)
    return best, history


def each_of(trainer):
    # -> what makes of a sample's labels those of each token; None where a sample has one
    model = trainer.model
    if model.labels == 1:
        return None
    from .token_labels import TokenLabels

    # What the first layers' features are kept with says already what counts
    return TokenLabels(model.labels, model.output_size // model.labels,
                       None if trainer.inner else model._tokens)


def _runner(trainer, samples):
    # -> what runs a sample forwards, and gives its loss, how many labels were right, of how many
    model = trainer.model
    each = each_of(trainer)
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
