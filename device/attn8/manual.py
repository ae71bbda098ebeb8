# Help at the REPL, as a board keeps no docstrings. What it says is read where it is asked for, and
# forgotten again.
from . import memory
from .public import Public


def help(what=None):
    # Prints how something public is made and what it is: its name, the class or function or an
    # object of it; all of them without
    name = None if what is None else _name(what)
    lines = __import__("attn8.lines", None, None, ["LINES"]).LINES
    found = _print(lines, name) or name and _print(lines, name[name.rfind(".") + 1 :])
    memory.forget("attn8.lines")
    if not found:
        raise ValueError("help: attn8 has no %s; attn8.help() lists what it has" % name)


def _print(lines, name):
    # -> whether a line is of this name
    found = False
    for line in lines:
        head = line[: line.find("\n")]
        key = head[: (head + "(").find("(")]
        if (name is None or name == key or name == key[key.rfind(".") + 1 :]
                or "\n%s(" % name in line):
            print(line)
            found = True
    return found


def _name(what):
    if isinstance(what, str):
        return what
    if isinstance(what, Public):
        return what._name
    name = what.__name__ if hasattr(what, "__name__") else type(what).__name__
    return name[name.rfind(".") + 1 :]
