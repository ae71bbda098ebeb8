# Where the layers of a model that trains keep what is not needed all the time: in an arena, whose
# words serve one buffer after another. What each asks for, and when it is needed: see rooms.py.
import gc

from .. import memory, signals
from ..kernels.objects import overlap

ALIGNMENT = 4  # words
LAST = 3  # phase of a backward pass, in which "dx" is written by a layer with LATE
CALL = LAST + 1  # times that one takes
END = 2  # phase of a forward pass


def settle(f, layers, taken, asked, sums, again, fresh):
    # Gives all of f.rooms their memory, once nothing else is made -> the blocks that are the arena.
    # taken, asked, sums, again, fresh: see graph.build
    room, gradient = f.rooms.KINDS
    sizes = _Places(f.rooms, layers, taken, asked, sums, again, fresh).sizes
    f.rooms = None
    gc.collect()
    memory.require("what trains", sum(sizes) * signals.ITEMSIZES[f.typecode])
    arena = [memoryview(f.zeros(size)) for size in sizes]

    def settled(x):
        if type(x) is gradient:
            return f.zeros(x.n)
        return arena[x.block][x.start : x.start + x.n] if type(x) is room else x

    _replace([layers, sums], [f], settled)
    return arena


class _Places:
    # Gives each room a block and its first word there. sizes: the words of each block

    def __init__(self, rooms, layers, taken, asked, sums, again, fresh):
        self.all, self.said = rooms.all, rooms.said
        self.sizes = self._place(self._spans(layers, taken, asked, sums, again, fresh))

    def _place(self, spans):
        # The largest first, of equal ones the first that are needed in the end, where there is a
        # place in a block, else in one of its size -> the words of each. No memory need be there in
        # one piece that is larger than what a layer asks for.
        rooms, said = self.all, self.said
        placed = []
        sizes = []
        for i in sorted(range(len(rooms)), key=lambda i: (-rooms[i].n, spans[i][-2:], i)):
            room = rooms[i]
            among = [j for j in placed if _meet(spans[i], spans[j])
                     and not _in_turn(said[i], said[j])]
            met = [rooms[j] for j in among]
            if self._over(room, [rooms[j] for j in among if self._may_be(i, j, spans)], met):
                placed.append(i)
                continue
            room.block = 0
            while room.block < len(sizes):
                room.start = _gap([other for other in met if other.block == room.block], room.n)
                if room.start + room.n <= sizes[room.block]:
                    break
                room.block += 1
            else:
                room.start = 0
                sizes.append(room.n)
            placed.append(i)
        return sizes

    def _over(self, room, others, met):
        # Whether it has got the place of one of the others
        for one in others:
            room.block, room.start = one.block, one.start
            end = one.start + one.n
            if not [x for x in met if x is not one and x.block == one.block
                    and x.start < end and one.start < x.start + x.n]:
                return True
        return False

    def _may_be(self, i, j, spans):
        # Whether one of these is what a layer with PIECES writes, and the other what it reads
        if self.all[i].n != self.all[j].n:
            return False
        for a, b in ((i, j), (j, i)):
            calls, places = self.pieces.get(a, ([], ()))
            layer, kind = self.said[b][:2]
            if (calls and (kind == "out" and layer in places or not places and kind in ("out", "dx",
                           "sum")) and not _meet_outside(spans[a], spans[b], calls)):
                return True
        return False

    def _spans(self, layers, taken, asked, sums, again, fresh):
        # Of each room the first and last times when it is needed
        count = len(layers)
        forward = [[CALL * i] for i in range(count + 1)]  # of each result, when it is made
        backward = [0] * (count + 1)  # when the gradient of each is used; 0: never
        without = []  # when a layer makes no result
        users = [[] for _ in range(count + 1)]
        now = loss = CALL * (count + 1)
        for i in range(count):
            for place in taken[i]:
                users[place].append(i + 1)
            for other in fresh[i]:
                forward[-other].append(CALL * (i + 1) - 1)
        for i in range(count, 0, -1):
            for other in again[i - 1]:
                forward[abs(other)].append(now + 1)
                if other < 0 and not hasattr(layers[-other - 1], "SOURCE"):
                    without.append(now + 1)
                now += CALL
            if asked[i]:
                backward[i] = now + 1
                now += CALL
        flows = [0] * (count + 1)  # until when the gradient of a result is held

        def held(i, place):
            # Until when is what the layer of result i says of that of another: until the next one
            # has added it to its own, or to a sum
            rest = [j for j in users[place] if j < i]
            if rest:
                return backward[max(rest)] + LAST
            return backward[i] + LAST if sums[place] else flows[place]

        for i in range(1, count + 1):
            if backward[i]:
                flows[i] = backward[i] + getattr(layers[i - 1], "GRAD", LAST)
                if hasattr(layers[i - 1], "PASSES"):
                    flows[i] = max([flows[i]] + [held(i, place) for place in taken[i - 1]
                                                 if asked[place]])
        reads = [("x", "out")] + [getattr(layer, "READS", ("x", "out")) for layer in layers]
        late = [0] + [getattr(layer, "LATE", False) and not _by_columns(layer) for layer in layers]
        takes = [0] + [getattr(layer, "TAKES", END) for layer in layers]
        found = []
        # The first and the last times of calls, and the places of results that they may write on,
        # () where it may be any, by the rooms that they write so
        self.pieces = {}
        for i, kind, _, (first, last, start, end) in self.said:
            back = backward[i]
            spans = []
            if kind == "out":
                used = [at + takes[j] for j in users[i] for at in forward[j]]
                used += [backward[j] + LAST - late[j] for j in users[i] if "x" in reads[j]]
                if i == count:
                    used.append(loss)
                if "out" in reads[i]:
                    used.append(back + LAST)
                spans = _held([at for at in forward[i] if at not in without], used, start, end)
                if hasattr(layers[i - 1], "OVER"):
                    calls = []
                    for at in forward[i]:
                        calls += [at, at + END]
                    self.pieces[len(found)] = calls, taken[i - 1]
            elif kind == "kept":
                spans = _held(forward[i], (back + last,), start, end)
            elif kind == "sum":
                spans = [min([backward[j] for j in users[i]]), flows[i]]
            elif kind == "dx" and back:
                spans = [back + (LAST if late[i] else first), max(
                    [back + LAST] + [held(i, j) for j in taken[i - 1] if asked[j]])]
                layer = layers[i - 1]
                kinds = "x" if _by_columns(layer) else getattr(layer, "PIECES", None)
                if kinds:
                    self.pieces[len(found)] = ([back, back + LAST],
                                               taken[i - 1] if kinds == "x" else ())
            else:
                if kind == "spare":
                    for at in forward[i]:
                        spans += [at + start, at + end]
                if back:
                    spans += [back + first, back + last]
            found.append(spans)
        return found


