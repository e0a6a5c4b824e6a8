"""What platforms' own clients offer, locally: values, datasets, series, thumbnails, deletion; and docs/catalogue.md."""

import csv
import doctest
import io
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from agent import schema
from agent.capture import Capture
from agent.catalogue import Catalogue, Query
from agent.cli.tree import cli
from agent.clock import iso
from agent.database import Database
from agent.thumbnails import thumbnail
from tests.captures import make_capture
from tests.recorded import SECOND, STARTED_NS, make_data_folder, run

DOCS = Path(__file__).parents[1] / "docs" / "catalogue.md"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data_folder(tmp_path / "data")


def listed(data: Path, *filters: str) -> list[dict]:
    found: list[dict] = json.loads(run("captures", "list", "--json", *filters, "--data", data).output)
    return found


def test_the_examples_of_the_documentation_run(data: Path) -> None:
    tests = doctest.DocTestParser().get_doctest(DOCS.read_text(), {"data_dir": data}, DOCS.name, str(DOCS), 0)
    said: list[str] = []
    assert tests.examples
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False).run(tests, out=said.append)
    assert not result.failed, "".join(said)


def test_names_and_values_are_counted(data: Path) -> None:
    found = json.loads(run("captures", "values", "metadata", "--json", "--data", data).output)
    assert found == {"subject": {"7": 3}}
    assert "walking" in run("captures", "values", "labels", "--data", data).output
    assert "No capture has tags" in run("captures", "values", "tags", "--data", data).output


def test_datasets_are_groups_that_captures_leave_when_they_are_forgotten(data: Path) -> None:
    here = ("--data", data)
    assert "2 captures were added" in run("datasets", "add", "moving", "--recording", "walk", *here).output
    assert "0 captures were added" in run("datasets", "add", "moving", "--recording", "walk", *here).output
    rest = listed(data, "--recording", "rest")[0]
    run("datasets", "add", "moving", rest["name"], *here)
    run("datasets", "remove", "moving", rest["uuid"][:8], *here)
    assert {entry["recording"] for entry in listed(data, "--dataset", "moving")} == {"walk"}
    kept = run("datasets", "show", "moving", "--json", *here).output
    assert "2 captures were taken out" in run("datasets", "remove", "moving", "--all", *here).output
    assert "There is no dataset" in run("datasets", "list", *here).output
    result = CliRunner().invoke(cli, ["datasets", "add", "moving", "-", "--data", str(data)], input=kept)
    assert result.exit_code == 0, result.output
    assert json.loads(run("datasets", "list", "--json", *here).output)["moving"]["captures"] == 2
    run("datasets", "add", "other", *here, code=2)
    with Database(data / "agent.db") as database:
        catalogue = Catalogue(database, data / "captures")
        with pytest.raises(LookupError, match="no capture"):
            catalogue.datasets.add("moving", [rest["uuid"], "nothing"])
        assert len(list(catalogue.find(Query(dataset="moving")))) == 2, "all or none"
        catalogue.delete([entry["uuid"] for entry in listed(data)])
        assert catalogue.datasets.names() == {}
        assert catalogue.forget(0) == 3
        with database.reading() as connection:
            assert connection.execute("SELECT count(*) FROM dataset").fetchone() == (0,)


def test_an_older_database_gets_datasets(tmp_path: Path) -> None:
    old, new = (sqlite3.connect(tmp_path / name, isolation_level=None) for name in ("old", "new"))
    schema.create(new, "")
    schema.create(old, "")
    old.execute("DROP TABLE dataset")
    old.execute("PRAGMA user_version = 2")
    schema.upgrade(old)
    said = "SELECT name, sql FROM sqlite_schema ORDER BY name"
    assert old.execute(said).fetchall() == new.execute(said).fetchall()
    old.close()
    new.close()


def series(data: Path, *options: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(run("captures", "series", *options, "--data", data).output)))


def test_series_are_what_was_measured_in_a_range_of_time(data: Path) -> None:
    since, until = iso(STARTED_NS + 3 * SECOND), iso(STARTED_NS + 3600 * SECOND + SECOND)
    found = series(data, "--since", since, "--until", until, "--channel", "AccelerometerX")
    captures = sorted({row["capture"] for row in found})
    assert [sum(row["capture"] == capture for row in found) for capture in captures] == [100, 100], "one began before"
    assert found[0]["unit"] == "g"
    assert since <= found[0]["time"] and found[-1]["time"] < until
    times = [row["time"] for row in found]
    assert times == sorted(times)
    assert abs(float(found[0]["value"]) - 4000 * np.sin(300 / 20) / 4096) < 0.001


def test_series_are_thinned_to_means_without_what_is_missing(data: Path) -> None:
    found = series(data, "--recording", "rest", "--channel", "GyroscopeX", "--every", "0.5")
    assert len(found) == 7, "half a second is missing"
    with_values = [float(row["value"]) for row in found]
    assert not np.isnan(with_values).any()
    assert series(data, "--stream", "mcu") == []


def test_thumbnails_are_small_pictures(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    run("captures", "thumbnail", listed(data)[0]["uuid"], "-o", path, "--data", data)
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (160, 64))
        assert len(image.convert("RGB").getcolors(100_000) or ()) > 3, "curves in several colours"
    large = io.BytesIO()
    Image.new("RGB", (640, 480), "red").save(large, "JPEG")
    picture = make_capture(tmp_path, large.getvalue(), kind=("jpeg", "image/jpeg", ".jpg"))
    content, media_type = thumbnail(picture, 100)
    with Image.open(io.BytesIO(content)) as image:
        assert (media_type, image.size) == ("image/jpeg", (100, 75))


def test_deletion_asks_and_spares_what_is_owed(data: Path) -> None:
    here = ("--data", data)
    first, second, third = (entry["name"] for entry in reversed(listed(data)))
    run("captures", "delete", *here, code=2)
    assert "nothing to delete" in run("captures", "delete", second, third, *here).output
    refused = CliRunner().invoke(cli, ["captures", "delete", "--recording", "walk", "--data", str(data)], input="n\n")
    assert refused.exit_code == 1 and "Delete 1 captures" in refused.output
    assert len(listed(data)) == 3
    said = run("captures", "delete", "--until", "2200-01-01", "--yes", *here).output
    assert "2 are still owed" in said and "1 captures" in said
    assert [entry["name"] for entry in listed(data)] == [third, second]
    assert not list((data / "captures").rglob(f"{first}.*"))
    run("captures", "delete", "--label", "activity=lying", "--owed", "--yes", *here)
    assert [entry["name"] for entry in listed(data)] == [second]
    counts = json.loads(run("outbox", "list", "--json", *here).output)["counts"]["lab"]
    assert (counts["dropped"], counts["owed"], counts["delivered"]) == (1, 1, 1)
    left = [Capture.load(path) for path in (data / "captures").rglob("*.json")]
    assert [capture.name for capture in left] == [second] and not left[0].damage()
