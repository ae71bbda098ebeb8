# Which layers are called again before a backward pass, where what they make is not kept.


def recompute(rooms, layers, taken, asked):
    # taken, asked: see graph.build -> of each layer the places of those that are called again
    # before its backward pass, and before its forward pass.
    # A part of a graph ends where one result is all that those behind it take. What it keeps for
    # its backward pass is let go, and made again before that; not of the last one, whose comes at
    # once. Within a part, what the first of its backward passes does not read is made once more
    # before the one that does, where that is by one layer. What a SOURCE gives is made again before
    # each pass that reads it, also forwards, but of the next layer and the last one. A place below
    # 0 is of a layer of which nobody reads the result again, or of a source.
    count = len(taken)
    last = [0] * (count + 1)  # of each result, the place of the last layer that takes it
    reads = [()] + [getattr(layer, "READS", ("x", "out")) for layer in layers]
    read = []  # the places of results that a backward pass reads
    for i in range(1, count + 1):
        if "out" in reads[i]:
            read.append(i)
        for place in taken[i - 1]:
            last[place] = i
            if "x" in reads[i]:
                read.append(place)
    keeping = rooms.keeping()
    again = [tuple()] * count
    first = 1
    kept = None
    for end in range(1, count + 1):
        if max([0] + last[:end]) > end:
            continue
        inner = [i for i in range(first, end) if asked[i] and 0 < last[i] <= end]
        keeps = [i for i in range(first, end + 1) if asked[i] and i in keeping]
        made = _made([i for i in inner if i in read], keeps, inner, taken)
        again[end - 1] = tuple([i if i in made else -i for i in range(first, end + 1)
                                if i in made or i in keeps])
        if again[end - 1]:
            kept = end - 1
        fresh = True
        for i in range(end, first, -1):
            places = [place for place in taken[i - 1] if place in inner]
            if asked[i] and "x" in reads[i] and places:
                chain = _made(places, (), inner, taken)
                if not fresh and len(chain) == 1 and chain[0] not in keeping:
                    again[i - 1] = tuple(chain)
                fresh = False
        first = end + 1
    if kept is not None:
        again[kept] = ()
    forwards = [tuple()] * count
    for j in range(1, count):
        if hasattr(layers[j - 1], "SOURCE"):
            for i in range(j + 1, count):
                wants = taken[i - 1] if asked[i] and "x" in reads[i] else ()
                for other in again[i - 1]:
                    wants += taken[abs(other) - 1]
                if j in wants:
                    again[i - 1] = (-j,) + again[i - 1]
                if j in taken[i - 1] and i > j + 1:
                    forwards[i - 1] += (-j,)
    return again, forwards


def _made(wanted, keeps, inner, taken):
    # -> the places of results that are made where these are, and what these layers keep: also what
    # they take of a part's inner ones
    made = list(wanted)
    left = made + list(keeps)
    while left:
        for place in taken[left.pop() - 1]:
            if place in inner and place not in made:
                made.append(place)
                left.append(place)
    made.sort()
    return made
