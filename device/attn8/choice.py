# Which form of a family of kernels is taken (see forms), and what it works in. What runs needs none
# of this; forms has all of its names.
import os
import sys
from array import array

from . import checks, forms, memory

proven = forms.proven
rooms = {}


def backend():
    # "simd", "turbo" or "viper": the form of a matrix product that no bound stands against
    for form in _machine_code():
        if _module(form, "matmul"):
            return _import(form).BACKEND
    return "viper"


def choose(family, *sizes):
    # -> the module of a family that is taken for these shapes and constants
    for form in _machine_code():
        module = _module(form, family)
        if module and (not hasattr(module, "fits") or module.fits(*sizes)):
            return module
    return _import("viper." + family)


class Buffers:
    # What the functions of a form work in; `parts` are in the order of its room. Who takes the same
    # form in the same shape, and needs nothing kept, can share them. within: a memoryview of bytes
    # that are free while the functions run, where parts lie as far as there is room. most: so many
    # bytes of an `array` come before them, as the larger.

    def __init__(self, form, *sizes, within=None, most=0):
        self.form = form
        self.sizes = sizes
        self._within = within
        self._arrays = {}
        if most:
            self.array("i", most)
        self.parts = [self._room(size) or bytearray(size) for size in form.room(*sizes)]

    def _room(self, size):
        free = self._within
        if free is not None and 0 < size <= len(free):
            self._within = free[(size + 15) & ~15 :]
            return free[:size]
        return None

    def array(self, code, size, name=""):
        # Room of so many bytes for one of this typecode, the same for all who share and say the
        # same name
        key = code + name
        found = self._arrays.get(key)
        if found is None or len(found) != size:
            found = self._room(size)
            if found is None and self._within is not None:
                # What has no room in an arena serves all layers of a load, as the arena does
                found = rooms.setdefault((key, size), bytearray(size))
            found = self._arrays[key] = found or bytearray(size)
        return found


def buffers(given, form, *sizes, kind=Buffers, most=0):
    # -> `given`, those of another core of the same kind, form and shape, or new ones, which lie
    # within it where it is a memoryview
    if given is None or type(given) is memoryview:
        return kind(form, *sizes, within=given, most=most)
    if type(given) is not kind or given.form is not form or given.sizes != sizes:
        checks.refuse("buffers")
    return given


def suited(given, form):
    # -> `given`, or None where they are of another form
    return None if type(given) is Buffers and given.form is not form else given


def interleaved(bias, mult, shift):
    # -> int32 [outputs, 4], as machine code reads them: bias, mult, shift - 16 (0 where there are
    # none) and a place for what the packing of weights finds
    constants = array("i", bytes(16 * len(bias)))
    for j in range(len(bias)):
        constants[4 * j] = bias[j]
        if mult:
            constants[4 * j + 1] = mult[j]
            constants[4 * j + 2] = shift[j] - 16
    return constants


def _machine_code():
    if "" not in proven:
        ranked = []
        for form in _files(""):
            if form != "viper" and "__init__.mpy" in _files(form):
                package = _tried(form, None)
                if package:
                    ranked.append((package.RANK, form))
        ranked.sort(reverse=True)
        proven[""] = [form for _, form in ranked]
    return proven[""]


def _module(form, family):
    found = proven.setdefault(form, {})
    if family not in found:
        there = family + ".mpy" in _files(form)
        found[family] = _tried(form + "." + family, family) if there else None
    return found[family]


def _tried(name, family):
    # The module of a family, or the package of a form, where there is nothing wrong with it
    wrong = None
    try:
        module = _import(name)
        if family:
            known = __import__("attn8.known." + family, None, None, [family])
            if not known.right(module):
                wrong = "gives wrong answers"
            for used in list(sys.modules):
                if used.startswith("attn8.known"):  # its memory is not needed any more
                    memory.forget(used)
        elif hasattr(module, "CHIPS") and module.configid0() not in module.CHIPS:
            wrong = "is for another chip"
    except ValueError as error:  # MicroPython's word on a file for another chip or version
        wrong = "cannot be loaded (%s)" % error
    if not wrong:
        return module
    print("attn8: forms/%s %s; a slower form is used. Run attn8 deploy."
          % (name.replace(".", "/"), wrong))


def _files(folder):
    # Looked up, not tried: each name that an import looks for takes memory for good
    try:
        return os.listdir("%s/%s" % (forms.__path__, folder))
    except OSError:  # a file; or all of it is frozen into a firmware
        return ()


def _import(name):
    return __import__("attn8.forms." + name, None, None, [name])
