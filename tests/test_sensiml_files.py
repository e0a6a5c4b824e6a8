"""What SensiML's server would refuse or mangle, makes wait for, and answers: told apart before, or afterwards."""

import io
import json
import wave

import pytest

from agent.targets import Failed, Later, Refused, Unreachable
from tests.captures import make_capture
from tests.contracts.target import put
from tests.receiver import Fault
from tests.sensiml import CSV, posts, recorded, serving, upload


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
def capture(tmp_path):
    return recorded(tmp_path / "captures")


# files that the server would refuse, or mangle


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"sequence,Acc.X\n0,1\n", r"not 'Acc\.X'"),
        (b"\xef\xbb\xbfsequence,A\n0,1\n", "not"),
        (b"sequence,A,A\n0,1,2\n", "no two columns"),
        (b"sequence,A,\n0,1,2\n", "not ''"),
        (b"sequence,A\n0,1,\n", "would shift"),
        (b"sequence,A\n2147483648,1\n", "2147483647 at most"),
        (b"sequence,A\n", "without samples"),
        (b"\xff\xfes\x00e\x00\n\x001\x00", "codec"),
    ],
)
def test_csv_that_is_not_even_sent(far, tmp_path, content, reason):
    with pytest.raises(Refused, match=reason):
        put(far.open(), make_capture(tmp_path, content))
    assert far.model.requests == []


def test_the_server_takes_a_long_first_row_and_shifts_it(far, capture):
    put(far.open(), capture)
    status, said = upload(far, "shifted.csv", b"A,B\n1,2,3\n")
    assert status == 201 and said["max_sequence"] == 0
    assert upload(far, "later.csv", b"A,B\n1,2\n1,2,3\n")[0] == 500
    assert upload(far, "upper.csv", CSV, "x.CSV")[1]["data"] == ["Extension .CSV is not allowed."]
    assert upload(far, "text.csv", b"A,B\n1,x\n")[0] == 400
    assert upload(far, "n" * 251, CSV)[0] == 500


