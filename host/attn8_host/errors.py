"""The errors that a user can meet: each is one line that says what is wrong and what to do."""

import re


class Attn8Error(Exception):
    """Base of all expected failures; the command line prints it and exits with status 2."""


class BoardError(Attn8Error):
    """A board cannot be found, opened or used."""


class LinkError(Attn8Error):
    """The serial link gave no valid answer within its deadline."""


class RemoteError(Attn8Error):
    """The board refused a request; carries the board's own line.

    `kind` is the name of the exception that the board raised, such as "MemoryError".
    """

    def __init__(self, line: str, kind: str = "Exception"):
        super().__init__(line)
        self.kind = kind


class ModelError(Attn8Error):
    """A model file is not what attn8 can run."""


class FirmwareError(Attn8Error):
    """A firmware file is not one that the chip can run."""


def explained(said: str) -> str:
    """The last line of a traceback, as a board said it, with what to do where its memory is full.

    What else raises a MemoryError says itself what does not fit.
    """
    if re.match(r"MemoryError:? *(memory allocation|$)", said):
        return ("out of memory; reset it and start no other program on it, or take a smaller model "
                f"(see attn8 plan) ({said})")
    return said
