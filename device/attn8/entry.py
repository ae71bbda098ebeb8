# What a model file says of one layer. The layer's `build` takes each field and tensor once; what
# is left then is refused with its name, as is what is missing or of another kind.
from . import checks, memory, signals

NEEDED = object()
DESCRIPTIVE = "scale", "scales"  # what the integers stand for: the host's business

# What to do where a layer takes another format than the one before gives
_remedies = {
    "int32": 'leave "output": "int32" to the last layer',
    "float": "give both the same format",
    "double": "give both the same format",
    "tokens": 'embedding takes tokens, of an input with "format": "tokens"',
    "uint16": "leave a softmax to the last layer",
}


class Entry:
    # fields: the layer's JSON object; tensors: those of the file (see tensors.Tensors);
    # outputs: gets what the layer computes, (name, typecode, array). All are shared by a file's
    # layers, and so is arena, out of which `make` gives what a layer computes into (see
    # signals.make). rooms: what layers may share to work in, by whatever tells it apart.
    # tokens: how many the layer is given, where the model takes lengths or steps, and layers before
    # it keep them apart; else None. step: whether it is made for one of them at a time.

    def __init__(self, fields, tensors, outputs, step=False, arena=None, rooms=None):
        self.name = "a layer"
        if not isinstance(fields, dict):
            raise ValueError("a layer: expected an object, got %s" % type(fields).__name__)
        self._fields = fields
        self.tensors = tensors
        self._outputs = outputs
        self.tokens = None
        self.step = step
        self.rooms = rooms
        self.name = self.word("name")
        self.type = self.word("type")
        self.offsets = self._typed(list, "a list of whole numbers", "at", None)
        self.make = signals.make
        if arena:
            arena.begin(self.name, self.offsets)
            self.make = arena.take

    def take(self, key, default=NEEDED):
        if key in self._fields:
            return memory.take(self._fields, key)
        if default is NEEDED:
            raise ValueError("%s: the config lacks %s" % (self.name, key))
        return default

    def _typed(self, kind, what, key, default):
        given = key in self._fields
        value = self.take(key, default)
        if given and (type(value) is not kind or value == ""):
            raise ValueError("%s.%s: expected %s, got %s" % (self.name, key, what, value))
        return value

    def integer(self, key, default=NEEDED):
        return self._typed(int, "a whole number", key, default)

    def size(self, key, default=NEEDED):
        return checks.between("%s.%s" % (self.name, key), self.integer(key, default), 1, 1 << 15)

    def rows(self, key, default=NEEDED):
        # A size that counts tokens -> for how many the layer is made
        n = self.size(key, default)
        if self.step and n != self.tokens:
            raise ValueError("%s.%s: steps take one of %s tokens each, got %d"
                             % (self.name, key, self.tokens, n))
        if n != self.tokens:
            self.tokens = None
        return 1 if self.step else n

    def lengths(self, seq_len):
        # Whether the layer heeds the length of each input
        if not self.flag("lengths", False):
            return False
        if self.tokens != seq_len:
            raise ValueError('%s.lengths: no length comes to it: say "lengths": true of the input, '
                             "and mix no tokens before it" % self.name)
        return not self.step

    def flag(self, key, default=NEEDED):
        return self._typed(bool, "true or false", key, default)

    def word(self, key, default=NEEDED):
        return self._typed(str, "a word", key, default)

    def output(self):
        # The format that the layer gives
        return signals.known(self.name + ".output", self.word("output", "int8"))

    def follow(self, given, size):
        # The layer takes `size` values of either format -> which one it is given
        form = given[0] if given[0] in signals.CODES else "int8"
        self.accept(given, form, size)
        return form

    def sizes(self, key):
        # A list of them -> their product
        values = self._typed(list, "a list of whole numbers from 1", key, NEEDED)
        product = 1 if values else 0
        for n in values:
            product *= n if type(n) is int and n > 0 else 0
        return checks.between("%s.%s" % (self.name, key), product, 1, 1 << 30)

    def names(self, key, default):
        # A list of words
        values = self._typed(list, "a list of layers' names", key, default)
        if not values:
            raise ValueError("%s.%s: expected a list of layers' names, got []" % (self.name, key))
        for value in values:
            if not isinstance(value, str):
                raise ValueError("%s.%s: expected a name, got %s" % (self.name, key, value))
        return values

    def keywords(self, key, default=NEEDED):
        # An object of whole numbers, words, flags and lists
        values = self._typed(dict, "an object", key, default)
        for name in values:
            if not isinstance(values[name], (int, str, bool, list)):
                raise ValueError("%s.%s.%s: expected a whole number, a word, true, false or a list,"
                                 " got %s" % (self.name, key, name, values[name]))
        return values

    def has(self, part):
        return self.name + "." + part in self.tensors

    def expect(self, part, code, shape, owner=None):
        # Checks a tensor of the file, `name`.`part` or `owner`.`part`; a length of None may be any
        key = (owner or self.name) + "." + part
        if key not in self.tensors:
            raise ValueError("missing tensor " + key)
        found_code, found = self.tensors[key][:2]
        wanted = [n if m is None else m for n, m in zip(found, shape)]
        if found_code != code or found != wanted or len(found) != len(shape):
            raise ValueError("%s: expected array('%s') of shape %s, got array('%s') of shape %s"
                             % (key, code, shape, found_code, found))
        return found

    def tensor(self, part, code, shape, owner=None):
        # Takes a tensor of this type and shape, which another layer may have left
        self.expect(part, code, shape, owner)
        found = self.tensors.pop((owner or self.name) + "." + part)
        return found.load() if hasattr(found, "load") else found

    def stored(self, part, code, shape):
        # As `tensor`, of one that may stay in the file
        self.expect(part, code, shape)
        return self.tensors.stored(self.name + "." + part)

    def leave(self, part, code, shape, values):
        # Puts a tensor where the file's are, for what takes it next
        self.tensors.listing[self.name + "." + part] = code, shape, values

    def accept(self, given, form, size):
        # given: the format and the number of values that the layer before gives. This one takes
        # `size` values of the format `form`.
        if given[1] != size:
            raise ValueError("%s: takes %d values, the layer before gives %d"
                             % (self.name, size, given[1]))
        if given[0] != form:
            remedy = _remedies.get(given[0]) or _remedies.get(form) or "put a convert layer between"
            raise ValueError("%s: takes %s, the layer before gives %s; %s"
                             % (self.name, form, given[0], remedy))

    def gives(self, code, values, part=None):
        # Adds to what the model computes
        name = self.name if part is None else self.name + "." + part
        self._outputs.append((name, code, values))

    def done(self):
        scales(self.name, self._fields, dict)
        for key in self._fields:
            if key not in DESCRIPTIVE:
                raise ValueError("%s: unknown field %s; take it out of the config"
                                 % (self.name, key))


def number(what, key, value):
    if type(value) not in (int, float) or not value >= 0 or value - value != 0:
        raise ValueError("%s.%s: expected a finite number from 0, got %s" % (what, key, value))
    return value


def scales(what, fields, kind):
    # What a layer or the input says of what its integers stand for, which is the host's business
    if not number(what, "scale", fields.get("scale", 1)):
        raise ValueError("%s.scale: expected a number above 0, got 0" % what)
    if type(fields.get("scales", kind())) is not kind:
        raise ValueError("%s.scales: expected %s, got %s" % (what, kind.__name__, fields["scales"]))
