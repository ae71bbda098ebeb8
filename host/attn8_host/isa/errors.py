"""Errors of the instruction-level machines; all of them are IsaError."""


class IsaError(Exception):
    """Something went wrong while reading, loading or running machine code."""


class CompileError(IsaError):
    """mpy-cross refused the source; the message is what mpy-cross printed."""


class FormatError(IsaError):
    """A .mpy file does not follow the v6 format, or uses a part of it that is not supported."""


class DecodeError(IsaError):
    """A machine instruction is unknown; the message gives its address and bytes."""


class MemoryFault(IsaError):
    """A load or store was misaligned, or touched memory that is not mapped."""


class HelperError(IsaError):
    """Machine code called into the MicroPython runtime in a way a kernel must not."""


class LimitError(IsaError):
    """A call ran more instructions than the machine's limit: most likely an endless loop."""
