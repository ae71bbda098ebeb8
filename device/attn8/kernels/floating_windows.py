# As kernels/fixed_windows.py, in the board's own floats (see floating.py).
import micropython


@micropython.native
def largest(x, acc, out, at, to, positions, taps, channels, stride, start, length):
    for p in range(positions):
        first = start + p * stride
        for c in range(channels):
            found = x[at + max(first, 0) * channels + c]
            for k in range(max(first, 0), min(first + taps, length)):
                found = max(found, x[at + k * channels + c])
            out[to + p * channels + c] = found


@micropython.native
def back(x, acc, grad, dx, at, to, positions, taps, channels, stride, start, length, limit, count):
    for p in range(positions):
        first = start + p * stride
        for c in range(channels):
            place = at + max(first, 0) * channels + c
            for k in range(max(first, 0), min(first + taps, length)):
                if x[at + k * channels + c] > x[place]:
                    place = at + k * channels + c
            dx[place] += grad[to + p * channels + c]


@micropython.native
def fold(grad, acc, dx, at, to, positions, taps, channels, skip, stride, start, length, limit,
         count):
    for k in range(taps):
        for p in range(positions):
            row = start + p * stride + k
            if 0 <= row < length:
                for c in range(channels):
                    dx[to + row * channels + c] += grad[at + p * skip + k * channels + c]
