class MSE:
    # A loss, see losses.py: mean((y - target)**2) over `size` values; the gradient is
    # 2*(y - target)/size

    def __init__(self, f, size):
        self.f = f
        self.size = size
        self._factor = f.factor(1, size)
        self._product = f.product(1, 1, size, (size, 1), (size, 1), (1, 1))
        self.grad = f.zeros(size)
        self._value = f.zeros(1)

    def __call__(self, y, target):
        f = self.f
        f.accept(y, self.size, "outputs")
        f.accept(target, self.size, "target")
        grad = self.grad
        f.subtract(y, target, grad, self.size)
        self._product(grad, grad, self._value)
        f.scale(self._value, self._value, 1, self._factor)
        f.scale(grad, grad, self.size, self._factor)
        f.add(grad, grad, grad, self.size)
        return self._value[0]
