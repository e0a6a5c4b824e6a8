"""A query: what may be asked of the catalogue, and what it answers with."""

import dataclasses
from collections.abc import Sequence

Scalar = str | int | float | bool


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One row of the catalogue."""

    uuid: str
    name: str
    recording: str
    day: str
    """Its folder in `captures/`."""
    started_ns: int
    """Unix time of its first sample, as good as `clock` says."""
    boot_id: str
    boot_time_ns: int
    duration_s: float
    size: int
    """Bytes of its payloads."""
    configuration: str
    clock: str
    revision: int
    standing: str
    """owed, delivered, kept (owed to nobody), deleting, or deleted (its files are gone, the row stays)."""

    @property
    def deleted(self) -> bool:
        return self.standing in ("deleting", "deleted")


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """What to look for; what is left out does not matter. Times are Unix nanoseconds, [since_ns, until_ns)."""

    since_ns: int | None = None
    until_ns: int | None = None
    stream: str | None = None
    labels: Sequence[str] = ()
    """`key`, or `key=value`."""
    metadata: Sequence[str] = ()
    tags: Sequence[str] = ()
    dataset: str | None = None
    standing: Sequence[str] = ()
    """One of these; empty: any."""
    lasting_ns: int | None = None
    """Not over before then."""
    name: str | None = None
    """With * and ?, as in a shell."""
    uuid: str | None = None
    """Or its beginning."""
    configuration: str | None = None
    """uuid of the capture configuration, or its beginning."""
    recording: str | None = None
    clock: str | None = None
    boot_id: str | None = None
    deleted: bool = False
    """Whether those whose files are gone are looked for too."""


def where(query: Query) -> tuple[str, list[Scalar]]:
    """The query as (SQL condition on `capture`, its parameters)."""
    terms: list[str] = [] if query.deleted else ["deleted = 0"]
    values: list[Scalar] = []

    def term(sql: str, *given: Scalar | None) -> None:
        if None not in given:
            terms.append(sql)
            values.extend(value for value in given if value is not None)

    term("started_ns >= ?", query.since_ns)
    term("started_ns < ?", query.until_ns)
    term("started_ns + duration_s * 1e9 >= ?", query.lasting_ns)
    term("id IN (SELECT capture FROM dataset WHERE dataset.name = ?)", query.dataset)
    if query.standing:
        term(f"standing IN ({', '.join('?' * len(query.standing))})", *query.standing)
    term("name GLOB ?", query.name)
    term("recording = ?", query.recording)
    term("clock = ?", query.clock)
    term("boot_id = ?", query.boot_id)
    for column, beginning in (("uuid", query.uuid), ("configuration", query.configuration)):
        if beginning is not None:
            term(f"{column} >= ? AND {column} < ?", beginning.lower(), beginning.lower() + "~")
    named: list[tuple[str, str, str | None]] = []
    for kind, texts in (("label", query.labels), ("metadata", query.metadata)):
        for key, equals, value in (text.partition("=") for text in texts):
            named.append((kind, key, value if equals else None))
    named += [("tag", tag, None) for tag in query.tags]
    named += [("stream", query.stream, None)] if query.stream is not None else []
    for kind, key, wanted in named:
        of_value = "" if wanted is None else " AND value = ?"
        term(
            f"EXISTS (SELECT 1 FROM tag WHERE tag.capture = capture.id AND kind = ? AND key = ?{of_value})",  # noqa: S608
            *((kind, key) if wanted is None else (kind, key, wanted)),
        )
    return " AND ".join(terms) or "1", values
