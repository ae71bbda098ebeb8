"""What is internal to the device package is called by names that every firmware has.

A board keeps each name of a module from its import on, and never forgets one. But names that
MicroPython has itself, some of which an .mpy file says by number, take nothing. So what only the
package asks for, globals, methods, attributes and parameters, is called by such names in what a
chip gets, in machine code's entries and the answers that they have to give as well. What comes from
elsewhere has its own name: a word that is a value, such as one of a config, what the firmware's
objects are asked for, public names and what `attn8.help` says of them, and what the documentation
calls (DOCUMENTED).

A name becomes the same one wherever the package says it. In a file, and in the files of a class and
its bases together, different names stay different: so whatever looks a name up finds what it found
before. What an object may lack, or is given by others, gets a name that nothing else has.
"""

import ast
import builtins
import io
import re
from array import array
from collections.abc import Mapping

from . import bundle
from .isa import compiler

SHORT = 10  # characters of a string that MicroPython keeps as a name, perhaps another's
# Names that every firmware has, of its modules: an .mpy file says them whole
FIRMWARE = tuple(re.findall(r"\S+", """
    a2b_base64 aclose acos acosh acquire appendleft argv asin asinh atan atan2 atanh awrite
    awritestr b2a_base64 bin bind blit byteorder bytes_at calcsize call_exception_handler ceil
    center chdir copysign cosh create_task cur_task current_task default_exception_handler degrees
    delete deleter deque difference_update disable drain ellipse enable encrypt erfc errno errorcode
    execfile exit expm1 fabs factorial fileno fill_rect flush fmod fromhex fromkeys frozenset gamma
    get_ciphers get_event_loop get_exception_handler get_extra_info getaddrinfo getcwd getrandbits
    getter getvalue gmtime heap_lock heap_unlock heapify heappop heappush hexlify hline ilistdir
    implementation install intersection_update is_set isclose isdisjoint isenabled isfinite isinf
    isnan issubset issuperset lgamma libc_ver listen load_cert_chain load_verify_locations localtime
    log10 log2 makefile match maxsize md5 mem16 mem8 mem_info mkdir mkfs mktime modf mount
    namedtuple nan new_event_loop oct open_connection opt_level patch peek pixel poly popleft post
    print_exception ps1 ps2 python_compiler qstr_info queue_read queue_write radians randint
    randrange readexactly rect recv recvfrom rmdir run_forever run_until_complete scroll search
    sendall sendto set_ciphers set_exception_handler setblocking setsockopt setter settimeout sha1
    sha256 sinh sizeof sleep_ms socket soft_reset splitlines stack_use start_server statvfs stderr
    stream_awrite sub symmetric_difference symmetric_difference_update tan tanh tau ticks_cpu
    time_ns time_pulse_us tls trunc umount unlink urandom verify_mode version_info vline wait_closed
    wait_for wait_for_ms wait_io_event wrap_socket AF_INET AF_INET6 ARRAY AUTO BFINT16 BFINT32
    BFINT8 BFUINT16 BFUINT32 BFUINT8 BF_LEN BF_POS BIG_ENDIAN BytesIO CERT_NONE CERT_OPTIONAL
    CERT_REQUIRED DeflateIO EACCES EADDRINUSE EAGAIN EALREADY EBADF ECONNABORTED ECONNREFUSED
    ECONNRESET EEXIST EHOSTUNREACH EINPROGRESS EINVAL EIO EISDIR ENOBUFS ENODEV ENOENT ENOMEM
    ENOTCONN EOPNOTSUPP EPERM ETIMEDOUT Event FLOAT32 FLOAT64 FrameBuffer FrameBuffer1 GS2_HMSB
    GS4_HMSB GS8 GZIP INT INT32 INT64 INT8 IOBase IOQueue IP_ADD_MEMBERSHIP LITTLE_ENDIAN LONGLONG
    Lock Loop MBEDTLS_VERSION MONO_HLSB MONO_HMSB MONO_VLSB MVLSB NATIVE OrderedDict POLLERR POLLHUP
    POLLOUT PROTOCOL_TLS_CLIENT PROTOCOL_TLS_SERVER PTR RAW RGB565 RingIO SHORT SOCK_DGRAM SOCK_RAW
    SOCK_STREAM SOL_SOCKET SO_BROADCAST SO_REUSEADDR SSLContext SingletonGenerator StreamReader
    StreamWriter StringIO Task TaskQueue UINT UINT16 UINT32 UINT64 UINT8 ULONG ULONGLONG USHORT VOID
    VfsFat VfsLfs2 ZLIB
"""))
# Those that TAB hides
STROKES = tuple(re.findall(r"\S+", """
    _attrs _chunk _dequeue _enqueue _exc_context _exc_handler _io_queue _promote_to_task _run _serve
    _stop_task _stopper _task_queue _check_exists _download_file _ensure_path_exists _install_json
    _install_package _rewrite_url
"""))
# Names of the package that every firmware has as well, as of ESP32-C3 with MicroPython 1.27: they
# take nothing, and objects of the firmware may be asked for them
HAD = frozenset(re.findall(r"\S+", """
    . .mpy <dictcomp> <genexpr> <lambda> <listcomp> INT16 POLLIN Server UnicodeError __dict__
    __globals__ __import__ __path__ __version__ _context _path _run accept add addressof array
    binascii bits block block_size buffer bytearray_at choice cls code collect config context core
    cos crc32 d data decode default digest discard done dump dumps e encode enumerate exp feed file
    fill filter flags float floor frexp function gather gc head help hidden i idle indices input
    intersection ipoll json kbd_intr label ldexp level line listdir load loads log machine math max
    measure mem32 mem_alloc mem_free memory memoryview min module modules n name os pack pack_into
    partition path poll prompt property put r random rate raw rb real register rename reset reversed
    rpartition run s schedule seed seek select shift sleep_us slice slot sqrt stat state stdin
    stdout stream struct sys t target tell temperature threshold ticks_add ticks_diff ticks_ms
    ticks_us time timeout uctypes unhexlify uniform union unpack unpack_from v version viper wb
    width y
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
# What users call, as the documentation says it (tests/test_rename.py)
DOCUMENTED = frozenset(re.findall(r"\S+", """
    apply_causal_mask backward choose collect_params compute_gradients compute_scores density
    feature_map get_bias get_gradient get_projection_weight get_weight heed set_bias set_mask
    set_projection_weight set_weight softmax_fixed total_biases total_weights update_global_indices
    update_weights visualize weighted_sum
"""))
# What values of these have is asked for by the same names as what the package's objects have
VALUES = (str, bytes, bytearray, memoryview, list, tuple, dict, set, int, float, array, type,
          io.BytesIO, BaseException)
# Asked for by what the host runs on a board, and classes of what a model shows to whoever looks
ASKED = frozenset(("NAMES", "Unload", "_calls", "_own",
                   "Adam", "CrossEntropy", "Dense16", "Interpolate", "Linear16", "LinearSchedule",
                   "Listed", "Lookup", "SGD", "TokenCrossEntropy", "Tokenizer"))
# What users look into with TAB, where what is private stays hidden by its stroke
SHOWN = frozenset(("__init__", "public", "run", "stream", "train.samples"))
# Whose objects have all else by its own name
OBJECTS = frozenset((
    "cores.micro", "formats", "layers.self_attention_1d", "masks", "run", "stream",
    "train.samples",
))
# What most programs have: its names come first, where there are not enough for all
FIRST = frozenset(("__init__", "entry", "choice", "layers.attention", "layers.dense", "link"))
# Comments, strings and numbers are apart from names, so that nothing in them is one
_TOKEN = re.compile(r"""#.*|[bBrR]*('{3}|"{3}|['"])(?s:\\.|.)*?\1|\b\d\w*|\w+""")


def table(sources: Mapping[str, bytes]) -> dict[str, str]:
    """What each internal name of the package is called, by the name."""
    files = [_File(path, data) for path, data in sources.items()]
    named = sources.get("names.py", b"").decode()
    public = set(re.findall(r'(\w+)="([\w.]+)"', named))  # and their modules
    kept = {*dir(builtins), *bundle.OWN, *ASKED, *DOCUMENTED, *HAD, *_helped(sources),
            *re.findall(r"(\w+)=", named)}
    kept = kept.union(*map(dir, VALUES))
    splat = set().union(*(file.splat for file in files))
    splat |= set().union(*(bases for file in files for name, bases in file.classes.items()
                           if name in splat))
    attributes = set().union(*(file.attributes for file in files))
    hidden = set()
    for file in files:
        kept |= file.asked
        for kind, name, parameters in file.functions:
            users = (kind, file.module) in public or file.module == "quantize"
            if users and name[0] != "_" and name not in attributes:
                kept |= {name, *parameters}  # what nothing here asks for, users do
            elif name in splat or (kind in splat and name == "__init__") or (
                    users and name[:2] == "__"):
                kept |= parameters
        if file.module in OBJECTS or file.module.startswith("masks."):
            kept |= file.members
        if file.module in SHOWN:
            hidden |= {name for name in file.own if name[0] == "_"}
    internal = set().union(*(file.own for file in files)) - kept
    internal = {name for name in internal if name.strip("_") and name[:2] != "__"}
    internal -= set(compiler.static_names(" ".join(sorted(internal))).values())
    asked = set().union(*(file.attributes | file.own for file in files))
    free, strokes = ([name for name in names if name not in asked] for names in (FREE, STROKES))
    return _chosen(internal, free, strokes, hidden, files)


def _chosen(names: set[str], free: list[str], strokes: list[str], hidden: set[str],
            files: "list[_File]") -> dict[str, str]:
    """For each name a free one, so that where different ones meet none becomes another.

    What is asked of objects that may lack it, and what they get from outside of their methods, gets
    one that no other name gets.

    Args:
        hidden: those that get one of `strokes`.
    """
    together = _together(files)
    where = {name: [words for words in together if name in words] for name in names}
    chosen: dict[str, str] = {}
    optional = set().union(*(file.optional | file.given for file in files)) & names
    for name in sorted(optional):
        spare = strokes if name in hidden else free
        # Its text is an object where it is longer, as hasattr has it
        chosen[name] = spare.pop(max(i for i, each in enumerate(spare) if len(each) <= SHORT))
    first = {name for file in files if file.module in FIRST for name in file.own}
    for name in sorted(names - optional,
                       key=lambda name: (name not in first, -len(where[name]), name)):
        taken = set().union(*where[name])
        taken |= {chosen[other] for other in taken & chosen.keys()}
        found = next((each for each in (strokes if name in hidden else free) if each not in taken),
                     None)
        if found:
            chosen[name] = found
    return chosen


class _File(ast.NodeVisitor):
    """The names of a source.

    Attributes:
        module: its name within the package.
        words: all of them, and strings that read as one.
        own: what is made here: globals, classes, methods, attributes, parameters.
        members: what of it is not private: globals, and what objects of classes have.
        attributes: all that is asked of an object.
        optional: those that an object may lack.
        given: what objects get from outside of their methods.
        taken: (module, name) of what this takes from modules of the package by their last names.
        asked: what comes from elsewhere: of the firmware, and words that are values.
        functions: (class, name, parameters) of each, the class "" where it is in none.
        splat: what is called with parameters that a value says (**).
        classes: their bases by their names.
    """

    def __init__(self, path: str, data: bytes):
        self.module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        self.words = set(_words(data))
        self.own: set[str] = set()
        self.members: set[str] = set()
        self.attributes: set[str] = set()
        self.optional: set[str] = set()
        self.given: set[str] = set()
        self.taken: set[tuple[str, str]] = set()
        self.asked = set(self.module.split("."))
        self.functions: list[tuple[str, str, set[str]]] = []
        self.splat: set[str] = set()
        self.classes: dict[str, set[str]] = {}
        self._modules: dict[str, str] = {}  # what may be modules of the package, by their names
        self._firmware: set[str] = set()  # and of the firmware
        self._scopes: list[ast.AST] = []
        self._names: list[ast.expr] = []  # strings that are names of attributes, or texts
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
        member = not self._scopes or isinstance(self._scopes[-1], ast.ClassDef)
        if member or name[0] == "_":
            self.own.add(name)
        if member and name[0] != "_":
            self.members.add(name)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node.name)
        self.classes[node.name] = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._bind(node.name)
        parameters = {argument.arg for argument in ast.walk(node.args)
                      if isinstance(argument, ast.arg)}
        if "micropython.viper" not in map(ast.unparse, node.decorator_list):  # whose have no names
            self.own |= parameters
        within = self._scopes[-1] if self._scopes else None
        parameters -= {each.arg for each in (node.args.vararg, node.args.kwarg) if each}
        if not isinstance(within, ast.FunctionDef):
            kind = within.name if isinstance(within, ast.ClassDef) else ""
            self.functions.append((kind, node.name, parameters))
        self.generic_visit(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.own |= {argument.arg for argument in node.args.args}
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self._bind(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        of = ast.unparse(node.value)
        self.attributes.add(node.attr)
        if of in self._modules:
            self.taken.add((self._modules[of], node.attr))
        elif of in self._firmware:
            self.asked.add(node.attr)
        elif isinstance(node.ctx, ast.Store):
            self.own.add(node.attr)
            if of != "self":
                self.given.add(node.attr)
            elif node.attr[0] != "_":
                self.members.add(node.attr)
        self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        names = {alias.name for alias in node.names}
        if node.level:
            self.taken |= {((node.module or "").rpartition(".")[2], name) for name in names}
        else:
            self.asked |= names

    def visit_Tuple(self, node: ast.Tuple) -> None:
        names = [each for each in node.elts
                 if isinstance(each, ast.Constant) and str(each.value)[:1] == "_"]
        self._names += names
        self.optional |= {str(each.value) for each in names}  # which others may be asked for too
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in ("getattr", "hasattr", "setattr"):
            self._names.append(node.args[1])
            if isinstance(node.args[1], ast.Constant):
                self.optional.add(str(node.args[1].value))
        for each in node.keywords:
            if each.arg is None and called != "__init__":  # which passes on what it was given
                self.splat.add(called)
            elif each.arg and called == "dict":  # these are its keys
                self.asked.add(each.arg)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and node not in self._names:
            self.asked.add(node.value)


def _together(files: list[_File]) -> list[set[str]]:
    """Names that stay different: of a file, with what others ask of it, and of those with the bases
    of its classes."""
    homes: dict[str, list[_File]] = {}
    of: dict[str, set[str]] = {file.module.rpartition(".")[2]: set() for file in files}
    for file in files:
        for name in file.classes:
            homes.setdefault(name, []).append(file)
        for module, name in file.taken:
            of.setdefault(module, set()).add(name)
    found = []
    for file in files:
        family, waiting = [file], [base for bases in file.classes.values() for base in bases]
        while waiting:
            for home in homes.get(waiting.pop(), []):
                if home not in family:
                    family.append(home)
                    waiting += [base for bases in home.classes.values() for base in bases]
        found.append(set().union(*(each.words for each in family),
                                 of[file.module.rpartition(".")[2]]))
    return found


def _helped(sources: Mapping[str, bytes]) -> set[str]:
    """The words of how `attn8.help` says that what is public is called."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(sources.get("lines.py", b""))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {word for line in node.value.splitlines() if line[:1] != " "
                      for word in re.findall(r"\w+", line)}
    return found


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
