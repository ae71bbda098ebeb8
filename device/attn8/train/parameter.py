class Parameter:
    # A trained tensor, flat, and the gradient that backward passes add to and optimisers clear

    def __init__(self, f, name, shape):
        size = 1
        for n in shape:
            size *= n
        self.name = name
        self.shape = shape
        self.size = size
        self.value = f.zeros(size)
        self.grad = f.zeros(size)
