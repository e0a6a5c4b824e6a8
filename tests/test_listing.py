"""JSON answers taken a piece at a time."""

import json
import tracemalloc

import pytest

from agent.targets._listing import ANY, LONGEST, Listing, Overlong

DOCUMENT = {
    "data": {
        "node": {"path": "/a/", "clips": [{"id": "1", "n": [1, {"x": "]"}]}, {"id": "ü\n€ \\"}, 7, None], "end": 5}
    },
    "errors": [],
    "other": {"clips": [1]},
}
NAMES = [{"uuid": "u", "values": [{"value": "a"}, {"value": "b"}], "n": 1.5}, {"values": []}, {"values": None}, 3]


def read(text: str | bytes, path: tuple[str, ...], size: int) -> tuple[list, object]:
    found: list = []
    listing = Listing(path, lambda level, value: found.append((level, value)))
    content = text if isinstance(text, bytes) else text.encode()
    for at in range(0, len(content), size):
        listing.take(content[at : at + size])
    return found, listing.end()


@pytest.mark.parametrize("size", [1, 2, 7, 1 << 16])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_alone", [True, False])
def test_elements_come_and_the_rest_is_kept(size, indent, ascii_alone):
    text = json.dumps(DOCUMENT, indent=indent, ensure_ascii=ascii_alone)
    found, rest = read(text, ("data", "node", "clips", ANY), size)
    assert found == [(0, clip) for clip in DOCUMENT["data"]["node"]["clips"]]
    assert rest == {**DOCUMENT, "data": {"node": {**DOCUMENT["data"]["node"], "clips": []}}}
    assert read(text, (), size) == ([], DOCUMENT)
    found, rest = read(json.dumps(NAMES, indent=indent), (ANY, "values", ANY), size)
    assert found == [
        (1, {"value": "a"}),
        (1, {"value": "b"}),
        (0, {"uuid": "u", "values": [], "n": 1.5}),
        (0, {"values": []}),
        (0, {"values": None}),
        (0, 3),
    ]
    assert rest == []


@pytest.mark.parametrize("text", ["12", "12 ", '"x"', "null", "[]", "{}", " [ ] ", " { } ", "-1.5e3"])
@pytest.mark.parametrize("path", [(), (ANY,), ("a", ANY), (ANY, "a", ANY)])
def test_documents_of_other_shapes_are_what_they_are(text, path):
    assert read(text, path, 1) == ([], json.loads(text))


@pytest.mark.parametrize(
    "text", ["", "[", "[1", "[1,", "[1 2]", "{", '{"a"', '{"a":', '{"a" 1}', "{1: 2}", "nul", "<p>"]
)
def test_what_is_no_document(text):
    for path in ((ANY,), ("a", ANY)):
        with pytest.raises(ValueError):
            read(text, path, 1)


def test_a_list_of_any_length_needs_no_memory():
    listing = Listing(("data", ANY), lambda level, value: None)
    listing.take(b'{"data": [0')
    piece = b"".join(b', {"id": "%d", "text": "%s"}' % (n, b"x" * 200) for n in range(300))
    tracemalloc.start()
    try:
        for _ in range(60):
            listing.take(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    listing.take(b"]}")
    assert listing.end() == {"data": []}
    assert peak < 1 << 20, f"{60 * len(piece)} bytes came, and {peak} were needed"


def test_what_is_too_long_is_given_up():
    with pytest.raises(Overlong):
        read('["' + "x" * (LONGEST + 10), (ANY,), 1 << 16)
    beside = ", ".join(f'"k{n}": "{"x" * 1000}"' for n in range(LONGEST // 1000 + 1))
    with pytest.raises(Overlong):
        read(f'{{{beside}, "a": []}}', ("a", ANY), 1 << 16)
    names = ", ".join(f'{{"values": [1], "text": "{"x" * 1000}"}}' for _ in range(LONGEST // 1000 + 1))
    assert read(f"[{names}]", (ANY, "values", ANY), 1 << 16)[1] == []
