"""Edge Impulse's Studio: whose key it is, which samples its project has of a capture, and how they are deleted.

Its API answers 200 whatever happens, and says in `success` what did (docs.edgeimpulse.com/apis/studio).
"""

import json
import urllib.parse
from collections.abc import Callable
from typing import Any

from agent.targets import Failed, Refused, Unreachable
from agent.targets._credentials import short
from agent.targets._transport import Answer

_PAGE = 50


class Studio:
    """The API below one URL. Safe for several threads."""

    def __init__(self, url: str, ask: Callable[[str, str], Answer]) -> None:
        """`ask` sends (method, URL) with the key, and raises what an answer that is no 2xx means."""
        self._url = url
        self._ask = ask

    def project(self) -> tuple[int, str]:
        """Number and name of the project that the key is for: of a project's key, the only one there is."""
        answer = self._ask("GET", f"{self._url}/api/projects")
        match parsed(answer):
            case {"success": True, "projects": [{"id": int(number), "name": name}, *_]}:
                return number, str(name)
            case {"success": False, "error": str(error)}:
                raise Unreachable(f"the Studio refuses the key: {short(error, 300)}; check the target's credentials")
        raise Failed(f"{answer}, which names no project: is studio_url the Studio's?")

    def samples(self, project: int, name: str, capture: str) -> list[int]:
        """The ids of the samples that were made of a capture (its name, its uuid)."""
        found: list[int] = []
        seen = 0
        while True:
            about = {"category": "all", "filename": name, "excludeSensors": "true", "limit": _PAGE, "offset": seen}
            answer = self._ask("GET", f"{self._url}/api/{project}/raw-data?{urllib.parse.urlencode(about)}")
            match parsed(answer):
                case {"success": True, "samples": list(samples)}:
                    found += [each["id"] for each in samples if _is_of(each, name, capture)]
                case {"success": False, "error": str(error)}:
                    raise Refused(f"the Studio does not tell what samples there are: {short(error, 300)}")
                case _:
                    raise Failed(f"{answer}, which is no list of samples: is studio_url the Studio's?")
            seen += len(samples)
            if len(samples) < _PAGE:
                return found

    def delete(self, project: int, sample: int) -> None:
        """Deletes one sample. Refused where the key may not."""
        answer = self._ask("DELETE", f"{self._url}/api/{project}/raw-data/{sample}")
        match parsed(answer):
            case {"success": True}:
                return
            case {"success": False, "error": str(error)}:
                raise Refused(f"the Studio does not delete sample {sample}: {short(error, 300)}")
        raise Failed(f"{answer}, which does not say what became of sample {sample}")


def parsed(answer: Answer) -> Any:
    """The document of an answer; None where it is none."""
    try:
        return json.loads(answer.text)
    except (ValueError, RecursionError):
        return None


def _is_of(sample: Any, name: str, capture: str) -> bool:
    """Names are searched for as parts of names, so what is found may be another's."""
    match sample:
        case {"id": int(), "metadata": {"capture": str(uuid)}}:
            return uuid == capture
        case {"id": int(), "filename": str(filename)}:
            return filename == name or filename.startswith(f"{name}.")
    raise Failed("the Studio lists what are no samples: is studio_url the Studio's?")
