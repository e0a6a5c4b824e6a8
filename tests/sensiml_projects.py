"""What is in one project of a SensiML server: its rules and its traps."""

import datetime
import re
import urllib.parse
import uuid
from typing import Any

from tests.receiver import Request
from tests.sensiml_files import Bad, fields_of, read_csv, read_wav

NAMES, VALUES = r"[a-zA-Z0-9_ ]*", r"[a-zA-Z0-9_ .:-]*"
UNIQUE = "The fields {} must make a unique set."
CAPTURE = (
    "uuid created_at last_modified last_modified_video version name file_size task_state task_result "
    "calculated_sample_rate max_sequence set_sample_rate number_samples"
).split()


class Refusal(Exception):
    """An answer that is no 2xx."""

    def __init__(self, answers: int, /, **document: Any) -> None:
        self.status, self.document = answers, document


def invalid(data: Any) -> Refusal:
    return Refusal(400, status=400, detail="Request failed validation", data=data)


def crash(text: str) -> Refusal:
    return Refusal(500, status=500, detail=text)


def missing() -> Refusal:
    return Refusal(404, status=404, detail="Not found.")


def named(document: dict[str, Any], allowed: str, there: Any, fields: str, longest: int = 200) -> None:
    name = str(document.get("name", "")).strip()  # as the server's framework does
    if not name:
        raise invalid({"name": ["This field may not be blank."]})
    if not re.fullmatch(allowed, name) or len(name) > longest:
        raise invalid({"name": [f'Value "{name}" can only contain letters, numbers and underscores.']})
    if any(other["name"] == name for other in there):
        raise invalid({"non_field_errors": [UNIQUE.format(fields)]})


