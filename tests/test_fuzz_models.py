"""Mutated model files: host and board take the same ones, and compute the same from them.

Of float files `quantize` makes int8 ones that both take, or refuses them in one line.
`pytest tests/test_fuzz_models.py -k integers --files 10000` and `-k floats --files 4000` make the
full run.
"""

import ast
import random
import subprocess
import sys
import time
import zlib
from collections import Counter

import numpy as np

from attn8_host import cores, layers, modelfile
from attn8_host.errors import Attn8Error, ModelError
from attn8_host.model import load
from attn8_host.paths import DEVICE, MODELS
from attn8_host.proof.cases import attention_case, layer_cases
from attn8_host.quantize.file import quantize_file
from attn8_host.quantize.model import quantize_model

from .mutations import Mutator, decompose
from .test_encoder import SEQ_LEN, VARIANTS, Encoder

BATCH = 250  # files that one process of a board loads
SECONDS = 120  # for each such batch
WORK = 20  # seconds in which a float file is refused or made int8
LARGEST = 30_000  # bytes of a file to mutate: small ones have as much that can be wrong

# Runs on MicroPython's unix port: says of each file what became of it, a line each
BOARD = f"""
import sys
sys.path.insert(0, {str(DEVICE)!r})
import gc
import os
from array import array
from binascii import crc32
import attn8
from attn8.signals import ITEMSIZES
from uctypes import addressof, bytearray_at

# All modules stay: to import them again for each file would take most of the time
from attn8.unload import LOADERS
for name in LOADERS:
    __import__("attn8." + name)
for folder in ("cores", "layers"):
    for name, *_ in os.ilistdir("{DEVICE}/attn8/" + folder):
        if name[-3:] == ".py" and name[0] != "_":
            __import__("attn8." + folder + "." + name[:-3])

def judge(path):
    try:
        model = attn8.load(path)
    except (TypeError, ValueError) as error:
        return "refused", str(error)
    except MemoryError as error:  # before anything is made of a size that is far too large
        return "refused" if " needs " in str(error) else "broken", str(error)
    except Exception as error:
        return "broken", repr(error)
    digest = 0
    for sample in range(2):
        n = len(model.input)
        for i in range(n):
            if model.code == "h":
                model.input[i] = (7 * i + sample) % 3
            else:
                model.input[i] = (127 if i % 3 else -127) if sample else (73 * i) % 255 - 127
        try:
            model.begin()
            first = 0
            for at in range(len(model.ends)):
                model.run(at, at + 1)
                for _, code, values in model.outputs[first : model.ends[at]]:
                    size = len(values) * ITEMSIZES[code]
                    digest = crc32(bytearray_at(addressof(values), size), digest)
                first = model.ends[at]
        except ValueError as error:
            return "refused an input", str(error)
        except Exception as error:
            return "broken", repr(error)
    return "ran", "%08x" % digest

for i in range(int(sys.argv[2])):
    print(repr((i,) + judge("%s/%d" % (sys.argv[1], i))))
    gc.collect()
"""


def bases():
    """What is mutated: a model of each mechanism and each variant, and whole encoders."""
    rng = np.random.default_rng(5)
    cases = [attention_case(core, name, variant, (5, 9, 3), rng)
             for core in cores.all_cores() for name, variant in cores.get(core).variants.items()]
    for kind in layers.types():
        cases += layer_cases(kind, rng)
    for case in cases:
        if len(modelfile.pack(case.config, case.tensors)) < LARGEST:
            yield decompose(case.config, case.tensors)
    for bits in (8, 16):
        for variant in list(VARIANTS.values())[:3]:
            made = Encoder(np.random.default_rng(1), depth=1, **variant)
            yield decompose(*quantize_model(made.config, made.tensors, rng.normal(
                size=(3, SEQ_LEN, 6)), activation_bits=bits))
    yield decompose(*modelfile.read(MODELS / "digits.safetensors"))


def samples(model):
    """The inputs that the board gives itself."""
    i = np.arange(model.input_size)
    if model.input_signal.format == "tokens":
        return [((7 * i + sample) % 3).astype(np.int16) for sample in range(2)]
    return [(73 * i % 255 - 127).astype(np.int8), np.where(i % 3, 127, -127).astype(np.int8)]


