"""Captures at SensiML: brought there once, whatever got lost on the way, waited for, and never overwritten."""

import hashlib
from typing import Any

from agent.targets import Failed, Later, Progress, Refused
from agent.targets._sensiml_api import TAKEN, Api, Gone, meaning, once, wrong
from agent.targets._sensiml_file import Form, Sheet, lead
from agent.targets._transport import Answer

_COMPARED_BYTES = 8 << 20
"""A file of the same name and size is fetched and compared up to this size; a larger one by its number of samples."""
_ERRORS = 8
"""So often the server may fail at a capture without saying why; then it is set aside."""
_POLL_S = (3.0, 300.0)
_POLLS = 200


class Captures:
    """A file that is there is known by its name, and left alone: the PUT that the server offers would lose its data."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def bring(self, sheet: Sheet, configuration: str, path: str, progress: Progress) -> tuple[bool, dict[str, Any]]:
        """Whether the file had to be sent, and the server's object for it, finished."""
        state = progress.state
        if state.get("project") == path:
            answer, there = self._api.ask("GET", f"{path}capture/{state['capture']}/", progress=progress)
            if answer.status != 404:  # else it was deleted there
                meaning(answer)
                self._wait(sheet, _object(there), progress)
                return False, there
        there = None
        if state.get("uncertain") or sheet.capture.revision > 1:
            there = self._named(sheet, path, progress)
        new = there is None
        if there is None:
            there = self._send(sheet, configuration, path, progress)
        if there is None:
            new, there = False, self._named(sheet, path, progress)
            if there is None:
                raise Failed(f"the server says that it has a {sheet.name}, and does not list it")
        self._wait(sheet, there, progress)
        if not new:
            self._compare(sheet, there, path, progress)
            progress.save({"project": path, "capture": there["uuid"]})
        return new, there

    def remove(self, path: str, uuid: str, name: str, progress: Progress) -> None:
        """Deletes a capture of that name, which may be gone. Refused where another is under this uuid, or where its
        content was lost: then the server breaks on deleting it, and on deleting its whole project."""
        at = f"{path}capture/{uuid}/"
        answer, there = self._api.ask("GET", at, progress=progress)
        if answer.status == 404:
            return
        meaning(answer)
        if _object(there).get("name") != name:
            raise Refused(f"what SensiML has under {uuid} is not {name} any more")
        answer, _ = self._api.ask("DELETE", at, progress=progress)
        if answer.status == 404:
            return
        if answer.status == 500 and self._api.ask("GET", f"{at}file/", progress=progress)[0].status == 404:
            raise Refused(
                f"SensiML has lost the content of {name} and cannot delete it: only the server's operator can"
            )
        meaning(answer)

    def _send(self, sheet: Sheet, configuration: str, path: str, progress: Progress) -> dict[str, Any] | None:
        """The server's object for what was sent, and now is ours; None where the name is taken, maybe by this file."""
        form = Form(sheet, configuration)
        try:
            answer, there = self._api.exchange(
                "POST", f"{path}capture/", form.headers, lambda: form.body(progress), progress=progress
            )
            if answer.status in (400, 500) and TAKEN.search(answer.text):
                return None
            if answer.status == 500:
                self._count_error(answer, progress)
            if answer.status == 413:
                raise Refused(f"{answer}; {sheet.name} has {sheet.payload.size} bytes: record shorter captures")
            meaning(answer)
            there = _object(there)
        except (Failed, Later) as error:
            if not isinstance(error, Gone):
                progress.save({"uncertain": True})  # it may have been stored: the next try looks first
            raise
        progress.save({"project": path, "capture": there["uuid"], "samples": form.samples})
        return there

    def _count_error(self, answer: Answer, progress: Progress) -> None:
        """Counts a 500; Refused where there were too many: this server says so of many a client's mistake."""
        try:
            meaning(answer)
        except Gone:
            return
        except Failed:
            errors = int(progress.state.get("errors", 0)) + 1
            progress.save({"errors": errors})
            if errors >= _ERRORS:
                raise Refused(f"{answer}, for the {errors}th time") from None
            raise

    def _wait(self, sheet: Sheet, there: dict[str, Any], progress: Progress) -> None:
        """Returns once the server has read the file. Later while it has not, Refused where it could not, or read
        something else in it."""
        state = there.get("task_state")
        if state in (None, "", "SUCCESS"):
            read, sent = there.get("number_samples"), progress.state.get("samples")
            if None not in (read, sent) and read != sent:
                raise Refused(f"SensiML read {read} samples from {sheet.name}, which has {sent}: delete it there")
            return
        if state in ("FAILURE", "REVOKED"):
            result = there.get("task_result")
            raise Refused(f"SensiML could not read {sheet.name} ({state}: {result}); delete it there, and retry")
        polls = int(progress.state.get("polls", 0)) + 1
        progress.save({"polls": polls})
        if polls > _POLLS:
            raise Failed(f"SensiML has not read {sheet.name} ({state}) after {polls} looks")
        raise Later(f"SensiML reads it ({state})", min(_POLL_S[0] * 1.5 ** (polls - 1), _POLL_S[1]), pending=True)

    def _named(self, sheet: Sheet, path: str, progress: Progress) -> dict[str, Any] | None:
        """The server's object for the file of this name; None where there is none. It cannot search: all are listed."""
        found: list[dict[str, Any]] = []

        def keep(item: dict[str, Any]) -> None:
            if item["name"] == sheet.name:
                found.append(_object(item))

        self._api.each(f"{path}capture/", keep, progress=progress)
        return found[0] if found else None

    def _compare(self, sheet: Sheet, there: dict[str, Any], path: str, progress: Progress) -> None:
        """Returns where the server has this very file. Refused where it has another one of the name."""
        taken = f"{sheet.name}: SensiML has another file of that name ({there['uuid']})"
        if there.get("file_size") != sheet.payload.size:
            raise Refused(f"{taken}, of {there.get('file_size')} bytes instead of {sheet.payload.size}")
        stream = lead(sheet.capture)
        samples = sheet.samples if sheet.samples is not None else stream and stream["samples"]
        if samples and there.get("number_samples") not in (None, samples):
            raise Refused(f"{taken}, with {there['number_samples']} samples instead of {samples}")
        if not sheet.stored_as_sent or sheet.payload.size > _COMPARED_BYTES:
            return
        digest = hashlib.sha256()

        def take(piece: bytes) -> None:
            progress.sent(0)
            digest.update(piece)

        at = f"{path}capture/{there['uuid']}/file/"
        answer = self._api.send("GET", at, {"Content-Length": "0"}, lambda: once(b""), take, progress=progress)
        if 300 <= answer.status < 400:
            return  # it lies on another host, to which our token must not go
        if answer.status == 404:
            raise Refused(f"{taken}, and has lost its content: delete it there, and retry")
        meaning(answer)
        if digest.hexdigest() != sheet.payload.sha256:
            raise Refused(f"{taken}, with other content")


def _object(there: Any) -> dict[str, Any]:
    if isinstance(there, dict) and isinstance(there.get("uuid"), str) and there["uuid"]:
        return there
    raise wrong("capture")
