# Several inputs in one call, with the memory of one.
from . import checks, signals
from .kernels import cache


def batch(layer, x, out, lengths=None):
    # layer: a layer or a Model. x: its inputs, one behind another in an array; for a layer of
    # several inputs a tuple of such arrays. Its results go to `out`, an array of their type, one
    # behind another as well. lengths: a list or an array, one each, for a Model. -> out
    if hasattr(layer, "ends"):  # unlike a method, looked up without memory
        return _model(layer, x, out, lengths)
    return _layer(layer, x, out, lengths)


def _layer(layer, x, out, lengths):
    if lengths is not None:
        raise ValueError("lengths: expected a Model, got %s" % type(layer).__name__)
    if not hasattr(layer, "out"):
        raise TypeError("layer: expected a layer or a Model, got %s" % type(layer).__name__)
    last = layer.out if checks.typecode(layer.out) else layer.out.out
    code = chr(checks.typecode(last) & 127)
    inputs = x if isinstance(x, tuple) else (x,)
    checks.values("out", out, None, True, code)
    count = len(out) // len(last)
    checks.values("out", out, max(count, 1) * len(last), True, code)
    m = len(last) * signals.ITEMSIZES[code]
    views = []
    for given in inputs:
        unit = signals.ITEMSIZES.get(chr(checks.typecode(given) & 127))
        if unit is None:
            raise TypeError("x: expected an array, got %s" % type(given).__name__)
        if len(given) % count:
            raise ValueError("x: expected as many inputs as out has results, %d, got %d values"
                             % (count, len(given)))
        checks.apart("x", given, len(given) * unit, "out", out, count * m)
        views.append((memoryview(given), len(given) // count))
    checks.apart("out", out, count * m, "the layer's result", last, m)
    for i in range(count):
        y = layer(*[view[i * n : (i + 1) * n] for view, n in views])
        cache.copy(y, 0, out, i * m, m)
    return out


def _model(model, x, out, lengths):
    # Allocates nothing
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