def wav(width: int, frames: int = 100, channels: int = 2) -> bytes:
    with io.BytesIO() as made:
        with wave.open(made, "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(width)
            file.setframerate(16000)
            file.writeframes(bytes(range(frames % 256)) * 0 + bytes(frames * channels * width))
        return made.getvalue()


WAV = ("wav", "audio/wav", ".wav")


def test_16_bit_wav_is_taken_and_no_other(far, tmp_path):
    good = make_capture(tmp_path, wav(2), kind=WAV)
    put(far.open(), good)
    assert far.capture(good.files[0].name)["number_samples"] == 100
    assert upload(far, "24.wav", wav(3), "x.wav")[1]["number_samples"] == 150, "what the server makes of 24 bits"
    for content, reason in ((wav(3), "24 bits"), (wav(1), "8 bits"), (wav(2, 0), "no frame"), (b"RIFX", "PCM alone")):
        with pytest.raises(Refused, match=reason):
            put(far.open(), make_capture(tmp_path, content, kind=WAV))


def test_a_file_of_more_than_a_gigabyte(far, capture):
    huge = {**capture.document, "payloads": [{**capture.document["payloads"][0], "size": 1 << 30}]}
    with pytest.raises(Refused, match="record shorter captures"):
        put(far.open(), type(capture)(capture.folder, huge))


def test_a_name_that_is_too_long(far, capture):
    long = {**capture.document, "payloads": [{**capture.document["payloads"][0], "file": "n" * 247 + ".csv"}]}
    with pytest.raises(Refused, match="names of 250 characters"):
        put(far.open(), type(capture)(capture.folder, long))


def test_what_the_server_read_otherwise_is_flagged(far, capture):
    far.model.faults.append(Fault(201, text=json.dumps({"uuid": "u", "number_samples": 2, "task_state": None})))
    with pytest.raises(Refused, match=r"read 2 samples from .*, which has 3"):
        put(far.open(), capture)


def test_what_the_server_read_otherwise_later_is_flagged(far, capture):
    target, state = far.open(), {}
    far.model.task_states.append("STARTED")
    with pytest.raises(Later):
        put(target, capture, state)
    far.capture(capture.files[0].name)["number_samples"] = 2
    with pytest.raises(Refused, match=r"read 2 samples from .*, which has 3"):
        put(target, capture, state)


# waiting


def test_waiting_is_left_to_the_outbox(far, capture):
    target, state = far.open(), {}
    far.model.task_states += ["SENT", "STARTED", "RETRY"]
    waits = []
    for _ in range(3):
        with pytest.raises(Later, match="SensiML reads it") as later:
            put(target, capture, state)
        waits.append(later.value.after_s)
        assert later.value.pending, "it is no trouble of the server's"
    put(target, capture, state)
    assert posts(far) == 1
    assert 3 <= waits[0] < waits[1] < waits[2] < 10


@pytest.mark.parametrize("failure", ["FAILURE", "REVOKED"])
def test_a_file_that_the_server_could_not_read(far, capture, failure):
    far.model.task_states.append(failure)
    with pytest.raises(Refused, match=rf"could not read .*{failure}"):
        put(far.open(), capture)


def test_a_server_that_never_comes_to_an_end(far, capture):
    target, state = far.open(), {"polls": 200}
    far.model.task_states.append("STARTED")
    with pytest.raises(Failed, match="after 201 looks"):
        put(target, capture, state)


def test_a_capture_deleted_while_it_was_waited_for_is_sent_again(far, capture):
    target, state = far.open(), {}
    far.model.task_states.append("STARTED")
    with pytest.raises(Later):
        put(target, capture, state)
    far.project.captures.clear()
    put(target, capture, state)
    assert len(far.files()) == 1


# answers


@pytest.mark.parametrize(
    ("status", "text", "meaning"),
    [
        (400, '{"detail": "bad"}', Refused),
        (403, '{"detail": "plan"}', Unreachable),
        (404, "<!doctype html><html>", Unreachable),
        (408, "", Failed),
        (413, "", Refused),
        (429, "", Later),
        (500, '{"detail": "ParserError: Error tokenizing data"}', Refused),
        (500, '{"detail": "DataError: integer out of range"}', Refused),
        (500, '{"detail": "OperationalError: server closed the connection"}', Failed),
        (502, "", Failed),
        (301, "", Unreachable),
        (200, "<html>sign in to this hotel's network</html>", Failed),
        (201, "[]", Failed),
        (201, '{"uuid": 5}', Failed),
    ],
)
def test_answers(far, capture, status, text, meaning):
    far.model.faults.append(Fault(status, text=text))
    target, state = far.open(), {}
    with pytest.raises(meaning):
        put(target, capture, state)
    put(target, capture, state)
    assert len(far.files()) == 1


def test_a_500_that_says_nothing_is_not_tried_for_ever(far, capture):
    target, state = far.open(), {}
    for _ in range(7):
        far.model.faults += [Fault(200, text="[]")] * bool(state) + [Fault(500, text='{"detail": "KeyError: 1"}')]
        with pytest.raises(Failed, match="KeyError"):
            put(target, capture, state)
    far.model.faults += [Fault(200, text="[]"), Fault(500, text='{"detail": "KeyError: 1"}')]
    with pytest.raises(Refused, match="for the 8th time"):
        put(target, capture, state)


@pytest.mark.parametrize("text", ["{}", "null", "[1]", "[{}]", '[{"name": "x"', "<html>", "[" * 4000, '"' + "a" * 5000])
@pytest.mark.parametrize("path", ["project", "metadata", "segmenter", "label", "metadata-relationship"])
def test_lists_of_the_wrong_shape(far, tmp_path, text, path):
    capture = recorded(tmp_path, labels={"activity": "walking"})
    far.model.faults_at[path].append(Fault(200, text=text))
    with pytest.raises(Failed, match="is it SensiML's"):
        put(far.open(), capture)
    put(far.open(), capture)


def test_behind_a_path(far, capture):
    with pytest.raises(Unreachable, match=r"404.* check the target's url"):
        put(far.open(url=far.model.url + "/api"), capture)
    assert far.model.requests[0].path == "/api/oauth/token/"
