class Parameter:
    # A trained tensor of `size` words, and the gradient that backward passes add to and optimizers
    # clear. The value comes from whoever makes the layer: memory is too scarce for another one.
    # A backward pass takes the gradient from `begin`, and says by `end` that it has added to it and
    # needs the value no more: direct.py then trains it, where that is asked for. piece: words of
    # the gradient, where that is not there as a whole.

    def __init__(self, f, name, size, piece=None):
        self.name = name
        self.size = size
        self.value = None
        self.grad = f.gradient(name, piece or size)
        self.direct = None

    def begin(self):
        if self.direct:
            self.direct.clear(self)
        return self.grad

    def end(self):
        if self.direct:
            self.direct.train(self)
