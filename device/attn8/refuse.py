# The lines in which `checks` refuses: most programs see none, and need no memory for them.
from .kernels.objects import typecode


def buffer(what, x, code, length, writable):
    found = typecode(x)
    kind = type(x).__name__
    if found and type(x) is not bytes:
        kind = "%s of '%s'" % (kind, chr(found & 127))
    expected = "array('%s'), got %s" % (code, kind)
    if found & 127 != ord(code) and (code != "b" or found & 127 != ord("B")):
        raise TypeError("%s: expected %s" % (what, expected))
    if writable and found < 128:
        raise TypeError("%s: expected a writable %s" % (what, expected))
    raise ValueError("%s: expected %d %s, got %d"
                     % (what, length, "int8 values" if code == "b" else "values", len(x)))


def real(what, value, low, high):
    # Checks what few entries take: a number of any kind
    if not isinstance(value, (int, float)) or not low <= value <= high:
        number(what, value, low, high, float)
    return value


def overlap(what, other):
    raise ValueError("%s: expected memory apart from %s" % (what, other))


def memory(path, error):
    # Of what trains, where an allocation has failed
    said = str(error)
    if said.startswith("memory allocation"):
        error = MemoryError("%s: training needs more memory than is free (%s); prepare it with "
                            "fewer --layers, or --memory direct" % (path, said))
    raise error


def written(path, error):
    # Of 28, ENOSPC, a board has no word
    why = "there is no room; remove other files" if error.args[0] == 28 else error
    raise ValueError("%s: it cannot be written: %s" % (path, why))


def cut(path):
    raise ValueError("%s: it is cut off; write it again" % path)


def operands():
    overlap("out", "q, k and v")


def buffers():
    raise ValueError("buffers: expected those of a core of the same kind and shape")


def output(form):
    # What is no int8
    if form != "int32":
        raise ValueError("output: expected int8 or int32, got %s" % (form,))


def padding(lengths):
    if lengths:
        raise ValueError("key_padding_mask: expected none, as the layer has lengths")
    raise ValueError("key_padding_mask: expected a core that takes one, as exact does")


def number(what, value, low, high, kind=int):
    if not isinstance(value, (int, kind)):
        expected = "a whole number" if kind is int else "a number"
        raise TypeError("%s: expected %s, got %s" % (what, expected, type(value).__name__))
    raise ValueError("%s: expected %s to %s, got %s" % (what, low, high, value))


def model(x):
    raise TypeError("model: expected one that attn8.load gave, got %s" % type(x).__name__)


def function(what, x):
    raise TypeError("%s: expected a function, got %s" % (what, type(x).__name__))


def samples(x):
    raise TypeError("samples: expected Samples, or a list of (values, label), got %s"
                    % type(x).__name__)


def sample(i, x):
    raise TypeError("sample %d: expected (values, label), got %s" % (i, type(x).__name__))


def kind(what, x, kinds):
    expected = kinds[0] if isinstance(kinds, tuple) else kinds
    raise TypeError("%s: expected %s, got %s" % (what, expected.__name__, type(x).__name__))
