# The one pass over JSON that finds what is none (see attn8.grammar).
import micropython


@micropython.viper
def count(text: ptr8, n: int, kinds: ptr8, deepest: int, places: ptr16, most: int) -> int:
    # How many members the objects of n bytes of JSON have; -1 where these are none: as RFC 8259 has
    # it, in UTF-8, nested `deepest` levels at most, without numbers of more than 32 characters,
    # integers of -0 and escaped surrogates. kinds: `deepest` bytes of room, the kind of each level.
    # places: `most` zeros, of which the first get where the members of the outermost level end
    found = 0
    outer = 0
    depth = 0
    at = 0
    # What may come: 0 a value, 1 that or "]", 2 a name, 3 that or "}", 4 ":", 5 "," or the end
    state = 0
    while at < n:
        c = text[at]
        at += 1
        if c == 32 or c == 10 or c == 13 or c == 9:
            pass
        elif state == 5:
            if depth == 0:
                return -1
            if depth == 1 and outer < most:
                places[outer] = at - 1
                outer += 1
            if c == 44:
                state = 2 if kinds[depth - 1] == 123 else 0
            elif c == kinds[depth - 1] + 2:
                depth -= 1
            else:
                return -1
        elif state == 4:
            if c != 58:
                return -1
            found += 1
            state = 0
        elif state == 3 and c == 125 or state == 1 and c == 93:
            depth -= 1
            state = 5
        elif c == 34:
            while True:
                if at >= n:
                    return -1
                c = text[at]
                at += 1
                if c < 32:
                    return -1
                if c == 34:
                    break
                more = 0  # bytes of the character
                low = 128
                high = 191
                if c == 92:
                    if at >= n:
                        return -1
                    c = text[at]
                    at += 1
                    if c == 117:
                        if at + 4 > n:
                            return -1
                        if text[at] | 32 == 100 and text[at + 1] >= 56:
                            return -1
                        i = 0
                        while i < 4:
                            c = text[at] | 32
                            if not (48 <= c and c <= 57 and text[at] & 32 or 97 <= c and c <= 102):
                                return -1
                            at += 1
                            i += 1
                    elif not (c == 34 or c == 92 or c == 47 or c == 98 or c == 102 or c == 110
                              or c == 114 or c == 116):
                        return -1
                elif c >= 128:
                    if c < 194 or c > 244:
                        return -1
                    more = 1
                    if c >= 240:
                        more = 3
                    elif c >= 224:
                        more = 2
                    if c == 224:
                        low = 160
                    elif c == 237:
                        high = 159
                    elif c == 240:
                        low = 144
                    elif c == 244:
                        high = 143
                while more:
                    if at >= n or text[at] < low or text[at] > high:
                        return -1
                    low = 128
                    high = 191
                    at += 1
                    more -= 1
            state = 4 if state >= 2 else 5
        elif state >= 2:
            return -1
        elif c == 91 or c == 123:
            if depth == deepest:
                return -1
            kinds[depth] = c
            depth += 1
            state = 1 if c == 91 else 3
        elif c == 116 or c == 102 or c == 110:  # true, false, null: MicroPython reads them whole
            at += 4 if c == 102 else 3
            state = 5
        else:
            start = at
            whole = 1
            if c == 45:
                if at >= n:
                    return -1
                c = text[at]
                at += 1
                if c == 48:
                    whole = 2
            if c < 48 or c > 57:
                return -1
            if c != 48:
                while at < n and text[at] >= 48 and text[at] <= 57:
                    at += 1
            if at < n and text[at] == 46:
                at += 1
                whole = 0
                if at >= n or text[at] < 48 or text[at] > 57:
                    return -1
                while at < n and text[at] >= 48 and text[at] <= 57:
                    at += 1
            if at < n and text[at] | 32 == 101:
                at += 1
                whole = 0
                if at < n and (text[at] == 43 or text[at] == 45):
                    at += 1
                if at >= n or text[at] < 48 or text[at] > 57:
                    return -1
                while at < n and text[at] >= 48 and text[at] <= 57:
                    at += 1
            if whole == 2 or at - start > 31:
                return -1
            state = 5
    if state != 5 or depth or at != n:
        return -1
    return found
