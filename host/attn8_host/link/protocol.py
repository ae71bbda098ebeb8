"""The numbers that travel over the link; frames.py describes them.

The board's end defines them again, in device/attn8/link/server.py and train/served.py, where a
module more would take memory. A test holds both equal by their names.
"""

# Requests, and what is added to one's type in its reply
HELLO, LOAD, RESERVE, WRITE, MORE, RUN, READ, HEAP, RATE, NEXT = range(1, 11)
EXIT = 0x58
OK = 0x80

# Replies of other types
WORKING = 0xFD
ERROR = 0xFE
AGAIN = 0xFF

# The kinds of exception by their code in an ERROR, the first for what is none of the others
ERRORS = ("Exception", "MemoryError", "ValueError", "TypeError", "OSError")

# The regions of the board's memory that READ and WRITE reach
TEXT, INPUT, OUTPUTS, SCRATCH = range(4)

# The commands of a model that trains, in the first word of its input
EVALUATE, TRAIN, SAVE, CALIBRATE, QUANTIZE, ACCUMULATE = range(6)
