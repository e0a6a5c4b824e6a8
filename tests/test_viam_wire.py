"""Viam's messages, to the byte: the vectors were made with the SDK's own classes, map keys sorted."""

import struct

import pytest

from agent import protobuf
from agent.targets import _viam_wire as wire

T0, T1 = 1767323045_678901000, 1767323045_700000000
PART = "11111111-2222-3333-4444-555555555555"
KEY_ID = "01234567-89ab-cdef-0123-456789abcdef"
READINGS = {"readings": {"a": 1.5, "l": [1, 2], "n": None, "ok": True, "s": "x"}}

V = {
    number: bytes.fromhex(text)
    for number, text in {
        1: "0a2430313233343536372d383961622d636465662d303132332d343536373839616263646566120e0a076170692d6b6579"
        "12036b3379",
        2: "0a05612e622e63",
        3: "0a0c08a5ebdcca061088eadcc302120c08a5ebdcca061080cee4cd02",
        4: "0a5a0a0872656164696e6773124e2a4c0a0e0a0161120911000000000000f83f0a1d0a016c121832160a0911000000000000f03f0a"
        "091100000000000000400a070a016e120208000a080a026f6b120220010a080a017312031a0178",
        5: "0a2431313131313131312d323232322d333333332d343434342d353535353535353535353535121d72646b3a636f6d706f6e656e74"
        "3a6d6f76656d656e745f73656e736f721a03696d752a0852656164696e677330025202743152027432",
        7: "0a2431313131313131312d323232322d333333332d343434342d353535353535353535353535121472646b3a636f6d706f6e656e74"
        "3a63616d6572611a0363616d2a09476574496d6167657330014a042e6a706752027431620264316a0a696d6167652f6a706567",
        8: "0a321203636174199a9999999999b93f219a9999999999c93f29333333333333d33f319a9999999999d93f39cdccccccccccec3f12"
        "0e0a0364617911000000000000e03f",
        11: "1203010203",
        12: "0a630a2431313131313131312d323232322d333333332d343434342d35353535353535353535353530033a036c6f674a042e747874"
        "52027431620264316a0a746578742f706c61696e720c08a5ebdcca061088eadcc3027a0c08a5ebdcca061080cee4cd02",
        13: "12050a03616263",
        14: "0a02663112066f2f6c2f6631",
        16: "1200",
    }.items()
}
V[6] = b"\x0a\x5e" + V[5] + b"\x12\x7c" + b"\x0a\x1c" + V[3] + b"\x12\x5c" + V[4]
V[9] = b"\x0a\x68" + V[7] + b"\x12\x6a" + b"\x0a\x62" + V[3] + b"\x22\x44" + V[8] + bytes.fromhex("1a04ffd8ffd9")
V[10] = bytes.fromhex("0a88010a68") + V[7] + b"\x12\x1c" + V[3]
V[15] = V[14]

IMU = wire.UploadMetadata(
    PART,
    wire.TABULAR,
    component_type="rdk:component:movement_sensor",
    component_name="imu",
    method_name="Readings",
    tags=("t1", "t2"),
)
CAM = wire.UploadMetadata(
    PART,
    wire.BINARY,
    component_type="rdk:component:camera",
    component_name="cam",
    method_name="GetImages",
    file_extension=".jpg",
    tags=("t1",),
    dataset_ids=("d1",),
    mime_type="image/jpeg",
)
LOG = wire.UploadMetadata(
    PART,
    wire.FILE,
    file_name="log",
    file_extension=".txt",
    tags=("t1",),
    dataset_ids=("d1",),
    mime_type="text/plain",
    created_ns=T0,
    modified_ns=T1,
)
ANNOTATIONS = wire.annotations(
    [wire.Box("cat", 0.1, 0.2, 0.3, 0.4, confidence=0.9)], [wire.Classification("day", confidence=0.5)]
)

VECTORS = [
    (1, 54, wire.authenticate(KEY_ID, "api-key", "k3y")),
    (3, 28, wire.sensor_metadata(T0, T1)),
    (4, 92, wire.structure(READINGS)),
    (5, 94, IMU.encode()),
    (6, 222, wire.capture_upload(IMU, [wire.reading(wire.sensor_metadata(T0, T1), wire.structure(READINGS))])),
    (7, 104, CAM.encode()),
    (8, 68, ANNOTATIONS),
    (9, 214, wire.capture_upload(CAM, [wire.image(wire.sensor_metadata(T0, T1, ANNOTATIONS), b"\xff\xd8\xff\xd9")])),
    (10, 139, wire.capture_head(CAM, wire.sensor_metadata(T0, T1))),
    (11, 5, wire.capture_data(b"\x01\x02\x03")),
    (12, 101, wire.file_head(LOG)),
    (13, 7, wire.file_data(b"abc")),
    (16, 2, wire.file_data(b"")),
]


@pytest.mark.parametrize(("number", "size", "made"), VECTORS, ids=[f"V{number}" for number, _, _ in VECTORS])
def test_what_is_sent(number, size, made):
    assert made.hex() == V[number].hex()
    assert len(made) == size


def test_what_is_answered():
    assert wire.access_token(V[2]) == "a.b.c"
    assert wire.uploaded(V[14]) == wire.uploaded(V[15]) == ("f1", "o/l/f1")
    assert wire.uploaded(b"") == ("", "")
    assert wire.uploaded(b"\x0a\x01a\x0a\x01b") == ("b", ""), "the last of a field counts"


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (None, "0800"),
        (False, "2000"),
        (True, "2001"),
        (0.0, "110000000000000000"),
        (0, "110000000000000000"),
        ("", "1a00"),
        ({}, "2a00"),
        ([], "3200"),
    ],
)
def test_what_is_nothing_is_written_within_a_oneof(value, encoded):
    assert wire.value_of(value).hex() == encoded


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_json_has_no_number_for_is_not_sent(value):
    with pytest.raises(ValueError, match="no number"):
        wire.structure({"a": [{"b": value}]})


def test_times():
    assert wire.timestamp(0) == b""
    assert wire.timestamp(1_000_000_000).hex() == "0801"
    assert wire.timestamp(5).hex() == "1005"
    assert wire.timestamp(-1).hex() == "08ffffffffffffffffff0110ff93ebdc03", "a second before 1970, and nearly one more"


@pytest.mark.parametrize("number", [1, 0x7F, 0x80, 300, 1 << 35, (1 << 64) - 1])
def test_integers_come_back(number):
    assert list(protobuf.fields(protobuf.number(5, number))) == [(5, number)]


def test_fields_of_all_kinds_come_back():
    fixed = protobuf.tag(2, protobuf.FIXED64) + struct.pack("<d", 1.5)
    small = protobuf.tag(3, protobuf.FIXED32) + b"abcd"
    assert list(protobuf.fields(fixed + small + protobuf.text(400, "x"))) == [
        (2, struct.pack("<d", 1.5)),
        (3, b"abcd"),
        (400, b"x"),
    ]


@pytest.mark.parametrize("message", [b"\x0a", b"\x0a\x05ab", b"\x08", b"\x08" + b"\xff" * 11, b"\x0b", b"\x11abc"])
def test_what_is_no_message(message):
    with pytest.raises(ValueError, match=r"cut off|wire type"):
        list(protobuf.fields(message))
