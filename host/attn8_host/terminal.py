"""What reaches the terminal: text of boards, models and files is shown, and never obeyed."""

import os
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from .errors import Attn8Error

BARS = " ▁▂▃▄▅▆▇█"


def printable(text: str) -> str:
    """Text with escapes, such as \\x1b, in place of what a terminal would obey or not show."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def bars(values: Sequence[float]) -> str:
    """A row of values as bars, the lowest to the highest that are shown."""
    low, span = min(values), max(values) - min(values) or 1
    return "".join(BARS[int((2 * (value - low) * (len(BARS) - 1) + span) // (2 * span))]
                   for value in values)


class Terminal(Console):
    """rich's console, for which no text is markup; what is coloured is a rich Text."""

    def __init__(self) -> None:
        super().__init__(markup=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Nobody reads what is said, as behind `| head -1`: what was found remains unsaid."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's last flush
        raise Attn8Error("its output was closed before all of it was written")

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As rich's, of text that is printable."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)