def _held(made, used, start, end):
    # From each time that a result is made to the last use before the next
    spans = []
    for k in range(len(made)):
        until = made[k + 1] if k + 1 < len(made) else 1 << 29
        spans += [made[k] + start,
                  max([made[k] + end] + [at for at in used if made[k] < at < until])]
    return spans


def _gap(placed, n):
    # The first place of n words between those that are placed
    start = 0
    for room in sorted(placed, key=lambda room: room.start):
        if room.start >= start + n:
            break
        start = max(start, room.start + (room.n + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT)
    return start


def _meet(a, b):
    # Whether both are needed at a time; spans are first and last times
    for i in range(0, len(a), 2):
        for j in range(0, len(b), 2):
            if a[i] <= b[j + 1] and b[j] <= a[i + 1]:
                return True
    return False


def _meet_outside(a, b, calls):
    # Whether both are needed at a time other than those calls'
    for i in range(0, len(a), 2):
        for j in range(0, len(b), 2):
            first, last = max(a[i], b[j]), min(a[i + 1], b[j + 1])
            if first <= last and not [k for k in range(0, len(calls), 2)
                                      if calls[k] <= first and last <= calls[k + 1]]:
                return True
    return False


def _by_columns(layer):
    return getattr(layer, "by_columns", None)


def _in_turn(a, b):
    # Whether these are gradients of two groups of one layer
    return a[2] and b[2] and a[0] == b[0] and a[2] != b[2]


def release(layers, arena, itemsize):
    # Lets the arena go, where nothing is computed in it any more
    def released(x):
        if type(x) is memoryview:
            for block in arena:
                if overlap(x, 1, block, len(block) * itemsize):
                    return None
        return x

    _replace(layers, [], released)


def _replace(x, seen, by):
    # What x reaches in attributes and lists
    for other in seen:
        if x is other:
            return
    if type(x) is type(memory):
        return
    seen.append(x)
    if type(x) is list:
        for i in range(len(x)):
            x[i] = by(x[i])
            if type(x[i]) is list or hasattr(x[i], "__dict__"):
                _replace(x[i], seen, by)
    elif type(x) is not type:
        names = x.__dict__
        for key in list(names):
            found = by(names[key])
            if found is not names[key]:
                setattr(x, key, found)
            if type(found) is list or hasattr(found, "__dict__"):
                _replace(found, seen, by)
