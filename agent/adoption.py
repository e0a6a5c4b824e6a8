"""Adoption: what an earlier run left in the recording folder goes on its way, before anybody records there again."""

import logging

from agent.clock import Clock
from agent.developer import Developer
from agent.device import Device
from agent.disk_sync import DiskSync
from agent.finishing import Finishing
from agent.folder import DataFolder
from agent.pictures import PictureWriter, fully_named, settle
from agent.rebuild import adopt

log = logging.getLogger(__name__)


def take_over(
    folder: DataFolder,
    finishing: Finishing,
    developer: Developer,
    disk_sync: DiskSync,
    *,
    device: Device,
    clock: Clock,
) -> None:
    """Whole captures are finished, but for pictures that may still get their date, which wait on; negatives are
    developed."""
    settle(folder.recording)
    whole = adopt(folder.recording, quarantine=folder.quarantine)
    waiting = [capture for capture in whole if capture.pictured and disk_sync.waits(capture)]
    finishing.finish_each([capture for capture in whole if capture not in waiting], folder.quarantine)
    for picture in waiting:
        writer = PictureWriter(
            folder.recording,
            folder.captures,
            recording=picture.recording,
            device=device,
            clock=clock,
            full_names=fully_named(picture),
        )
        disk_sync.add(picture, writer.redate)
    negatives = sorted([*folder.recording.glob("*.negative"), *folder.recording.glob("*.negative.part")])
    for negative in negatives:
        developer.add(negative)
    if whole or negatives:
        log.info("of an earlier run: %d finished captures, %d recordings to develop", len(whole), len(negatives))
