"""Making: a payload in a format that a target takes, for one delivery, out of a payload that the capture has."""

import contextlib
import dataclasses
import datetime
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.annotations import end_of
from agent.capture import Capture, Payload
from agent.film import Film, Rows
from agent.formats import Format, Unfit, format_module
from agent.formats._payload import channels_of, lead_of
from agent.negative import NegativeWriter, identity_as_json
from agent.targets import Failed, Refused, verified
from drivers import Block, Identity, SettingsError

StreamDocument = Mapping[str, Any]

_CHUNK = 1 << 18
_PIECE = 256
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_APART = ("mcap",)
"""Formats that keep each stream apart, at its own rate: a source that is preferred to those with one table."""
_FILLED = ("wav", "flac")
"""Formats without room for a gap."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Out of which format which other one can be made."""

    source: str
    wanted: str


def recipe(has: Sequence[str], wanted: Sequence[str]) -> Recipe | None:
    """What can be made for a target that takes the formats `wanted`, of a capture that has others; None: nothing.

    Pictures become nothing else; a format whose extra is not installed neither is made nor read.
    """
    sources = sorted(filter(_of_samples, has), key=lambda name: name not in _APART)
    for name in wanted:
        if sources and name not in has and _of_samples(name):
            return Recipe(sources[0], name)
    return None


def needed(capture: Capture, wanted: Sequence[str]) -> Recipe | None:
    """What has to be made of a capture for a target that takes `wanted`; None where it has one of these, or none can
    be made."""
    has = [payload.format for payload in capture.payloads]
    return None if not wanted or set(wanted) & set(has) else recipe(has, wanted)


@contextlib.contextmanager
def made(
    capture: Capture, how: Recipe, scratch: Path, breathe: Callable[[], None]
) -> Iterator[tuple[Capture, dict[str, Any]]]:
    """The capture with the payload that was made, in a folder below `scratch` that is gone afterwards, and what the
    receipt should say of it.

    Takes as much memory as a chunk of rows, and on the disk what the samples take twice. The same capture gives the
    same bytes each time. Refused where it cannot be made; Failed where the disk cannot read or take it.
    """
    (source, *_) = (payload for payload in capture.payloads if payload.format == how.source)
    for _ in verified(capture, source, _CHUNK):
        breathe()
    try:
        scratch.mkdir(mode=0o750, parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=scratch))
    except OSError as error:
        raise Failed(f"{how.wanted} cannot be made of {source.file}: {error.strerror}") from None
    try:
        try:
            payload = _payload(capture, source, how.wanted, work, breathe)
        except Unfit as error:
            raise Refused(f"{how.wanted} cannot be made of {source.file}: {error}") from None
        except ValueError as error:
            raise Refused(f"{source.file} cannot be read back as samples: {error}") from None
        except OSError as error:
            raise Failed(f"{how.wanted} cannot be made of {source.file}: {error.strerror or error}") from None
        document = {**capture.document, "payloads": [dataclasses.asdict(payload)]}
        said = {"file": payload.file, "size": payload.size, "sha256": payload.sha256, "of": source.file}
        yield Capture(work / capture.folder.name, document), said | _loss(capture, how)
    finally:
        shutil.rmtree(work, ignore_errors=True)  # what is left is gone with the next start


def promised(capture: Capture, how: Recipe, said: Mapping[str, Any]) -> Payload | None:
    """What `made` gives, without making it: by what a receipt `said` of it, else of unknown size (-1) and hash; None
    where it was something else that was made."""
    file = f"{capture.name}{_format(how.wanted).suffix}"
    if said.get("file", file) != file:
        return None
    return Payload(file, how.wanted, "", int(said.get("size", -1)), str(said.get("sha256", "")), "", None)


def _payload(capture: Capture, source: Payload, wanted: str, work: Path, breathe: Callable[[], None]) -> Payload:
    film = _film(capture, source, work / "samples", breathe)
    form = _format(wanted)
    folder = work / capture.folder.name  # of the same name, because targets know the date by it
    folder.mkdir()
    path = folder / f"{capture.name}{form.suffix}"
    form.develop(film, path, breathe)
    film.path.unlink()
    return Payload.of(path, format=wanted, media_type=form.media_type, breathe=breathe)


def _film(capture: Capture, source: Payload, path: Path, breathe: Callable[[], None]) -> Film:
    """A film of the samples in a payload, through a negative at `path`: just what the developer begins with."""
    streams: list[StreamDocument] = [stream for stream in capture.document["streams"] if stream["channels"]]
    if not streams:
        raise ValueError("its sidecar tells of no channels")
    if source.format in _APART or len(streams) == 1:
        return Film.scan(_negative(capture, source, path, streams, breathe), breathe)
    lead = lead_of(capture)
    recorded = {channel.name: channel for stream in streams for channel in channels_of(stream)}
    slower = {channel.name for stream in streams if stream is not lead for channel in channels_of(stream)}
    channels = [{**c, "dtype": "<f8"} if c["name"] in slower else c for s in streams for c in s["channels"]]
    film = _Table.scan(_negative(capture, source, path, [{**lead, "channels": channels}], breathe), breathe)
    apart = dataclasses.replace(film.lead)  # formats know by its track which column may be empty
    film.columns = tuple(
        dataclasses.replace(column, channel=recorded[column.name], track=apart) if column.name in slower else column
        for column in film.columns
    )
    film.settle(breathe)
    return film


