"""What is internal to the device package is called by names that every firmware has.

A board keeps each name of a module from its import on, and never forgets one. But some 150 names
are MicroPython's own, which an .mpy file says by number: these take nothing. So private attributes,
parameters of inner functions, and globals that no one else asks for are called by such names in
what a chip gets.

A name becomes the same one wherever the package says it. In a file, and in the files of a class and
its bases together, different names stay different: so whatever looks a name up finds what it found
before.
"""

import ast
import builtins
import io
import re
from array import array
from collections.abc import Mapping
from functools import cache

from . import bundle, forms
from .paths import DEVICE

# Names that every firmware has, of its modules: an .mpy file says them whole
FIRMWARE = tuple(re.findall(r"\S+", """
    deque ceil fabs fmod trunc log2 log10 modf asin acos atan erfc expm1 isnan isinf mem8 mem16
    asinh acosh atanh lgamma isfinite copysign degrees radians calcsize heapify heappop heappush
    popleft appendleft namedtuple urandom randint randrange getrandbits recv bind listen mkdir
    rmdir chdir getcwd umount unlink statvfs ilistdir gmtime mktime localtime time_ns sleep_ms
    ticks_cpu sendto sendall recvfrom makefile settimeout setsockopt setblocking getaddrinfo
    a2b_base64 soft_reset time_pulse_us
"""))
# Names that an .mpy file says by number, first those that nobody else would choose, and then the
# others. What the compiler itself knows, such as `super`, `const` and the types of viper, is not
# among them, and neither are exceptions: a traceback says what function raised one
FREE = (*re.findall(r"\S+", """
    Ellipsis NoneType
    issubclass staticmethod classmethod setattr popitem setdefault islower isupper isalpha isdigit
    isspace rindex rfind rsplit rstrip lstrip lower upper startswith endswith from_bytes to_bytes
    callable builtins bytecode divmod globals locals reverse sorted getattr hasattr isinstance repr
    hash dir eval exec iter join zip map pow any all abs sum round little strip split replace
    insert extend remove clear copy sep throw args main print readline update send
"""), *FIRMWARE)
# What values of these have is asked for by the same names as what the package's objects have
VALUES = (str, bytes, bytearray, memoryview, list, tuple, dict, set, int, float, array, type,
          io.BytesIO, BaseException)
# Asked for by what the host runs on a board, and classes of what a model shows to whoever looks
ASKED = frozenset(("NAMES", "Unload", "_calls", "_own",
                   "Dense16", "Interpolate", "Linear16", "Listed", "Lookup", "Tokenizer"))
# What users look into with TAB, where what is private stays hidden by its stroke
SHOWN = frozenset(("__init__", "public", "run", "stream", "train.samples"))
# Comments, strings and numbers are apart from names, so that nothing in them is one
_TOKEN = re.compile(r"""#.*|[bBrR]*('{3}|"{3}|['"])(?s:\\.|.)*?\1|\b\d\w*|\w+""")


def table(sources: Mapping[str, bytes]) -> dict[str, str]:
    """What each internal name of the package is called, by the name."""
    files = [_File(path, data) for path, data in sources.items()]
    public = _public(sources)
    kept = {*dir(builtins), *ASKED, *public, *_words_of_forms()}.union(*map(dir, VALUES))
    has = {(file.module.rpartition(".")[2], name) for file in files for name in file.globals}
    for file in files:
        if file.module in SHOWN:
            kept |= {name for name in file.globals | file.private if name[0] == "_"}
        kept |= file.asked | {name for _, name in file.taken - has}
        if file.module in public.values() or file.module.partition(".")[0] in public:
            kept |= file.parameters
        if file.module.partition(".")[0] in public:
            kept |= {name for name in file.globals if name[0] != "_"}
    internal = set().union(*(file.globals | file.parameters | file.private for file in files))
    internal = {name for name in internal - kept if name.strip("_") and name[:2] != "__"}
    asked = set().union(*(file.attributes | file.globals for file in files))
    free = [name for name in FREE if name not in asked]
    return _chosen(internal, free, _together(files))


def _chosen(names: set[str], free: list[str], together: list[set[str]]) -> dict[str, str]:
    """Of the free names one for each, so that in none of these sets two become one."""
    where = {name: [words for words in together if name in words] for name in names}
    chosen: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (-len(where[name]), name)):
        taken = set().union(*where[name])
        taken |= {chosen[other] for other in taken & chosen.keys()}
        found = next((each for each in free if each not in taken), None)
        if found:
            chosen[name] = found
    return chosen