class Project:
    """One project, its captures with their files, configurations, names with their values, and sessions."""

    def __init__(self, server: Any, name: str) -> None:
        self.server = server
        self.deleted = False
        self.facts: dict[str, Any] = {
            "uuid": str(uuid.uuid4()),
            "name": name,
            "capture_sample_schema": None,
            "settings": None,
            "optimized": True,
            "plugin_config": None,
            "lock_schema": False,
            **dates(),
        }
        self.captures: dict[str, dict[str, Any]] = {}
        self.configurations: dict[str, dict[str, Any]] = {}
        self.names: dict[str, dict[str, Any]] = {}
        self.segmenters: dict[int, dict[str, Any]] = {}

    def shown(self) -> dict[str, Any]:
        return dict(self.facts)

    def answer(self, method: str, rest: list[str], what: tuple) -> tuple[int, Any]:
        """Status and answer to a request below `project/<uuid>/`."""
        _, _, document, query = what
        match [method, *rest]:
            case ["GET"]:
                return 200, self.shown()
            case ["PATCH"]:
                self.facts.update(document)
                return 200, self.shown()
            case ["DELETE"]:
                if any(c["file"] is None for c in self.captures.values()):
                    raise crash("TypeError: stat: path should be string, bytes, os.PathLike or integer, not NoneType")
                self.deleted = True
                return 204, None
            case ["GET", "captureconfiguration"]:
                return 200, paged(list(self.configurations.values()), query)
            case ["POST", "captureconfiguration"]:
                return 201, self._new_configuration(document)
            case ["GET" | "DELETE" as verb, "captureconfiguration", identity]:
                if identity not in self.configurations:
                    raise missing()
                if verb == "GET":
                    return 200, self.configurations[identity]
                del self.configurations[identity]
                for capture in self.captures.values():
                    capture["configuration"] = (
                        capture["configuration"] if capture["configuration"] != identity else None
                    )
                return 204, None
            case ["GET", "segmenter"]:
                return 200, list(self.segmenters.values())
            case ["POST", "segmenter"]:
                named(document, r".*", self.segmenters.values(), "name, project")
                number = len(self.segmenters) + 1
                self.segmenters[number] = {"id": number, **document}
                return 201, self.segmenters[number]
            case ["GET", "metadata" | "label" as kind]:
                known = [n for n in self.names.values() if n["metadata"] == (kind == "metadata")]
                return 200, [{**n, "label_values": list(n["label_values"].values())} for n in known]
            case ["POST", "metadata" | "label" as kind]:
                return 201, self._new_name(kind, document)
            case [_, "metadata" | "label", identity, "labelvalue"] if identity not in self.names:
                raise missing()
            case ["GET", "metadata" | "label", identity, "labelvalue"]:
                return 200, list(self.names[identity]["label_values"].values())
            case ["POST", "metadata" | "label", identity, "labelvalue"]:
                return 201, self._new_value(self.names[identity], document)
            case [_, "capture", *more]:
                return self._capture(method, more, what)
        raise Refusal(404)

    def _new_configuration(self, document: dict[str, Any]) -> dict[str, Any]:
        there, configuration = self.configurations, document.get("configuration")
        if document.get("uuid") in there:
            raise invalid({"non_field_errors": [UNIQUE.format("project, uuid")]})
        named(document, r".*", there.values(), "name, project", 255)
        if configuration and configuration.get("version", 1) == 1:
            try:
                for sensor in (s for source in configuration["capture_sources"] for s in source["sensors"]):
                    for parameter in sensor["parameters"]:
                        parameter["num_bytes"] = 1
            except KeyError as error:
                raise crash(f"KeyError: {error}") from None
            configuration["version"] = 2
        made = {"uuid": document.get("uuid") or str(uuid.uuid4()), "name": document["name"], **dates()}
        there[made["uuid"]] = made | {"configuration": configuration}
        return there[made["uuid"]]

    def _new_name(self, kind: str, document: dict[str, Any]) -> dict[str, Any]:
        for needed in ("name", "type", "metadata"):
            if needed not in document:
                raise invalid({needed: ["This field is required."]})
        named(document, NAMES, self.names.values(), "name, project", 64)
        name = {"uuid": str(uuid.uuid4()), "label_values": {}, **document, **dates()}
        name |= {"name": document["name"].strip(), "metadata": kind == "metadata"}
        self.names[name["uuid"]] = name
        return {**name, "label_values": []}

    def _new_value(self, name: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
        value = document["value"].strip()
        values = [{"name": v["value"]} for v in name["label_values"].values()]
        named({"name": value}, VALUES, values, "label, value", 64)
        if not re.fullmatch(r"#([0-9a-fA-F]{6}|[A-Fa-f0-9]{8})", document["color"]):
            raise invalid({"color": [f'"{document["color"]}" is not a valid color.']})
        made = {"uuid": str(uuid.uuid4()), "value": value, "color": document["color"], **dates()}
        name["label_values"][made["uuid"]] = made
        return made

    # captures

    def _capture(self, method: str, rest: list[str], what: tuple) -> tuple[int, Any]:
        request, content, document, query = what
        captures = self.captures
        match [method, *rest]:
            case ["GET"]:
                return 200, paged([self._shown(c, detail=True) for c in captures.values()], query)
            case ["POST"]:
                return 201, self._new_capture(request, content)
            case [_, identity, *_] if identity not in captures:
                raise missing()
        capture = captures[rest[0]]
        match [method, *rest[1:]]:
            case ["GET"]:
                return 200, self._shown(capture, detail=True)
            case ["PUT"]:
                capture.update({**(document or {}), "file": None})  # the link to the data is gone for good
                return 200, self._shown(capture)
            case ["PATCH"]:
                capture.update(document or {})
                return 200, self._shown(capture)
            case ["DELETE"]:
                if capture["file"] is None:
                    raise crash("TypeError: stat: path should be string, bytes, os.PathLike or integer, not NoneType")
                return 204, captures.pop(rest[0]) and None
            case ["GET", "file"]:
                if capture["file"] is None:
                    raise missing()
                return 200, capture["file"]
            case ["GET" | "POST" | "PUT" as verb, "metadata-relationship" | "label-relationship" as kind]:
                return self._relations(capture, verb, (kind, document))
            case ["DELETE", "label-relationship", relation]:
                return 204, capture["label-relationship"].pop(relation) and None
        raise Refusal(404)

    def _shown(self, capture: dict[str, Any], *, detail: bool = False) -> dict[str, Any]:
        state = self.server.task_states.popleft() if self.server.task_states else None
        shown = {key: capture.get(key) for key in CAPTURE} | {"task_state": state}
        return shown | ({"capture_configuration_uuid": capture["configuration"]} if detail else {})

    def _new_capture(self, request: Request, content: bytes) -> dict[str, Any]:
        fields, file = fields_of(request.headers.get("content-type", ""), content) if self.server.keep else ({}, None)
        if not self.server.keep:  # big ones, of which only a hash is left
            fields, file = {"name": content.decode()}, ("x.csv", b"")
        name = fields.get("name", "")
        lacking = {"name": ["This field is required."]} if not name else {}
        lacking |= {"file": ["No file was submitted."]} if file is None else {}
        if lacking or file is None:
            raise invalid(lacking)
        taken = any(c["name"] == name for c in self.captures.values())
        if taken and self.server.blind:
            self.server.blind -= 1
            raise crash(
                'IntegrityError: duplicate key value violates unique constraint "datamanager_capture_name_project_id_1"'
            )
        if taken:
            raise invalid({"name": [f"Project already contains a file with the name {name}"]})
        if "." in fields.get("set_sample_rate", ""):
            raise invalid({"set_sample_rate": ["A valid integer is required."]})
        configuration = fields.get("capture_configuration_uuid")
        if configuration and configuration not in self.configurations:
            raise crash("DoesNotExist: CaptureConfiguration matching query does not exist.")
        suffix = file[0][file[0].rfind(".") :]
        if suffix not in (".csv", ".wav"):
            raise invalid([f"Extension {suffix} is not allowed."])
        if len(name) > 250:
            raise crash("DataError: value too long for type character varying(250)")
        stored, samples, last, schema = file[1], None, None, {}
        if self.server.keep:
            try:
                stored, samples, last, schema = (read_csv if suffix == ".csv" else read_wav)(file[1])
            except Bad as bad:
                raise bad.refusal(crash, Refusal) from None
        self._fit_schema(schema)
        capture = {
            "uuid": str(uuid.uuid4()),
            "name": name,
            "file": stored,
            "file_size": len(file[1]),
            "version": 0,
            "number_samples": samples,
            "max_sequence": last,
            "task_result": None,
            "last_modified_video": None,
            **{key: fields.get(key) for key in ("calculated_sample_rate", "set_sample_rate")},
            "configuration": configuration,
            "fields": fields,
            "metadata-relationship": {},
            "label-relationship": {},
            **dates(),
        }
        self.captures[capture["uuid"]] = capture
        return self._shown(capture)

    def _fit_schema(self, schema: dict[str, Any]) -> None:
        known = {**(self.facts["capture_sample_schema"] or {}), **schema}
        if self.facts["lock_schema"] and self.facts["capture_sample_schema"] and sorted(known) != sorted(schema):
            raise invalid([f"Uploaded file does not match project schema {sorted(known)}."])
        self.facts["capture_sample_schema"] = known

    def _relations(self, capture: dict[str, Any], verb: str, what: tuple) -> tuple[int, Any]:
        kind, document = what
        there = capture[kind]
        if verb == "GET":
            return 200, list(there.values())
        sent = document if isinstance(document, list) else [document]
        for item in sent:
            name = self.names.get(item["label"])
            if name is None or item["label_value"] not in name["label_values"]:
                raise invalid([{"label_value": ["LabelValue matching query does not exist."]}])
            if kind == "label-relationship":
                if item["segmenter"] not in (None, *self.segmenters):
                    raise invalid([{"segmenter": [f'Invalid pk "{item["segmenter"]}" - object does not exist.']}])
                start, end = item["capture_sample_sequence_start"], item["capture_sample_sequence_end"]
                if start < 0 or end <= start or (capture["max_sequence"] is not None and end > capture["max_sequence"]):
                    raise invalid([{"non_field_errors": ["Capture sample sequence end ..."]}])
            elif verb == "POST" and any(other["label"] == item["label"] for other in there.values()):
                raise invalid(['duplicate key value violates unique constraint "..." DETAIL: (capture_id, label_id)'])
        if verb == "PUT" and kind == "metadata-relationship":
            # taken in the order of the database, whatever order they were sent in
            sent = [{**item, "uuid": own} for item, own in zip(sent, reversed([i["uuid"] for i in sent]), strict=True)]
        made = [{"capture": capture["uuid"], **item, "uuid": item.get("uuid") or str(uuid.uuid4())} for item in sent]
        there.update({item["uuid"]: item for item in made})
        return (201 if verb == "POST" else 200), made


def paged(items: list[Any], query: str) -> Any:
    """Only `limit` and `offset` are known; anything else, a name to search for, is ignored."""
    asked = {k: int(v[0]) for k, v in urllib.parse.parse_qs(query).items() if k in ("limit", "offset")}
    if "limit" not in asked:
        return items
    first = asked.get("offset", 0)
    page = items[first : first + asked["limit"]]
    return {"count": len(items), "next": None, "previous": None, "results": page}


def dates() -> dict[str, str]:
    now = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    return {"created_at": now, "last_modified": now}
