"""Which tensors of a model are int16, and where convert layers go between them and int8."""

from dataclasses import dataclass, field
from typing import Any

from .. import layers
from ..errors import ModelError
from ..layers.base import INT8, INT16, REMEDIES, TOKENS, UINT16, LayerType
from ..modelfile import inputs
from ..numerics.formats import NAMES

Fields = dict[str, Any]


@dataclass
class Layout:
    """A model's layers with all that their formats need.

    Attributes:
        entries: of the config, with "output" where that is int16, and convert layers.
        groups: tensors by the name of one of them: what layers tie shares a scale in int16.
        streams: of each tensor in int16, the group.
        converted: of each convert layer's name, the tensor that it converts.
    """

    entries: list[Fields] = field(default_factory=list)
    groups: dict[str, list[str]] = field(default_factory=dict)
    streams: dict[str, str] = field(default_factory=dict)
    converted: dict[str, str] = field(default_factory=dict)


def arrange(config: Fields, activation_bits: int = 8) -> Layout:
    """Lays a float model out.

    A tensor is int16 where it is tied to one that only int16 will do for, such as what `add` takes,
    or what feeds a product of 16 activation_bits, and its layer can give that; otherwise int8.

    Args:
        config: of the float model.
        activation_bits: 8 or 16, for all layers that do not say theirs.

    Raises:
        ModelError: int32 sums go on into a layer, a name is taken, or a layer cannot take int16.
    """
    layout = Layout()
    sources = dict(zip((entry["name"] for entry in config["layers"]), inputs(config), strict=True))
    group = _groups(config["layers"], sources)
    wants = {entry["name"]: _wants(entry, activation_bits) for entry in config["layers"]}
    for name, root in group.items():
        layout.groups.setdefault(root, []).append(name)
    wide = {group[source] for entry in config["layers"] for source in sources[entry["name"]]
            if layers.get(entry["type"]).input_formats[0] == INT16
            or wants[entry["name"]] == INT16}
    wide |= {group[entry["name"]] for entry in config["layers"] if entry.get("output") == INT16}

    formats = {"input": config["input"].get("format", INT8)}
    for entry in config["layers"]:
        name, kind = entry["name"], layers.get(entry["type"])
        if form := kind.format_of(entry):
            formats[name] = form
        elif not kind.computes or _follows(kind, formats[sources[name][0]]):
            formats[name] = formats[sources[name][0]]
        elif "output" in entry and entry["output"] not in (INT8, INT16):
            formats[name] = entry["output"]
        elif not {INT8, INT16} & set(kind.output_formats):
            formats[name] = kind.output_formats[0]
        else:
            can = group[name] in wide and INT16 in kind.output_formats
            if kind.even:
                can = wants[name] == INT16
            formats[name] = INT16 if can else INT8

    # What is converted, by its name and in the order in which it is wanted
    wanted: dict[str, list[str]] = {}
    taken: dict[str, list[str]] = {}
    for entry in config["layers"]:
        name, kind = entry["name"], layers.get(entry["type"])
        taken[name] = []
        for source in sources[name]:
            takes = formats[source]
            if form := kind.format_of(entry):
                takes = form
            elif kind.computes and (kind.tied or kind.even):
                takes = formats[name]
            elif kind.computes and kind.by_bits and takes in (INT8, INT16):
                takes = kind.converted(takes, wants[name])
            elif kind.computes and takes not in kind.input_formats:
                takes = kind.input_formats[0]
            if takes != formats[source]:
                if takes in NAMES or formats[source] in NAMES:
                    if takes not in NAMES or formats[source] != INT8:
                        raise ModelError(f"{name}: takes {takes}, {source} gives "
                                         f"{formats[source]}; give both the same format")
                elif takes in REMEDIES or formats[source] in (TOKENS, UINT16):
                    remedy = REMEDIES.get(formats[source]) or REMEDIES[takes]
                    raise ModelError(f"{name}: takes {takes}, {source} gives {formats[source]}; "
                                     + remedy)
                elif formats[source] not in (INT8, INT16):
                    raise ModelError(f'{source}: leave "output": "{formats[source]}" to the last '
                                     "layer")
                if takes not in wanted.setdefault(source, []):
                    wanted[source].append(takes)
                source = f"{source}.{takes}"
            taken[name].append(source)

    last = "input"
    for name, entry in [("input", None), *((entry["name"], entry) for entry in config["layers"])]:
        if entry is not None:
            entry = {key: value for key, value in entry.items()
                     if key not in ("inputs", "activation_bits")}
            if taken[name] != [last]:
                entry["inputs"] = taken[name]
            if formats[name] == INT16 and "output" in layers.get(entry["type"]).optional:
                entry["output"] = INT16
            layout.entries.append(entry)
            last = name
        if formats[name] == INT16:
            layout.streams[name] = group[name]
        for form in wanted.get(name, ()):
            convert = f"{name}.{form}"
            if convert in formats:
                raise ModelError(f"{convert}: this name is that of {name} in {form}; take another")
            entry = {"type": "convert", "name": convert, "format": form}
            if last != name:
                entry["inputs"] = [name]
            layout.entries.append(entry)
            layout.converted[convert] = name
            if form == INT16:
                layout.streams[convert] = group[name]
            last = convert
    return layout


def _follows(kind: LayerType, form: str) -> bool:
    """Whether a layer that takes a number format computes in it without saying so."""
    return kind.tied and form in NAMES and form in kind.input_formats


def _wants(entry: Fields, bits: int) -> str:
    """What a layer's products take, int8 or int16 where they are integers."""
    kind = layers.get(entry["type"])
    if kind.format_of(entry) is None:
        return kind.wants(entry, bits)
    if "activation_bits" in entry:
        raise ModelError(f"{entry['name']}.activation_bits: it computes in {entry['format']}; take "
                         "out one of them")
    return INT8


def _groups(entries: list[Fields], sources: dict[str, list[str]]) -> dict[str, str]:
    """Of each tensor the one that stands for all that it is tied to."""
    parents = {"input": "input"} | {entry["name"]: entry["name"] for entry in entries}

    def root(name: str) -> str:
        while parents[name] != name:
            name = parents[name]
        return name

    for entry in entries:
        if layers.get(entry["type"]).tied:
            for source in sources[entry["name"]]:
                parents[root(entry["name"])] = root(source)
    return {name: root(name) for name in parents}
