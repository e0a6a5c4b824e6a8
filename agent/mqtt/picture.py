"""The newest picture, small: taken from the captures on the disk, so that no camera and no writer knows of it."""

import logging
from collections.abc import Mapping
from typing import Any

from agent.catalogue import Catalogue
from agent.thumbnails import small_jpeg

log = logging.getLogger(__name__)


class NewestPicture:
    """Looks for a newer picture than the last one; used by one thread."""

    def __init__(self, catalogue: Catalogue, px: int) -> None:
        """`px` is the longer side of what is made of it."""
        self._catalogue = catalogue
        self._px = px
        self._seen: dict[str, str] = {}

    def newer(self, status: Mapping[str, Any]) -> bytes | None:
        """A small JPEG of a picture that was finished since the last call; None where there is none."""
        for recording, health in status["recordings"].items():
            name = health.get("capture")
            if not name or self._seen.get(recording) == name:
                continue
            try:
                capture = self._catalogue.get(name)
            except LookupError:
                continue  # not finished yet
            except (OSError, ValueError) as error:
                log.warning("mqtt: picture %s cannot be shown: %s", name, error)
                self._seen[recording] = name
                continue
            self._seen[recording] = name
            for payload in capture.payloads:
                if payload.format == "jpeg":
                    return self._small(capture.path(payload).read_bytes(), name)
        return None

    def _small(self, content: bytes, name: str) -> bytes | None:
        try:
            return small_jpeg(content, self._px)
        except (OSError, ValueError) as error:
            log.warning("mqtt: picture %s cannot be shown: %s", name, error)
            return None
