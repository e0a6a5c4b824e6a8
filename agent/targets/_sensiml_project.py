"""One project of SensiML: found or made, and in it configurations, names with their values, and the session."""

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from agent.targets import Progress, Refused
from agent.targets._alone import alone
from agent.targets._sensiml_api import TAKEN, Api, meaning, wrong
from agent.targets._sensiml_configuration import version_3

LONGEST = 64
"""Characters of a name, and of a value."""
_NAMES, _VALUES = 500, 2000
"""So many names that may not be ours, and so many values, are remembered: a megabyte. Others are asked for again."""
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

    Other devices make the same things at the same time: "there already" is then as good as "made". Each method shows
    life on the `progress` of the delivery that asks.
    """

    def __init__(self, api: Api, name: str) -> None:
        self._api = api
        self._name = name
        self._lock = threading.Lock()
        self._uuid = ""
        self._configurations: set[str] = set()
        self._names: dict[tuple[str, str], str] = {}
        """By kind and name."""
        self._listed: set[str] = set()
        """Kinds whose names were."""
        self._values: OrderedDict[tuple[str, str], str] = OrderedDict()
        """By the name's uuid and value: those that were used last, and others as long as there is room."""
        self._counts: dict[str, int] = {}
        """How many values a name has, by its uuid."""
        self._sessions: dict[str, int] = {}

    def forget(self, progress: Progress) -> None:
        """Something is not there any more: everything is to be asked anew."""
        with alone(self._lock, progress):
            self._uuid = ""
            self._configurations.clear()
            self._names.clear()
            self._listed.clear()
            self._values.clear()
            self._counts.clear()
            self._sessions.clear()

    def found(self, progress: Progress) -> str:
        """The project's uuid; empty where there is none. The server cannot search: all projects are listed."""
        uuids = [""]

        def keep(item: dict[str, Any]) -> None:
            if item["name"] == self._name:
                uuids.append(str(item["uuid"]))

        self._api.each("project/", keep, progress=progress)
        return uuids[-1]

    def path(self, progress: Progress) -> str:
        """`project/<uuid>/`, found or made."""
        with alone(self._lock, progress):
            return self._path(progress)

    def configuration(self, document: Mapping[str, Any], progress: Progress) -> str:
        """The uuid of a sidecar's `configuration`, which is there when this returns: the one that it has everywhere."""
        uuid = str(document["uuid"])
        with alone(self._lock, progress):
            if uuid not in self._configurations:
                path = f"{self._path(progress)}captureconfiguration/"
                answer, _ = self._api.ask("GET", f"{path}{uuid}/", progress=progress)
                if answer.status == 404:
                    if not self._made(path, version_3(document), "uuid", progress):
                        answer, _ = self._api.ask("GET", f"{path}{uuid}/", progress=progress)
                        meaning(answer)
                else:
                    meaning(answer)
                self._configurations.add(uuid)
        return uuid

    def value(
        self, kind: str, pair: tuple[str, str], progress: Progress, *, most: int | None = None
    ) -> tuple[str, str] | None:
        """The uuids of a name and of one of its values; `kind` is label or metadata. None where the value would have to
        be made, and the name has `most` of them.

        Refused where the project knows the name as the other kind.
        """
        name, value = pair
        with alone(self._lock, progress):
            path = f"{self._path(progress)}{kind}/"
            if kind not in self._listed:
                self._list(kind, name, progress)
            label = self._names.get((kind, name)) or self._new_name(kind, name, progress)
            known = self._values.get((label, value))
            if not known and most is not None and self._counts.get(label, 0) >= most:
                return None
            if not known:
                known = self._new_value(f"{path}{label}/labelvalue/", value, progress)
                self._counts[label] = self._counts.get(label, 0) + 1
            if not known:
                raise Refused(f"{kind} {name!r}: the server does not keep the value that it is given")
            self._values[label, value] = known
            self._values.move_to_end((label, value))
            if len(self._values) > _VALUES:
                self._values.popitem(last=False)
            return label, known

    def session(self, name: str, progress: Progress, *, make: bool = True) -> int | None:
        """The number of the session called `name`, found or made; None where there is none and none is to be made."""
        with alone(self._lock, progress):
            if name not in self._sessions:
                path = f"{self._path(progress)}segmenter/"

                def keep(item: dict[str, Any]) -> None:
                    if item["name"] == name:
                        self._sessions.setdefault(name, int(item["id"]))

                self._api.each(path, keep, progress=progress)
                if name not in self._sessions and not make:
                    return None
                if name not in self._sessions:
                    fields = {"name": name, "custom": True, "parameters": None, "preprocess": None}
                    self._made(path, fields, "id", progress)
                    self._api.each(path, keep, progress=progress)
            if name not in self._sessions:
                raise wrong("list of sessions")
            return self._sessions[name]

    def _path(self, progress: Progress) -> str:
        if not self._uuid:
            made = self.found(progress) or self._made("project/", {"name": self._name}, "uuid", progress)
            self._uuid = made or self.found(progress)
        if not self._uuid:
            raise Refused(f"there is no project {self._name!r} to be seen, and one of this name cannot be made")
        return f"project/{self._uuid}/"

    def _list(self, kind: str, wanted: str, progress: Progress) -> None:
        """Asks for names with their values, of which there may be very many: those of things that were measured."""
        values: dict[str, str] = {}
        count = 0

        def keep_value(item: dict[str, Any]) -> None:
            nonlocal count
            count += 1
            if len(values) < _VALUES // 4:
                values[str(item["value"])] = str(item["uuid"])

        def keep(item: dict[str, Any]) -> None:
            nonlocal count
            name, label = str(item["name"]), str(item["uuid"])
            if name == wanted or len(self._names) < _NAMES:
                self._names[kind, name], self._counts[label] = label, count
                if len(self._values) + len(values) <= _VALUES:
                    self._values.update({(label, value): uuid for value, uuid in values.items()})
            values.clear()
            count = 0

        path = f"{self._path(progress)}{kind}/"
        self._api.each(path, keep, progress=progress, within=("label_values", keep_value))
        self._listed.add(kind)

    def _new_name(self, kind: str, name: str, progress: Progress) -> str:
        # always of strings: the platform's own client breaks on the other types that the server knows
        fields = {"name": name, "type": "string", "is_dropdown": False, "metadata": kind == "metadata"}
        if made := self._made(f"{self._path(progress)}{kind}/", fields, "uuid", progress):
            self._names[kind, name] = made
        else:
            self._list(kind, name, progress)
        if (kind, name) not in self._names:
            other = "label" if kind == "metadata" else "metadata"
            raise Refused(f"{kind} {name!r}: this project has a {other} of that name, and names are unique there")
        return self._names[kind, name]

    def _new_value(self, path: str, value: str, progress: Progress) -> str:
        """The uuid of a value that was made or, by others, had been; empty where there is none after all."""
        uuids = [self._made(path, {"value": value, "color": _colour(value)}, "uuid", progress)]

        def keep(item: dict[str, Any]) -> None:
            if item["value"] == value:
                uuids.append(str(item["uuid"]))

        if not uuids[-1]:
            self._api.each(path, keep, progress=progress)
        return uuids[-1]

    def _made(self, path: str, fields: Mapping[str, Any], key: str, progress: Progress) -> str:
        """What the server calls the new thing; empty where it is there already."""
        answer, made = self._api.ask("POST", path, fields, progress=progress)
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
