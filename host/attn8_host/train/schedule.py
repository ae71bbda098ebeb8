"""Learning-rate schedule."""

from dataclasses import dataclass

from .arithmetic import ONE


@dataclass
class LinearSchedule:
    """The learning rate's factor (ONE: 1): it rises over warmup_steps, then falls in a straight
    line to 0 at total_steps."""

    warmup_steps: int
    total_steps: int

    def __call__(self, step: int) -> int:
        if step < self.warmup_steps:
            return (step + 1) * ONE // (self.warmup_steps + 1)
        left = max(0, self.total_steps - step)
        return min(left * (ONE - 1) // (self.total_steps - self.warmup_steps) + 1, ONE)
