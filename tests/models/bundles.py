"""A server that takes bundles as `agent/targets/_http_bundle.py` describes them, beside single files by PUT."""

import dataclasses
import hashlib
import io
import json
import sys
import tarfile

from tests.receiver import Fault, Receiver, Request


class BundleServer(Receiver):
    """Bundles come to /bundles. Keeps every file by its name, and each capture's revision by its uuid."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.captures: dict[str, int] = {}
        self.says: dict[str, dict] = {}
        """What it answers of a capture (by uuid) that it does not take: status, retry_after, error."""
        self.chokes_on: set[str] = set()
        """Captures (by uuid) because of which it fails whatever comes along with them."""
        self.bundles: list[list[str]] = []
        """The captures (uuids) of each bundle that was read, as often as they came."""
        self.answers = lambda results: json.dumps({"results": results})
        """Makes an answer's text."""

    def take(self, request: Request, content: bytes, fault: Fault) -> Fault:
        if request.path != "/bundles":
            return super().take(request, content, fault)
        if not self.keep:  # then there is only a hash of it
            return dataclasses.replace(fault, status=500, text="cannot look into it")
        captures: dict[str, dict[str, bytes]] = {}
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                file = tar.extractfile(member)
                assert file is not None and "/" not in folder
                if folder:
                    captures.setdefault(folder, {})[name] = file.read()
                else:
                    assert member.name == "void" and not file.read().strip(b"\0")
        self.bundles.append(list(captures))
        if self.chokes_on & captures.keys():
            return dataclasses.replace(fault, status=500, text="what is this?")
        results = [{"name": uuid, **self._take(uuid, files)} for uuid, files in captures.items()]
        return dataclasses.replace(fault, status=200, text=self.answers(results))

    def _take(self, uuid: str, files: dict[str, bytes]) -> dict:
        """Its answer to one capture."""
        if uuid in self.says:
            return self.says[uuid]
        *payloads, sidecar = files
        document = json.loads(files[sidecar])
        assert document["uuid"] == uuid
        assert [payload["file"] for payload in document["payloads"]] == payloads
        for payload in document["payloads"]:
            assert hashlib.sha256(files[payload["file"]]).hexdigest() == payload["sha256"]
        if self.captures.get(uuid, 0) >= document["revision"]:
            return {"status": 200}
        self.captures[uuid] = document["revision"]
        for name, file in files.items():
            self.stores.append(f"/{name}")
            self.files[f"/{name}"] = file
        return {"status": 201}


if __name__ == "__main__":  # for what measures its own memory or CPU time
    with BundleServer() as server:
        print(server.url, flush=True)
        sys.stdin.read()
