from .. import checks

ONE = 1 << 15  # a learning-rate factor of 1


class LinearSchedule:
    # The learning rate's factor, ONE being 1: it rises over the first warmup_steps steps, then
    # falls in a straight line to 0 at total_steps.

    def __init__(self, warmup_steps, total_steps):
        self.last(warmup_steps, total_steps)

    def last(self, warmup_steps, total_steps):
        checks.between("total_steps", total_steps, 1, ONE - 1)
        checks.between("warmup_steps", warmup_steps, 0, total_steps - 1)
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps

    def __call__(self, step):
        if step < self.warmup_steps:
            return (step + 1) * ONE // (self.warmup_steps + 1)
        left = max(0, self.total_steps - step)
        return min(left * (ONE - 1) // (self.total_steps - self.warmup_steps) + 1, ONE)
