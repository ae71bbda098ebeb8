"""What a board keeps of a file's tensors while a model is made: a dict of few objects."""

import json
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attn8_host.isa.device import Device

NAMES = st.lists(st.text("ab.é", max_size=4), unique=True, max_size=8)
SHAPES = st.lists(st.integers(0, 5), max_size=3)


@pytest.fixture(scope="module")
def device():
    return Device("rv32imc")


@given(data=st.data())
def test_a_listing_is_a_dict_of_few_objects(device, data):
    names = data.draw(NAMES)
    kinds: list[tuple[str, list[int]]] = []
    numbers = array("H")
    want: dict[str, tuple[object, ...]] = {}
    for place, name in enumerate(names, 8):
        kind = data.draw(st.sampled_from("bhi")), data.draw(SHAPES)
        if kind not in kinds:
            kinds.append(kind)
        numbers.append(kinds.index(kind))
        n = 1
        for size in kind[1]:
            n *= size
        want[name] = *kind, place, n
    joined = b"\0".join([b"", *(name.encode() for name in names), b""])
    found = device.load("attn8.find").Listing(joined, array("I", range(8, 8 + len(names))),
                                              numbers, kinds)
    for _ in range(data.draw(st.integers(0, 12))):
        name = data.draw(st.sampled_from([*names, "a", "", "ab"]))
        what = data.draw(st.sampled_from(("take", "leave", "trim")))
        if what == "take" and name in want:
            assert found.take(name) == want.pop(name)
        elif what == "leave" and name not in want:
            found[name] = want[name] = "b", [2], array("b", [1, 2])
        elif what == "trim":
            found.trim()
        assert sorted(found) == sorted(want)
        assert {name: found[name] for name in want} == want
        assert [name in found for name in names] == [name in want for name in names]
        for name in {*names, "ab"} - {*want}:
            with pytest.raises(KeyError):
                found[name]


def test_a_tensor_s_name_has_no_zero_in_it(device, tmp_path):
    header = json.dumps({"a\0b": {"dtype": "I8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    path = tmp_path / "zero"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\1")
    with pytest.raises(ValueError, match=f"{path}: header: a tensor's name has a zero in it"):
        device.load("attn8.safetensors").read(str(path))
