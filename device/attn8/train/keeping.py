# What a board that collects samples does with their file (see samples.py), and one that trains does
# not: it is forgotten then.
from array import array
from binascii import crc32

from .. import checks
from .samples import SUM


def opened(samples):
    # The file as these say, which begins it where there is none
    head = b""
    try:
        with open(samples.path, "rb") as file:
            head = file.read(6)
    except OSError:
        pass
    if len(head) < 4 or len(head) < 6 and head[3] > 127:
        samples.clear()
        return
    _accept(samples, "size", int.from_bytes(head[:3], "little"), samples.size)
    if head[3] & 127:
        _accept(samples, "code", chr(head[3] & 127), samples.code)
    found = int.from_bytes(head[4:], "little") if head[3] > 127 else 1
    _accept(samples, "labels", found, samples.labels)


def append(samples, x, label, length):
    # Writes a record behind those that there are
    if length is not None:
        most = 127 if samples.code == "b" else 32767
        checks.values("x", x, samples.size - 1, False, samples.code)
        told = array(samples.code, [checks.between("length", length, 1, most)])
        samples._x[:] = array(samples.code, x) + told
        x = samples._x
    checks.values("x", x, samples.size, False, samples.code)
    y = samples._y
    if samples.labels == 1:
        y[0] = checks.between("label", label, 0, 65535)
    elif samples.labels:
        if not isinstance(label, (list, tuple, array)) or len(label) != len(y):
            raise ValueError("label: expected a list of %d, one a token, got %s" % (len(y), label))
        for t in range(len(y)):
            y[t] = checks.between("label", label[t], -32768, 32767)
    elif label is not None:
        raise ValueError("label: expected none, as labels=0 said, got %s" % (label,))
    tail = crc32(y, crc32(x)).to_bytes(SUM, "little")
    try:
        with open(samples.path, "r+b") as file:
            file.seek(samples._first + len(samples) * samples._step)
            file.write(x)
            file.write(y)
            file.write(tail)
    except OSError as error:
        checks.refuse("written", samples.path, error)


def clear(samples):
    several = samples.labels != 1
    try:
        with open(samples.path, "wb") as file:
            file.write(samples.size.to_bytes(3, "little"))
            file.write(bytes([ord(samples.code) | several << 7]))
            if several:
                file.write(samples.labels.to_bytes(2, "little"))
    except OSError as error:
        checks.refuse("written", samples.path, error)


def _accept(samples, what, found, given):
    if found != given:
        raise ValueError("%s: it holds samples of %s %s, got %s; take another file"
                         % (samples.path, what, found, given))