class _File(ast.NodeVisitor):
    """The names of a source.

    Attributes:
        module: its name within the package.
        words: all of them, and strings that read as one.
        globals: what the module has.
        private: what objects and functions have of names that begin with a stroke.
        parameters: of functions that users do not call: those of functions are asked for where
            the module is public.
        attributes: all that is asked of an object.
        given: private ones that objects get from outside of their methods.
        taken: (module, name) of what this takes from modules of the package by their last names.
        asked: what others may ask for: parameters and attributes that are not private, what this
            asks of the firmware, and words of strings.
        classes: their bases by their names.
    """

    def __init__(self, path: str, data: bytes):
        self.module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        self.words = set(_words(data))
        self.globals: set[str] = set()
        self.private: set[str] = set()
        self.parameters: set[str] = set()
        self.attributes: set[str] = set()
        self.given: set[str] = set()
        self.taken: set[tuple[str, str]] = set()
        self.asked = set(self.module.split("."))
        self.classes: dict[str, set[str]] = {}
        self._modules: dict[str, str] = {}  # what may be modules of the package, by their names
        self._firmware: set[str] = set()  # and of the firmware
        self._scopes: list[ast.AST] = []
        self._names: list[ast.expr] = []  # strings that are names of attributes
        tree = ast.parse(data)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                self._modules |= {alias.asname or alias.name: alias.name for alias in node.names}
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    package, _, module = alias.name.partition(".")
                    if package == bundle.PACKAGE:
                        self._modules[alias.asname or package] = module or "__init__"
                    else:
                        self._firmware.add(alias.asname or alias.name)
        self.visit(tree)

    def generic_visit(self, node: ast.AST) -> None:
        inner = isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Lambda))
        if inner:
            self._scopes.append(node)
        super().generic_visit(node)
        if inner:
            self._scopes.pop()

    def _bind(self, name: str) -> None:
        if not self._scopes:
            self.globals.add(name)
        elif name[0] == "_":
            self.private.add(name)
        elif isinstance(self._scopes[-1], ast.ClassDef):
            self.asked.add(name)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node.name)
        self.classes[node.name] = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._bind(node.name)
        parameters = {argument.arg for argument in ast.walk(node.args)
                      if isinstance(argument, ast.arg)}
        within = self._scopes[-1] if self._scopes else None
        if (node.name[0] == "_" and node.name[:2] != "__") or isinstance(within, ast.FunctionDef):
            self.private |= parameters
        elif within:
            self.asked |= parameters
        else:
            self.parameters |= parameters
        self.generic_visit(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.private |= {argument.arg for argument in node.args.args}
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self._bind(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        of = ast.unparse(node.value)
        self.attributes.add(node.attr)
        if of in self._modules:
            self.taken.add((self._modules[of], node.attr))
        elif of in self._firmware or node.attr[0] != "_":
            self.asked.add(node.attr)
        elif isinstance(node.ctx, ast.Store):
            self.private.add(node.attr)
            if of != "self":
                self.given.add(node.attr)
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg:
            self.asked.add(node.arg)
        self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if not node.level:
            self.asked |= {alias.name for alias in node.names}

    def visit_Tuple(self, node: ast.Tuple) -> None:
        self._names += node.elts
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if ast.unparse(node.func) in ("getattr", "hasattr", "setattr"):
            self._names.append(node.args[1])
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            words = set(re.findall(r"\w+", node.value))
            if node in self._names and node.value[:1] == "_":
                words.discard(node.value)
            self.asked |= words


def _together(files: list[_File]) -> list[set[str]]:
    """Names that stay different: of a file, and of those with the bases of its classes.

    What an object is given from outside stays different from all that any object has of its own.
    """
    homes: dict[str, list[_File]] = {}
    for file in files:
        for name in file.classes:
            homes.setdefault(name, []).append(file)
    found = []
    for file in files:
        family, waiting = [file], [base for bases in file.classes.values() for base in bases]
        while waiting:
            for home in homes.get(waiting.pop(), []):
                if home not in family:
                    family.append(home)
                    waiting += [base for bases in home.classes.values() for base in bases]
        found.append(set().union(*(each.words for each in family)))
    given = set().union(*(file.given for file in files))
    return [*found, set().union(*(file.words for file in files if file.given & given)) | given]


def _public(sources: Mapping[str, bytes]) -> dict[str, str]:
    """The modules of the public names, by name (device/attn8/names.py)."""
    calls = [node for node in ast.walk(ast.parse(sources.get("names.py", b"")))
             if isinstance(node, ast.Call)]
    return {str(each.arg): str(ast.literal_eval(each.value)) for call in calls
            for each in call.keywords}


@cache
def _words_of_forms() -> frozenset[str]:
    """What machine code and the answers that it has to give say, which is compiled elsewhere."""
    root = DEVICE / "attn8"
    return frozenset(word for path in root.rglob("*.py")
                     if not forms.is_portable(path.relative_to(root).as_posix())
                     for word in _words(path.read_bytes()))


def _words(data: bytes) -> list[str]:
    """The names of a source in their order, and strings that read as one."""
    return [word for found in _TOKEN.finditer(data.decode()) if (word := _word(found))]


def _word(token: re.Match[str]) -> str:
    word = token[0].strip("\"'")
    return word if word.isidentifier() else ""


def renamed(data: bytes, names: Mapping[str, str]) -> bytes:
    """A source in which names are called by others."""
    def called(token: re.Match[str]) -> str:
        word = _word(token)
        return token[0].replace(word, names[word]) if word in names else token[0]

    return _TOKEN.sub(called, data.decode()).encode()
