# How a file says that a sensor's channels become the input (see feed.py).
from . import checks

MOST = (1 << 30) - 1


def check(channels, found, source):
    # channels: of a file, whose type and shape are `found` and whose config says `source` of the
    # input -> values between one of a channel and the next channel's
    code, shape = found
    if code != "i" or len(shape) != 2 or shape[1] != 4 or not shape[0]:
        raise ValueError("input.channels: expected array('i') of shape [channels, 4], got "
                         "array('%s') of shape %s" % (code, shape))
    inner = 1
    if shape[0] > 1:
        sizes = source["shape"]
        axis = checks.between("input.axis", source.get("axis", len(sizes) - 1), 0, len(sizes) - 1)
        if sizes[axis] != shape[0]:
            raise ValueError("input.channels: expected %d rows, got %d" % (sizes[axis], shape[0]))
        for n in sizes[axis + 1 :]:
            inner *= n
    for c in range(0, 4 * shape[0], 4):
        checks.between("input.channels: frac", channels[c], -100, 100)
        checks.between("input.channels: offset", channels[c + 1], -MOST, MOST)
        checks.multiplier("input.channels", channels[c + 2], channels[c + 3])
    return inner
