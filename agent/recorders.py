"""Makes the writer that a recording needs: of samples or of pictures, going on and on or around triggers."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.clock import Clock
from agent.context import Context
from agent.developer import Developer
from agent.device import Device
from agent.disk_sync import DiskSync
from agent.folder import DataFolder
from agent.gate import Gate
from agent.picture_captures import PictureCaptures
from agent.picture_writer import PictureRecorder
from agent.pictures import PictureWriter
from agent.recording import Orders, RecordingSettings
from agent.sample_writer import SampleWriter
from agent.schedule import Schedule
from agent.stream import Stream
from agent.surroundings import Surroundings
from agent.takes import Takes
from agent.trigger_source import TriggerSource
from agent.triggered_pictures import TriggeredPictures
from agent.triggered_writer import TriggeredWriter

log = logging.getLogger(__name__)

AnyRecorder = SampleWriter | TriggeredWriter | PictureRecorder | TriggeredPictures


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
    context: Context
    configuration: Callable[[str], Mapping[str, Any] | None]
    """The document of a configuration by uuid, where the catalogue knows it."""

    def make(
        self,
        name: str,
        recipe: RecordingSettings,
        streams: Sequence[Stream],
        *,
        pictures: bool,
        watched: Stream | None = None,
        tagging: Sequence[Stream] = (),
    ) -> AnyRecorder:
        """The writer of one recording; it begins when it is started.

        `watched` is the stream that may trigger it, `tagging` are those whose values tag its captures.
        """
        surroundings = Surroundings(tagging, recipe.tags_age_s)
        orders = Orders(name, recipe)
        orders.label(*self.context.recall(orders))
        configured, orders.wanted = orders.wanted, self.context.wanted(orders)
        if orders.wanted != configured:
            log.info("recording %s: was %s by a command, and stays so", name, "started" if orders.wanted else "stopped")
        required = self.configuration(recipe.require_configuration) if recipe.require_configuration else None
        gate = Gate(None if recipe.schedule.always else Schedule(recipe.schedule), self.clock)
        source = TriggerSource(recipe.trigger, watched) if recipe.when == "trigger" else None
        if not pictures:
            takes = Takes(
                orders,
                recipe,
                folder=self.folder.recording,
                clock=self.clock,
                device=self.device,
                finished=self.developer.add,
                room=self.room,
                surroundings=surroundings,
                required=required,
            )
            if source is not None:
                return TriggeredWriter(streams, takes, source, clock=self.clock, gate=gate)
            return SampleWriter(streams, takes, clock=self.clock, gate=gate)
        writer = PictureWriter(
            self.folder.recording,
            self.folder.captures,
            recording=name,
            device=self.device,
            clock=self.clock,
            targets=recipe.targets,
            full_names=recipe.picture_name == "full",
        )
        captures = PictureCaptures(
            orders,
            recipe,
            pictures=writer,
            finished=self.disk_sync.add,
            room=self.room,
            surroundings=surroundings,
            required=required,
        )
        if source is not None:
            return TriggeredPictures(streams, captures, source, clock=self.clock, gate=gate)
        return PictureRecorder(streams, captures, clock=self.clock, gate=gate)