def judge(path):
    """What the host makes of a file, as the board says it."""
    try:
        model = load(path, need_weights=False)
    except ModelError as error:
        return "refused", str(error)
    except Exception as error:
        return "broken", repr(error)
    digest = 0
    for x in samples(model):
        try:
            for values in model(x).values():
                digest = zlib.crc32(np.ascontiguousarray(values).tobytes(), digest)
        except ValueError as error:
            return "refused an input", str(error)
        except Exception as error:
            return "broken", repr(error)
    return "ran", f"{digest:08x}"


def on_a_board(folder, count):
    """What a board makes of the files 0, 1, ... of a folder."""
    program = folder / "judge.py"
    program.write_text(BOARD)
    command = [sys.executable, "-c", "import micropython_unix as m; m.main()", "-X",
               "heapsize=16M", str(program), str(folder), str(count)]
    done = subprocess.run(command, capture_output=True, timeout=SECONDS)
    lines = done.stdout.decode(errors="replace").splitlines()
    assert done.returncode == 0 and len(lines) == count, (len(lines), done.stderr[-500:])
    return [ast.literal_eval(line)[1:] for line in lines]


def differences(folder, files, seed, count):
    """Makes so many mutated files; yields a line for each that host and board judge differently.

    It prints how many the host takes and refuses.
    """
    mutate, rng, tally = Mutator(random.Random(seed)), random.Random(seed), Counter()
    for first in range(0, count, BATCH):
        n = min(BATCH, count - first)
        for i in range(n):
            (folder / str(i)).write_bytes(mutate(rng.choice(files), files))
        found = zip([judge(folder / str(i)) for i in range(n)], on_a_board(folder, n), strict=True)
        for i, (host, board) in enumerate(found):
            tally[host[0]] += 1
            same = host[0] == board[0] and (host[0] != "ran" or host == board)
            one_line = all("\n" not in line and line for _, line in (host, board))
            if not same or not one_line or host[0] == "broken":
                yield f"file {first + i} of seed {seed}: host {host}, board {board}"
    print(dict(tally))
    assert tally["ran"] and tally["refused"], tally  # one that takes or refuses all proves nothing


def test_integers(tmp_path, request):
    count = request.config.getoption("--files")
    assert list(differences(tmp_path, list(bases()), 1, count)) == []


def float_bases(folder):
    """Float models, and a file of calibration inputs for each."""
    rng = np.random.default_rng(6)
    made = [Encoder(np.random.default_rng(1), depth=1, **variant) for variant in VARIANTS.values()]
    models = [(each.config, each.tensors) for each in made]
    models.append(modelfile.read(MODELS / "digits_float.safetensors"))
    for i, (config, tensors) in enumerate(models):
        path = folder / f"{i}.npy"
        np.save(path, rng.normal(size=(3, *config["input"]["shape"])).astype(np.float32))
        yield decompose(config, tensors), path


def quantized(source, calibration, target):
    """What `quantize` says of a float file; None where it made an int8 one."""
    start = time.process_time()
    try:
        quantize_file(source, calibration, target)
        said = None
    except Attn8Error as error:
        said = str(error)
    seconds = time.process_time() - start
    assert seconds < WORK, (seconds, said)
    return said


def test_floats(tmp_path, request):
    count, tally, rng = request.config.getoption("--files"), Counter(), random.Random(2)
    bases, mutate = list(float_bases(tmp_path)), Mutator(random.Random(2))
    files, source, made = [file for file, _ in bases], tmp_path / "float", 0
    for _ in range(count):
        file, calibration = rng.choice(bases)
        source.write_bytes(mutate(file, files))
        said = quantized(source, calibration, tmp_path / str(made))
        assert said is None or (said and "\n" not in said)
        tally["made" if said is None else "refused"] += 1
        made += said is None
    for i, board in enumerate(on_a_board(tmp_path, made)):
        assert judge(tmp_path / str(i)) == board and board[0] == "ran", i
    print(dict(tally))
    assert tally["made"] and tally["refused"]
