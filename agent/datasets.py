"""Datasets: named groups of captures, such as what a model is trained with; in the database alone."""

from collections.abc import Iterable

from agent.database import Database


class Datasets:
    """A group is there while it has a capture that is here. For any thread, also of other processes.

    No sidecar tells of them: a group of thousands would be thousands of revisions. A database that is made anew has
    none; `capture-agent datasets show --json` prints what `datasets add` takes back.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def names(self) -> dict[str, tuple[int, int]]:
        """{name: (captures, bytes)} of all groups."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT name, count(*), sum(size) FROM (SELECT dataset.name, size FROM dataset"
                " JOIN capture ON capture.id = dataset.capture WHERE deleted = 0) GROUP BY name ORDER BY name"
            ).fetchall()
        return {name: (captures, size) for name, captures, size in rows}

    def add(self, name: str, captures: Iterable[str]) -> int:
        """Adds captures (uuids) to a group, and makes it where there is none; how many were not in it. LookupError
        where one is not here, and then none is added."""
        if not name or not name.isprintable():
            raise ValueError("a dataset has a name that can be printed")
        added = 0
        with self._database.transaction(durable=True) as connection:
            for uuid in captures:
                row = connection.execute("SELECT id FROM capture WHERE uuid = ? AND deleted = 0", (uuid,)).fetchone()
                if row is None:
                    raise LookupError(f"no capture {uuid} is here")
                added += connection.execute(
                    "INSERT INTO dataset VALUES (?, ?) ON CONFLICT DO NOTHING", (name, row[0])
                ).rowcount
        return added

    def remove(self, name: str, captures: Iterable[str] | None = None) -> int:
        """Takes captures (uuids; None: all of them) out of a group; how many were in it. The captures stay."""
        with self._database.transaction(durable=True) as connection:
            if captures is None:
                return connection.execute("DELETE FROM dataset WHERE name = ?", (name,)).rowcount
            sql = "DELETE FROM dataset WHERE name = ? AND capture = (SELECT id FROM capture WHERE uuid = ?)"
            return connection.executemany(sql, [(name, uuid) for uuid in captures]).rowcount
