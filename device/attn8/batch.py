# Several inputs of a model in one call.
from . import checks, signals
from .kernels import cache


def batch(model, x, out, lengths):
    # As Model.batch has it
    _, code, last = model.outputs[-1]
    n, m = len(model.input), len(last)
    checks.values("x", x, None, False, model.code)
    count = len(x) // n
    checks.values("x", x, max(count, 1) * n, False, model.code)
    checks.values("out", out, count * m, True, code)
    n *= signals.ITEMSIZES[model.code]
    m *= signals.ITEMSIZES[code]
    checks.apart("x", x, count * n, "out", out, count * m)
    checks.apart("out", out, count * m, "input", model.input, n)
    if lengths is not None:
        if not checks.typecode(lengths):
            checks.kind("lengths", lengths, list)
        checks.between("lengths", len(lengths), count, count)
    for i in range(count):
        cache.copy(x, i * n, model.input, 0, n)
        y = model(None, None if lengths is None else lengths[i])
        cache.copy(y, 0, out, i * m, m)
    return out
