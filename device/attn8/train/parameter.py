class Parameter:
    # A trained tensor of `size` words, and the gradient that backward passes add to and optimizers
    # clear. The value comes from whoever makes the layer: memory is too scarce for another one.

    def __init__(self, f, name, size):
        self.name = name
        self.size = size
        self.value = None
        self.grad = f.zeros(size)
