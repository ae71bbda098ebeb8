# The memory that the layers of a model that trains ask for while they are made. Once all are,
# lifetimes.py gives all of it its place in an arena, whose words serve one buffer after another.
#
# A layer asks f.room(kind, n) for n words. Of the calls of its forward and its backward pass, or
# of those of their phases that f.phase has said,
#   "out"   its result: from the one to the last that reads it
#   "kept"  from the one to the end of the other
#   "spare" in each of them, but nothing from one to the other
#   "back"  in the backward pass
#   "dx"    the gradient that this returns, until the layers that it is for had it
#   "sum"   that of its result, where several add to it (see graph.py)
# Its class says in READS what its backward pass reads of "x", what it took, and "out": by default
# both; LATE where that has read all of x before it writes "dx", which may then lie there; PIECES
# where it writes each value of "dx" once it has read those of x, out and the gradient in the same
# place, so that "dx" may be any of these, or x alone where it says "x", as it is of one that trains
# `by_columns`, which is not LATE; OVER where its forward pass does so with "out"; GRAD, the last
# phase in which the backward pass reads the gradient; and TAKES, the last one in which the forward
# pass reads x. Until all layers are made, a Room stands for each.


class Room:
    # So many words of the arena

    def __init__(self, n):
        self.n = n
        self.block = self.start = 0

    def __len__(self):
        return self.n


class Gradient:
    # Of a parameter, which has memory of its own

    def __init__(self, n):
        self.n = n


class Rooms:
    KINDS = Room, Gradient  # by which lifetimes.py knows what layers were given

    def __init__(self, direct, recompute):
        self.direct = direct  # whether gradients of parameters are there in turn (see direct.py)
        self.recompute = recompute  # whether what a backward pass needs is made again before it
        self.products = []  # that layers have asked for, behind what they said of each
        self.all = []
        self.said = []  # of each the place of its layer's result, its kind, group and phases
        self.layer = 0  # the place of the result of the one that is being made
        # Of its backward and forward pass, in which what is made next is needed: all of them
        self.phases = 0, 3, 0, 2

    def take(self, kind, n, group=None):
        # group: of a layer's parameters, whose gradients are there in turn
        room = Room(n)
        self.all.append(room)
        self.said.append((self.layer, kind, group, self.phases))
        return room

    def gradient(self, group, n):
        return self.take("back", n, group) if self.direct else Gradient(n)

    def keeping(self):
        # -> of the layers that keep more than their results
        return [layer for layer, kind, _, _ in self.said if kind == "kept"]
