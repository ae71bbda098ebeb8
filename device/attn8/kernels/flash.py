# Softmax attention over tiles of keys, in one pass: the octave of the largest score so far is the
# reference of all weights, and when it rises what was summed before is halved as often. It rises as
# well where one more weight could be too much for int32, so that there may be any number of keys.
import micropython


@micropython.viper
def update(v: ptr8, acc: int, scores: ptr32, weights: ptr16, sums: ptr32, octaves: ptr32,
           totals: ptr32, table: ptr16, first: int, rows: int, first_key: int, keys: int,
           stride: int, head_dim: int, causal: int, mult: int, shift: int, mask: ptr8, at: int,
           step: int):
    # Adds the scores [rows, keys] of the keys first_key.. to the state of the rows first..: sums
    # and octaves of all rows, totals [rows, head_dim] of these. v is packed [head_dim, stride];
    # `weights` is room for one row. A key raises the octave before its weight is taken, so that
    # the order of the keys alone decides, and not how they are cut into tiles. Unless at is
    # negative, row r does not see key j where mask[at + r*step + j] is not 0.
    sign = 1
    sign <<= 31
    full = 515 << 15
    half = (1 << shift) >> 1
    sums = ptr32(int(sums) + (first << 2))
    octaves = ptr32(int(octaves) + (first << 2))
    start = int(v) + first_key
    hidden = ptr8(int(mask) + at + first_key)
    visible = keys
    if causal:
        visible = first + 1 - first_key
    while rows:
        shown = visible
        if shown > keys:
            shown = keys
        octave = (octaves[0] ^ sign) - sign
        total = sums[0]
        done = 0
        while done < shown:
            # A run of keys that leave the octave as it is; those that are hidden weigh nothing
            t = 0
            run = 0
            j = done
            while j < shown:
                k = 0
                if at < 0 or hidden[j] == 0:
                    t = (octave << 8) - ((((scores[j] ^ sign) - sign) * mult + half) >> shift)
                    if (t | (full - total - run)) < 0:  # either is
                        break
                    k = t >> 8
                    if k > 30:
                        k = 30
                    k = ((table[t & 255] >> k) + 1) >> 1
                weights[j] = k
                run += k
                j += 1
            total += run
            run <<= 7
            i = 0
            while i < head_dim:
                v = ptr8(start + i * stride + done)
                acc = 0
                w = ptr16(int(weights) + (done << 1))
                n = (j - done) >> 1
                while n:
                    acc = v[0] * w[0] + acc
                    acc = v[1] * w[1] + acc
                    v = ptr8(int(v) + 2)
                    w = ptr16(int(w) + 4)
                    n -= 1
                n = 0
                while n < (j - done) & 1:
                    acc = v[n] * w[n] + acc
                    n += 1
                totals[i] = totals[i] + (acc - run)
                i += 1
            done = j
            if done < shown:  # this key raises it
                k = 0
                if t < 0:
                    k = (255 - t) >> 8
                octave += k
                if k > 31:
                    k = 31
                if (total >> k) > full:
                    octave += 1
                    k += 1
                total >>= k
                i = 0
                while i < head_dim:
                    totals[i] = ((totals[i] ^ sign) - sign) >> k
                    i += 1
        octaves[0] = octave
        sums[0] = total
        octaves = ptr32(int(octaves) + 4)
        sums = ptr32(int(sums) + 4)
        scores = ptr32(int(scores) + (keys << 2))
        totals = ptr32(int(totals) + (head_dim << 2))
        hidden = ptr8(int(hidden) + step)
        visible += causal
        rows -= 1


@micropython.viper
def clear(sums: ptr32, octaves: ptr32, totals: ptr32, first: int, rows: int, head_dim: int):
    # The state of the rows first.. before their first key
    lowest = -1
    lowest <<= 22
    i = 0
    while i < rows:
        sums[first + i] = 0
        octaves[first + i] = lowest
        i += 1
    i = 0
    while i < rows * head_dim:
        totals[i] = 0
        i += 1


@micropython.viper
def finish(totals: ptr32, acc: int, sums: ptr32, out: ptr8, first: int, rows: int, head_dim: int,
           num: int, shift: int, wide: int):
    # out[first + r, i] = totals[r, i] / sums[first + r] * num/2**shift, one division a row; zeros
    # where the sum is 0. int8, or int16 where wide is 1 and not 0
    sign = 1
    sign <<= 31
    s = shift - 16
    sums = ptr32(int(sums) + (first << 2))
    out = ptr8(int(out) + (first * head_dim << wide))
    most = 127
    if wide:
        most = 32767
    while rows:
        total = sums[0]
        p = 0
        while (total >> p) >= 65536:
            p += 1
        m = (total + ((1 << p) >> 1)) >> p
        if m:
            m = (num + (m >> 1)) // m
        n = head_dim
        while n:
            acc = ((totals[0] ^ sign) - sign) >> p
            acc = (acc >> 15) * m + (((acc & 32767) * m) >> 15)
            acc = (acc + (1 << s)) >> (s + 1)
            if acc > most:
                acc = most
            elif acc < 0 - most:
                acc = 0 - most
            out[0] = acc
            if wide:
                out[1] = acc >> 8
                out = ptr8(int(out) + 1)
            totals = ptr32(int(totals) + 4)
            out = ptr8(int(out) + 1)
            n -= 1
        sums = ptr32(int(sums) + 4)
        rows -= 1
