"""Clips: frames with their times in an MP4, from before the moment to after it, up to their captures and targets."""

import dataclasses
import io
import itertools
import json
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import jsonschema
import pytest
from PIL import Image

import agent
from agent.formats.mp4 import Settings as Mp4
from agent.pictures import settle
from drivers import Block, DriverError, Identity, SettingsError, boottime_ns
from drivers._camera import PictureTaker
from drivers.picamera import Settings
from drivers.ports.camera import open_camera
from drivers.ports.camera_clip import Clip, Director
from drivers.ports.camera_motion import Motion
from drivers.ports.mp4 import movie
from drivers.ports.virtual.picamera import VirtualScene, render
from tests.contracts.driver import read_blocks
from tests.pictures import NAME, House, SetClock, block, write
from tests.running import Running
from tests.test_camera import pi, started
from tests.test_config import mistakes
from tests.test_triggered_pictures import NS, Make, bench, command

av = pytest.importorskip("av", reason="av reads the clips back: pip install av")

__all__ = ["bench", "pi"]
SIZE = (320, 240)


def frames_of(mp4: bytes) -> tuple[list[float], list[bytes]]:
    """What another reader finds: seconds from the beginning, and the frame as it is compressed."""
    with av.open(io.BytesIO(mp4)) as container:
        (stream,) = container.streams
        found = [(float(each.pts * each.time_base), bytes(each)) for each in container.demux(stream) if each.size]
    return [at for at, _ in found], [frame for _, frame in found]


