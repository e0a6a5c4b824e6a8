"""Object stores in tests: a bucket, a container or an endpoint, with the targets that lead to it."""

import contextlib
import threading
from pathlib import Path

from agent.targets import Home
from agent.targets._objectstore_delivery import ObjectStore
from agent.targets.objectstore import Settings
from tests.models.bucket import ACCESS_KEY, REGION, SECRET, Bucket
from tests.receiver import Fault, Receiver


class Far:
    """A store that misbehaves on request, and the targets that lead to it."""

    secret = SECRET

    def __init__(self, store: Receiver, folder: Path, stack: contextlib.ExitStack) -> None:
        self.store, self.stack = store, stack
        self.home = Home("bay 3", "0badcafe", folder / "secrets")
        self.home.secrets.mkdir(exist_ok=True)
        (self.home.secrets / "secret").write_text(self.secret + "\n")

    def settings(self) -> dict:
        """What leads here."""
        raise NotImplementedError

    def objects(self) -> dict[str, bytes]:
        """All whole objects, by key."""
        raise NotImplementedError

    def open(self, **settings) -> ObjectStore:
        target = Settings(**{"idle_timeout_s": 0.5, **self.settings(), **settings}).open(self.home)
        self.stack.callback(target.close)
        return target

    def open_patient(self) -> ObjectStore:
        return self.open(idle_timeout_s=60)

    def open_elsewhere(self, host: str) -> ObjectStore:
        return self.open(url=f"http://{host}/bucket")

    def files(self) -> dict[str, bytes]:
        objects = self.objects()
        found = {key.rpartition("/")[2]: content for key, content in objects.items()}
        assert len(found) == len(objects)
        return found

    def forget(self):
        self.store.keep = False

    def lose_answer(self):
        self.store.faults.append(Fault(lose_answer=True))

    def cut(self, after_bytes):
        self.store.faults.append(Fault(cut_after=after_bytes))

    def deny(self):
        self.store.faults.append(Fault(403, text=f"<Error><Code>AccessDenied</Code>{self.secret}</Error>"))

    def busy(self, status, retry_after):
        self.store.faults.append(Fault(status, (("Retry-After", retry_after),)))

    def slow(self):
        self.store.faults.append(Fault(pause_s=0.002))

    def answer_early(self):
        self.store.faults.append(Fault(413, text=f"too much of {self.secret}", answer_after=1000))

    def truncate_answer(self):
        self.store.faults.append(Fault(truncate=True))

    def misanswer(self, text):
        self.store.faults.append(Fault(text=text))

    def hang(self) -> threading.Event:
        self.store.faults.append(Fault(hang=True))
        return self.store.hanging


class BucketFar(Far):
    store: Bucket

    def settings(self):
        return {
            "url": f"{self.store.url}/{self.store.name}",
            "region": REGION,
            "access_key": ACCESS_KEY,
            "secret_file": "secret",
            "idle_timeout_s": 1.5,  # moto may take its time
        }

    def objects(self):
        return self.store.objects()

    def deny(self):
        self.store.faults_of_head.append(Fault(403))

    def open_directly(self) -> ObjectStore:
        """Past what checks and misbehaves, and keeps contents in this process."""
        return self.open(url=f"http://127.0.0.1:{self.store.behind.port}/{self.store.name}", idle_timeout_s=60)