class _Table(Film):
    """A film of one table, in whose negative the columns of slower streams are float64, NaN where they were empty."""

    def settle(self, breathe: Callable[[], None]) -> None:
        """Gives columns of slower streams the type they were recorded with, unless they are integers that were
        interpolated."""
        interpolated: set[str] = set()
        for rows in super().rows():
            for column, values in zip(self.columns, rows.columns, strict=True):
                whole = np.dtype(column.channel.dtype).kind in "iu" and column.track is not self.lead
                if whole and (np.isfinite(values) & (values != np.rint(values))).any():
                    interpolated.add(column.name)
            breathe()
        self.columns = tuple(
            dataclasses.replace(column, dtype="<f8" if column.name in interpolated else column.channel.dtype)
            for column in self.columns
        )

    def rows(self) -> Iterator[Rows]:
        for rows in super().rows():
            columns: list[npt.NDArray[Any]] = []
            present: list[npt.NDArray[np.bool_] | None] = []
            for column, values in zip(self.columns, rows.columns, strict=True):
                there = None if column.track is self.lead else ~np.isnan(values)
                columns.append(values if there is None else np.where(there, values, 0.0).astype(column.dtype))
                present.append(None if there is None or there.all() else there)
            yield dataclasses.replace(rows, columns=tuple(columns), present=tuple(present))


def _negative(
    capture: Capture, source: Payload, path: Path, streams: Sequence[StreamDocument], breathe: Callable[[], None]
) -> Path:
    """The samples of a payload as a negative of these streams."""
    identities = [_identity(stream) for stream in streams]
    places = {frozenset(identity.dtype.names or ()): place for place, identity in enumerate(identities)}
    negative = NegativeWriter(path, _head(capture, streams, identities))
    try:
        for block in _format(source.format).read(capture.path(source), capture):
            names = block.samples.dtype.names or ()
            if frozenset(names) not in places:
                raise ValueError(f"it has the columns {', '.join(names)}")
            place = places[frozenset(names)]
            rate = streams[place]["rate_hz"]
            for piece in _pieces(block, identities[place].dtype, 1e9 / (rate["measured"] or rate["nominal"] or 1.0)):
                negative.write(place, piece)
            negative.flush()
            breathe()
        negative.finish({"reason": "", "ranges": [_range(stream) for stream in streams]})
    finally:
        negative.close()
    return path


def _pieces(block: Block, dtype: np.dtype[np.void], period_ns: float) -> Iterator[Block]:
    """A block as many small ones, from whose times the rate is found again."""
    for at in range(0, len(block.samples), _PIECE):
        part = block.samples[at : at + _PIECE]
        samples = np.empty(len(part), dtype)
        for name in dtype.names or ():
            samples[name] = part[name]
        samples.flags.writeable = False
        first, newest = block.first + at, block.first + at + len(part) - 1
        observed_ns = block.observed_ns - round((block.newest - newest) * period_ns)
        yield Block(first, samples, observed_ns, newest, 0 if at else block.lost, block.exact)


def _identity(stream: StreamDocument) -> Identity:
    return Identity(stream["model"], stream["rate_hz"]["nominal"], channels_of(stream), {}, stream["serial"])


def _range(stream: StreamDocument) -> tuple[int, int]:
    """Its indexes in the capture, those included that were lost."""
    return min([int(stream["first"]), *(int(gap["first"]) for gap in stream["gaps"])]), end_of(stream)


def _head(capture: Capture, streams: Sequence[StreamDocument], identities: Sequence[Identity]) -> dict[str, Any]:
    document = capture.document
    kept = ("uuid", "name", "recording", "configuration", "device", "software", "labels", "metadata")
    start = document["start"]
    wall = datetime.datetime.fromisoformat(start["wall_time"])
    wall_ns = (wall - _EPOCH) // datetime.timedelta(microseconds=1) * 1000
    return {
        **{name: document[name] for name in kept},
        "settings": {"fill": "hold"},
        "started": {**start, "wall_ns": wall_ns},
        "streams": [
            {"name": stream["name"], "driver": stream["driver"], "identity": identity_as_json(identity)}
            for stream, identity in zip(streams, identities, strict=True)
        ],
    }


def _loss(capture: Capture, how: Recipe) -> dict[str, str]:
    """What the made payload does not tell of what was recorded."""
    lost = []
    if how.wanted in _FILLED and lead_of(capture)["gaps"]:
        lost.append("where samples were lost, the one before is repeated")
    if how.source not in _APART and sum(bool(stream["channels"]) for stream in capture.document["streams"]) > 1:
        lost.append("slower streams have the rate of the fastest")
    return {"loss": "; ".join(lost)} if lost else {}


def _of_samples(name: str) -> bool:
    """Whether a format is there, and one of samples, which can be made and read back."""
    try:
        module = format_module(name)
        module.Settings()
    except (LookupError, SettingsError):
        return False
    return not getattr(module, "PICTURES", False)


def _format(name: str) -> Format:
    form: Format = format_module(name).Settings().open()
    return form
