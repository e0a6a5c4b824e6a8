"""One project of SensiML: found or made, and in it configurations, names with their values, and the session."""

import re
import threading
from collections.abc import Mapping
from typing import Any

from agent.targets import Refused
from agent.targets._sensiml_api import TAKEN, Api, meaning, wrong
from agent.targets._sensiml_configuration import version_3

LONGEST = 64
"""Characters of a name, and of a value."""
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_ ]")
_NOT_IN_VALUES = re.compile(r"[^A-Za-z0-9_ .:-]")


def plain_name(text: str) -> str:
    """`text` as the name of a label or of metadata: other characters become `_`."""
    return _NOT_IN_NAMES.sub("_", text)[:LONGEST].strip()


def plain_value(value: Any) -> str:
    """A label's or metadata's value as the server takes it."""
    text = str(value)
    if isinstance(value, bool):
        text = text.lower()
    elif isinstance(value, float):
        text = text.replace("+", "")  # 1e+16 is 1e16
    return _NOT_IN_VALUES.sub("_", text)[:LONGEST].strip()


class Project:
    """What is there is asked once and remembered; what is missing is made, by one thread at a time.

    Other devices make the same things at the same time: "there already" is then as good as "made".
    """

    def __init__(self, api: Api, name: str) -> None:
        self._api = api
        self._name = name
        self._lock = threading.RLock()
        self._uuid = ""
        self._configurations: set[str] = set()
        self._names: dict[str, dict[str, tuple[str, dict[str, str]]]] = {}
        self._sessions: dict[str, int] = {}

    def forget(self) -> None:
        """Something is not there any more: everything is to be asked anew."""
        with self._lock:
            self._uuid = ""
            self._configurations.clear()
            self._names.clear()
            self._sessions.clear()

    def found(self) -> str:
        """The project's uuid; empty where there is none. The server cannot search: all projects are listed."""
        uuids = [""]

        def keep(item: dict[str, Any]) -> None:
            if item["name"] == self._name:
                uuids.append(str(item["uuid"]))

        self._api.each("project/", keep)
        return uuids[-1]

    @property
    def path(self) -> str:
        """`project/<uuid>/`, found or made."""
        with self._lock:
            if not self._uuid:
                self._uuid = self.found() or self._made("project/", {"name": self._name}, "uuid") or self.found()
            if not self._uuid:
                raise Refused(f"there is no project {self._name!r} to be seen, and one of this name cannot be made")
            return f"project/{self._uuid}/"

    def configuration(self, document: Mapping[str, Any]) -> str:
        """The uuid of a sidecar's `configuration`, which is there when this returns: the one that it has everywhere."""
        uuid = str(document["uuid"])
        with self._lock:
            if uuid not in self._configurations:
                path = f"{self.path}captureconfiguration/"
                answer, _ = self._api.ask("GET", f"{path}{uuid}/")
                if answer.status == 404:
                    if not self._made(path, version_3(document), "uuid"):
                        answer, _ = self._api.ask("GET", f"{path}{uuid}/")
                        meaning(answer)
                else:
                    meaning(answer)
                self._configurations.add(uuid)
        return uuid

    def value(self, kind: str, name: str, value: str) -> tuple[str, str]:
        """The uuids of a name and of one of its values; `kind` is label or metadata.

        Refused where the project knows the name as the other kind.
        """
        with self._lock:
            names = self._names.get(kind) or self._listed(kind)
            if name not in names:
                # always of strings: the platform's own client breaks on the other types that the server knows
                fields = {"name": name, "type": "string", "is_dropdown": False, "metadata": kind == "metadata"}
                self._made(f"{self.path}{kind}/", fields, "uuid")
                names = self._listed(kind)
            if name not in names:
                other = "label" if kind == "metadata" else "metadata"
                raise Refused(f"{kind} {name!r}: this project has a {other} of that name, and names are unique there")
            uuid, values = names[name]
            if value not in values:
                self._made(f"{self.path}{kind}/{uuid}/labelvalue/", {"value": value, "color": _colour(value)}, "uuid")
                values = self._listed(kind)[name][1]
            if value not in values:
                raise Refused(f"{kind} {name!r}: the server does not keep the value {value!r}")
            return uuid, values[value]

    def session(self, name: str, *, make: bool = True) -> int | None:
        """The number of the session called `name`, found or made; None where there is none and none is to be made."""
        with self._lock:
            if name not in self._sessions:
                path = f"{self.path}segmenter/"

                def keep(item: dict[str, Any]) -> None:
                    self._sessions.setdefault(str(item["name"]), int(item["id"]))

                self._api.each(path, keep)
                if name not in self._sessions and not make:
                    return None
                if name not in self._sessions:
                    self._made(path, {"name": name, "custom": True, "parameters": None, "preprocess": None}, "id")
                    self._api.each(path, keep)
            if name not in self._sessions:
                raise wrong("list of sessions")
            return self._sessions[name]

    def _listed(self, kind: str) -> dict[str, tuple[str, dict[str, str]]]:
        names: dict[str, tuple[str, dict[str, str]]] = {}

        def keep(item: dict[str, Any]) -> None:
            values = {str(value["value"]): str(value["uuid"]) for value in item["label_values"]}
            names[str(item["name"])] = (str(item["uuid"]), values)

        self._api.each(f"{self.path}{kind}/", keep)
        self._names[kind] = names
        return names

    def _made(self, path: str, fields: Mapping[str, Any], key: str) -> str:
        """What the server calls the new thing; empty where it is there already."""
        answer, made = self._api.ask("POST", path, fields)
        if answer.status in (400, 500) and TAKEN.search(answer.text):
            return ""
        meaning(answer)
        match made:
            case {**more} if key in more:
                return str(more[key])
        raise wrong("new object")


def _colour(value: str) -> str:
    """A colour that a value has everywhere."""
    number = sum((at + 1) * ord(letter) for at, letter in enumerate(value)) * 2654435761 % (1 << 24)
    return f"#{number:06X}"