def shown(mp4: bytes) -> list[Image.Image]:
    with av.open(io.BytesIO(mp4)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


def compressed(pictures: int) -> list[bytes]:
    """H.264 as an encoder gives it: an access unit for each picture, a key frame each fifth."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = *SIZE, "yuv420p"
    context.time_base, context.gop_size = Fraction(1, 10), 5
    context.options = {"tune": "zerolatency"}
    found = []
    for number in range(pictures):
        frame = av.VideoFrame.from_image(Image.new("RGB", SIZE, (20 + 20 * number,) * 3))
        frame.pts = number
        found += [bytes(each) for each in context.encode(frame)]
    return found


TIMES = [7 * NS + at * NS // 10 + at % 3 * 7_000_000 for at in range(10)]


def test_jpegs_become_a_clip_that_others_read_as_it_is() -> None:
    frames = [render(1, number, SIZE, 80) for number in range(10)]
    mp4 = movie(frames, TIMES, SIZE, "mjpeg")
    times, found = frames_of(mp4)
    assert found == frames
    assert times == pytest.approx([(each - TIMES[0]) / 1e9 for each in TIMES], abs=1.2e-5)
    assert [image.size for image in shown(mp4)] == [SIZE] * 10
    assert frames_of(movie(frames[:1], TIMES[:1], SIZE, "mjpeg")) == ([0.0], frames[:1])


@pytest.mark.parametrize("apart", [False, True], ids=["joined", "parameters apart"])
def test_h264_becomes_a_clip_that_others_show(apart: bool) -> None:
    frames, times = compressed(10), list(TIMES)
    if apart:
        cut = frames[0].index(b"\x00\x00\x01\x65")  # where the IDR picture begins
        frames[:1], times[:1] = [frames[0][:cut], frames[0][cut:]], [times[0], times[0]]
    mp4 = movie(frames, times, SIZE, "h264")
    found, _ = frames_of(mp4)
    assert found == pytest.approx([(each - TIMES[0]) / 1e9 for each in TIMES], abs=1.2e-5)
    levels = [image.getpixel((160, 120))[0] for image in shown(mp4)]
    assert levels == pytest.approx([20 + 20 * number for number in range(10)], abs=3)
    with av.open(io.BytesIO(mp4)) as container:
        keys = [each.is_keyframe for each in container.demux(video=0) if each.size]
    assert keys == [number % 5 == 0 for number in range(10)]


def test_what_is_no_clip_is_refused() -> None:
    with pytest.raises(ValueError, match="single frame"):
        movie([], [], SIZE, "mjpeg")
    with pytest.raises(ValueError, match="can be begun with"):
        movie(compressed(4)[1:], TIMES[:3], SIZE, "h264")
    with pytest.raises(ValueError, match="single picture"):
        movie([b"no units at all"], TIMES[:1], SIZE, "h264")


def test_one_clip_is_made_at_a_time_and_what_is_asked_for_meanwhile_comes_after_it() -> None:
    director = Director(2)
    assert not director.begins(0, None)
    assert director.begins(1 * NS, 0.25)
    director.ask()
    assert not director.begins(2 * NS, 0.5)
    assert director.ended(3 * NS - 1) is None
    scene = director.ended(3 * NS)
    assert scene is not None
    assert (scene.moment_ns, scene.asked, scene.motion) == (1 * NS, False, 0.25)
    assert director.begins(3 * NS, None)
    scene = director.ended(5 * NS)
    assert scene is not None and scene.asked
    assert not director.begins(6 * NS, None)


def virtual(**clip: Any) -> Settings:
    wish = Clip(**{"length_s": 0.4, "pre_roll_s": 0.3, "frames_hz": 20, **clip})
    return Settings(
        camera="virtual",
        interval_s=0,
        width=320,
        height=240,
        hung_after_s=2,
        clip=wish,
        virtual=VirtualScene(seed=7),
    )


def test_clips_by_an_interval_follow_one_another() -> None:
    with started(dataclasses.replace(virtual(length_s=0.1, pre_roll_s=0.1), interval_s=0.2)) as (driver, _):
        blocks = read_blocks(driver, 4)
    end = 0
    for each in blocks:
        assert each.first == end + each.lost
        assert each.mp4 and not each.jpeg and not len(each.samples)
        assert each.begin_ns <= each.observed_ns <= each.end_ns <= boottime_ns()
        end = each.end


def check(clip: Block, settings: Settings) -> list[int]:
    """A clip of the virtual camera is whole, and reaches as far as is wished; the numbers of its frames."""
    times, frames = frames_of(clip.mp4)
    first = int(clip.metadata["frame"])
    numbers = list(range(first, first + len(frames)))
    assert frames == [render(7, number, SIZE, 90) for number in numbers]
    assert times[-1] == pytest.approx((clip.end_ns - clip.begin_ns) / 1e9, abs=1e-4)
    assert clip.end_ns >= clip.observed_ns + round(settings.clip.length_s * 1e9)
    assert clip.begin_ns >= clip.observed_ns - round(settings.clip.pre_roll_s * 1e9)
    return numbers


def test_a_clip_begins_before_the_moment_and_two_follow_on_one_another() -> None:
    settings = virtual()
    with started(settings) as (driver, identity):
        until_ns = boottime_ns() + 600_000_000
        while boottime_ns() < until_ns:
            assert driver.read(0.1) is None, "only what is asked for"
        asked_ns = boottime_ns()
        driver.snap()
        driver.snap()
        one, other = read_blocks(driver, 2)
        assert driver.read(0.3) is None
    assert identity.setup["clip_codec"] == "mjpeg", "as the hardware has it"
    assert identity.setup["clip_length_s"] == identity.lag_s == 0.4
    assert one.begin_ns < asked_ns < one.observed_ns, "its first frame is from before it was asked for"
    assert (one.count, one.first, other.first, other.lost) == (1, 0, 1, 0)
    assert one.nbytes == len(one.mp4)
    check(one, settings)
    assert check(other, settings)[-1] > check(one, settings)[-1]


def test_a_clip_longer_than_the_patience_is_no_hang() -> None:
    wanted = {"width": 320, "height": 240, "clip": Clip(length_s=1.5, frames_hz=20).wanted()}
    camera = open_camera("picamera", VirtualScene().document(), patience_s=1.2)
    driver = PictureTaker(camera, wanted=wanted, setup={}, interval_s=0)
    try:
        driver.start()
        driver.snap()
        (clip,) = read_blocks(driver, 1)
    finally:
        driver.close()
    assert clip.end_ns - clip.observed_ns >= 1_500_000_000


def test_motion_makes_a_clip() -> None:
    settings = virtual()
    options = {**vars(settings), "motion": Motion(area=0.02, min_interval_s=60)}
    with started(Settings(**{**options, "virtual": VirtualScene(seed=7, motion=("0.5 1",))})) as (driver, _):
        (clip,) = read_blocks(driver, 1)
        assert 0 < float(clip.metadata["motion"]) < 1
        check(clip, settings)
        assert driver.read(0.2) is None


@pytest.mark.alone
@pytest.mark.parametrize(("codec", "filled_s"), [("h264", 1.0), ("mjpeg", 0.7)])
def test_picamera2_makes_clips_out_of_its_circular_output(pi: pytest.MonkeyPatch, codec: str, filled_s: float) -> None:
    clip = Clip(length_s=0.6, pre_roll_s=0.5, frames_hz=20, codec=codec, bitrate=1_000_000)
    settings = Settings(interval_s=0, settle_s=filled_s, width=320, height=240, clip=clip)
    with started(settings) as (driver, identity):
        driver.snap()
        blocks = read_blocks(driver, 1)
        driver.snap()
        blocks += read_blocks(driver, 1)
    assert identity.setup["clip_codec"] == codec
    for each in blocks:
        images = shown(each.mp4)
        levels = [image.convert("L").getpixel((160, 120)) for image in images]
        steps = [round(b - a) for a, b in itertools.pairwise(levels)]
        assert len(images) == pytest.approx(20 * (each.end_ns - each.begin_ns) / 1e9, rel=0.5)
        assert all(0 <= step <= 3 for step in steps), "no frame is missing, none twice"
        assert levels[-1] - levels[0] == pytest.approx(len(images) - 1, abs=3)
        assert each.end_ns >= each.observed_ns + 600_000_000
        assert each.metadata["exposure_s"] == 0.01
    first = blocks[0]
    assert first.observed_ns - first.begin_ns > 400_000_000, "the pre-roll"


def test_picamera2_looks_for_motion_while_it_films(pi: pytest.MonkeyPatch) -> None:
    clip = Clip(length_s=0.3, pre_roll_s=0.3, frames_hz=20, codec="mjpeg")
    settings = Settings(interval_s=0, settle_s=0, clip=clip, motion=Motion(area=0.1, min_interval_s=60))
    with started(settings) as (driver, identity):
        (moved,) = read_blocks(driver, 1)
    assert (identity.setup["width"], identity.setup["height"]) == (1280, 720)
    assert moved.metadata["motion"] == pytest.approx(0.25, abs=0.05)
    assert moved.mp4


def test_an_encoder_that_gives_nothing_is_an_error(pi: pytest.MonkeyPatch) -> None:
    pi.setenv("MODEL_TROUBLE", "blind")
    settings = Settings(interval_s=0, settle_s=0, clip=Clip(length_s=0.2, frames_hz=20), hung_after_s=2)
    with started(settings) as (driver, _):
        driver.snap()
        deadline = boottime_ns() + 10 * NS
        with pytest.raises(DriverError, match="encoder gives no frames"):
            while boottime_ns() < deadline:
                driver.read(0.1)


def test_a_clip_that_memory_could_not_hold_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match="than the 64000000 of a clip"):
        Clip(length_s=600)
    with pytest.raises(SettingsError, match="codec"):
        Clip(codec="vp9")
    assert Settings(clip=Clip(length_s=10, bitrate=8_000_000)).expects() == (1 / 60, 12_000_000)
    assert Settings().payload == "jpeg"


CLIPS = """
[stream.cam]
driver = "picamera"
camera = "virtual"
interval_s = 0
width = 320
height = 240
clip = { length_s = 0.5, pre_roll_s = 0.4, frames_hz = 20 }

[recording.clips]
streams = ["cam"]
format = ["mp4"]
"""


def test_formats_and_targets_must_take_clips(tmp_path: Path) -> None:
    def said(config: str) -> str:
        return "\n".join(mistakes(tmp_path, config).values())

    assert "mp4, which camera cam gives" in said(CLIPS.replace("mp4", "jpeg"))
    assert "jpeg, which camera cam gives" in said(CLIPS.replace("clip = ", "# clip = "))
    assert "a format of pictures: cam is a camera" in said(CLIPS.replace("mp4", "csv"))
    pi_target = """targets = ["pi"]
[target.pi]
kind = "sticky_pi"
url = "https://sticky.example"
user = "u"
password_file = "p"
"""
    assert "jpeg among them, for target pi" in said(CLIPS + pi_target)


def clip_block(at_s: float = 5.0) -> Block:
    frames = [render(1, number, SIZE, 80) for number in range(10)]
    begin_ns = round(at_s * NS)
    times = [begin_ns + number * NS // 10 for number in range(10)]
    picture = block(at_s=at_s + 0.4)
    return dataclasses.replace(
        picture, jpeg=b"", mp4=movie(frames, times, SIZE, "mjpeg"), begin_ns=begin_ns, end_ns=times[-1]
    )


def test_a_clip_becomes_a_capture_and_is_read_back_as_it_was(tmp_path: Path) -> None:
    house, clip = House(tmp_path), clip_block()
    capture = write(house.writer(), clip)
    (payload,) = capture.payloads
    assert (payload.file, payload.format, payload.media_type) == (f"{NAME}8.mp4", "mp4", "video/mp4")
    assert capture.path(payload).read_bytes() == clip.mp4, "untouched"
    assert capture.document["start"]["boot_time_ns"] == clip.begin_ns
    assert capture.document["duration_s"] == pytest.approx(0.9)
    assert capture.document["streams"][0]["picture"]["moment_s"] == pytest.approx(0.4)
    validate(capture.document)
    (again,) = Mp4().open().read(capture.path(payload), capture)
    assert (again.mp4, again.begin_ns, again.end_ns) == (clip.mp4, clip.begin_ns, clip.end_ns)
    assert again.observed_ns == clip.observed_ns
    assert write(house.writer(), block()).name != capture.name, "a picture of the same second has another name"


def test_a_clip_and_a_picture_of_one_second_never_share_a_sidecar(tmp_path: Path) -> None:
    house = House(tmp_path)
    (house.recording / f"{NAME}8.mp4.part").touch()  # another writer is just at it
    assert write(house.writer(), block()).name == f"{NAME}9"
    (house.recording / f"{NAME}8.mp4.part").unlink()
    names = {write(house.writer(), each).name for each in (block(), clip_block(), clip_block())}
    assert len(names) == 3
    assert len(list(house.recording.glob("*.json"))) == 4


def validate(document: Any) -> None:
    schema = json.loads((Path(agent.__file__).parent / "capture.schema.json").read_text())
    jsonschema.validate(document, schema)


def test_a_clip_gets_its_true_date_in_its_name(tmp_path: Path) -> None:
    house = House(tmp_path, SetClock(known=False))
    clip = clip_block()
    writer = house.writer()
    capture = write(writer, clip)
    house.clock.offset_ns += 3600 * NS
    house.clock.known = True
    dated = writer.redate(capture)
    assert dated.name != capture.name
    assert dated.document["revision"] == 2
    assert house.names() == [f"{dated.name}.json", f"{dated.name}.mp4"]
    assert dated.path(dated.payloads[0]).read_bytes() == clip.mp4


@pytest.mark.parametrize("kill", ["before its name", "before its sidecar"])
def test_a_kill_amid_a_clip_loses_nothing_that_was_written(tmp_path: Path, kill: str) -> None:
    house = House(tmp_path)
    capture = write(house.writer(), clip_block())
    movie_file = capture.path(capture.payloads[0])
    part = movie_file.rename(movie_file.with_name(movie_file.name + ".part"))
    if kill == "before its sidecar":
        capture.sidecar.unlink()
    assert settle(house.recording) == ([part] if kill == "before its sidecar" else [])
    assert movie_file.exists() == (kill == "before its name")


def test_a_clip_that_was_asked_for_at_a_trigger_belongs_to_it_however_long_it_is(bench: Make) -> None:
    b = bench(Identity("Camera", 0.0, lag_s=60.0), **command(snap=True, post_s=1))
    b.run(5, picture_every_s=0, fire_s=(4.0,))
    assert b.camera.asked == 1
    b.run(70, picture_every_s=0)
    b.stream._take(dataclasses.replace(clip_block(), observed_ns=b.zero_ns + round(4.2 * NS)))
    b.run(71, picture_every_s=0)
    (capture,) = b.taken
    assert capture.document["trigger"]["kind"] == "command"
    assert capture.payloads[0].format == "mp4"


def test_clips_come_out_of_a_real_daemon_to_its_targets(tmp_path: Path) -> None:
    archive = """targets = ["archive"]
[target.archive]
kind = "directory"
path = "{folder}/archive"
"""
    (tmp_path / "archive").mkdir()
    with Awake(tmp_path, CLIPS + archive) as running:
        running.ask("trigger", recording="clips")
        running.until(lambda status: status["recordings"]["clips"]["finished"] == 1)
        running.finish()
        (capture,) = running.captures("clips")
    (payload,) = capture.payloads
    (delivered,) = (tmp_path / "archive").rglob("*.mp4")
    assert delivered.read_bytes() == capture.path(payload).read_bytes()
    validate(capture.document)
    said = capture.document["streams"][0]["picture"]
    times, frames = frames_of(delivered.read_bytes())
    assert frames == [render(1, said["frame"] + number, SIZE, 90) for number in range(len(frames))]
    assert times[-1] == pytest.approx(capture.document["duration_s"], abs=1e-4)
    assert 0 <= said["moment_s"] <= 0.4
    assert capture.document["duration_s"] - said["moment_s"] >= 0.5


class Awake(Running):
    """Entering waits until the camera runs: it gives nothing by itself."""

    def __enter__(self) -> Self:
        self.start()
        self.until(lambda status: status["streams"]["cam"]["state"] == "running")
        return self
