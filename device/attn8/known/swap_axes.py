def right(form):
    # In bytes, and in words; two of three rows, and all
    for size in (2, 4):
        rows = [bytes([i] * size) for i in range(6)]
        out = bytearray(6 * size)
        form.swap_axes(b"".join(rows), out, 2, 2, size, 3)
        zero = bytes(size)
        if out != b"".join([rows[0], rows[2], zero, rows[1], rows[3], zero]):
            return False
        form.swap_axes(b"".join(rows), out, 3, 2, size, 3)
        if out != b"".join([rows[i] for i in (0, 2, 4, 1, 3, 5)]):
            return False
    return True
