"""Makes the writer that a recording needs: one of samples, or one of pictures."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.clock import Clock
from agent.developer import Developer
from agent.device import Device
from agent.disk_sync import DiskSync
from agent.folder import DataFolder
from agent.picture_writer import PictureRecorder
from agent.pictures import PictureWriter
from agent.recording import Orders, RecordingSettings
from agent.sample_writer import SampleWriter
from agent.stream import Stream


@dataclasses.dataclass(frozen=True)
class Recorders:
    """What the writers of all recordings have in common."""

    folder: DataFolder
    clock: Clock
    device: Device
    developer: Developer
    disk_sync: DiskSync
    room: Callable[[], str]
    """Why the disk takes no more; empty where it does."""
    configuration: Callable[[str], Mapping[str, Any] | None]
    """The document of a configuration by uuid, where the catalogue knows it."""

    def make(
        self, name: str, recipe: RecordingSettings, streams: Sequence[Stream], *, pictures: bool
    ) -> SampleWriter | PictureRecorder:
        """The writer of one recording; it begins when it is started."""
        orders = Orders(name, recipe)
        required = self.configuration(recipe.require_configuration) if recipe.require_configuration else None
        if not pictures:
            return SampleWriter(
                orders,
                recipe,
                streams,
                folder=self.folder.recording,
                clock=self.clock,
                device=self.device,
                finished=self.developer.add,
                room=self.room,
                required=required,
            )
        writer = PictureWriter(
            self.folder.recording,
            self.folder.captures,
            recording=name,
            device=self.device,
            clock=self.clock,
            full_names=recipe.picture_name == "full",
        )
        return PictureRecorder(
            orders,
            recipe,
            streams,
            pictures=writer,
            finished=self.disk_sync.add,
            room=self.room,
            required=required,
        )
