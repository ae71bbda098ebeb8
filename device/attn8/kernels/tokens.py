# Pieces of a tokenizer, and the choice of a token.
import micropython


@micropython.viper
def find(pieces: ptr8, ends: ptr32, count: int, text: ptr8, size: int) -> int:
    # Which of `count` pieces is the text of `size` bytes; `count` if none
    start = 0
    token = 0
    while token < count:
        end = ends[token]
        if end - start == size:
            i = 0
            while i < size and pieces[start + i] == text[i]:
                i += 1
            if i == size:
                return token
        start = end
        token += 1
    return count


@micropython.viper
def largest(x: ptr16, acc: int, n: int) -> int:
    # The place of the largest of n int16, the first one of several
    most = -65536
    found = 0
    i = 0
    while i < n:
        acc = (x[i] ^ 32768) - 32768
        if acc > most:
            most = acc
            found = i
        i += 1
    return found


@micropython.viper
def total(p: ptr16, n: int, least: int) -> int:
    # The sum of those of n that are `least` or more
    found = 0
    i = 0
    while i < n:
        if p[i] >= least:
            found += p[i]
        i += 1
    return found


@micropython.viper
def draw(p: ptr16, n: int, least: int, at: int) -> int:
    # The place where the sum of those that are `least` or more passes `at`
    i = 0
    while i < n:
        if p[i] >= least:
            at -= p[i]
            if at < 0:
                return i
        i += 1
    return n - 1
