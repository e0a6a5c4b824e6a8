"""One attempt at a parcel or a bundle: the target is asked once, and its answer, or what it raised, is an outcome."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.capture import Capture
from agent.catalogue import Catalogue
from agent.parcel import Outcome, Parcel
from agent.sync.making import made, needed
from agent.sync.trouble import STEP_BACK_S
from agent.targets import Bundling, Failed, Later, Progress, Refused, Stopped, Target, Unreachable

log = logging.getLogger(__name__)

_DOUBTS = 2
"""So often a capture fails alone before it is believed that it, and not the address, is to blame."""

Result = tuple[Outcome, Exception | None]
"""What became of a parcel, and the exception that says why."""


def attempt(
    name: str, target: Target, parcel: Parcel, *, catalogue: Catalogue, progress: Progress, scratch: Path | None = None
) -> Result:
    """What became of the parcel at the target called `name`.

    What the capture has in no format that the target takes is made in `scratch`, for this attempt; None: it is not.
    Every Exception is this parcel's and comes back as one; Unreachable and Stopped release it, without an attempt.
    """
    capture = _read(parcel, catalogue)
    if not isinstance(capture, Capture):
        return capture
    try:
        return _delivered(parcel, _put(target, capture, progress, scratch))
    except Exception as error:
        return _not_delivered(name, parcel, error, progress)


def attempt_many(
    name: str,
    target: Bundling,
    parcels: Sequence[Parcel],
    *,
    catalogue: Catalogue,
    progress: Progress,
    scratch: Path | None = None,
) -> list[Result]:
    """The same for several parcels at once, each with its own fate; in order. Those for which something has to be made
    go alone, after the others."""
    results: dict[int, Result] = {}
    sent: list[int] = []
    alone: list[int] = []

    def captures() -> Iterator[Capture]:
        for index, parcel in enumerate(parcels):
            capture = _read(parcel, catalogue)
            if not isinstance(capture, Capture):
                results[index] = capture
            elif scratch is not None and needed(capture, target.formats):
                alone.append(index)
            else:
                sent.append(index)
                yield capture

    try:
        fates = target.put_many(captures(), progress)
        if len(fates) != len(sent):
            raise Failed(f"the target answers for {len(fates)} captures and got {len(sent)}")
        for index, fate in zip(sent, fates, strict=True):
            results[index] = _result(name, parcels[index], fate, progress)
        for index in alone:
            results[index] = attempt(
                name, target, parcels[index], catalogue=catalogue, progress=progress, scratch=scratch
            )
    except Exception as error:
        if not isinstance(error, Later | Unreachable | Stopped | Failed | OSError):
            log.exception("%s: a bundle of %d: nobody expected this", name, len(parcels))
            error = Failed(f"{type(error).__name__}: {error}")
        for index, parcel in enumerate(parcels):
            if index not in results:
                results[index] = _not_delivered(name, parcel, error, progress)
    return [results[index] for index in range(len(parcels))]


def doubted(refused: Outcome, *, trouble: bool) -> Outcome:
    """What becomes of a doubtful refusal: with `trouble`, others are refused as well, and none is parked."""
    if trouble:
        return refused.parcel.later(STEP_BACK_S, refused.error)
    return refused if refused.parcel.attempts >= _DOUBTS else refused.parcel.failed(refused.error)


def report(name: str, results: Sequence[Result]) -> None:
    """Logs in one line why a parcel was not delivered; of many for the same reason, one line for all."""
    told: dict[tuple[str, str], list[Result]] = {}
    for outcome, error in results:
        if error is not None and not isinstance(error, Unreachable):
            told.setdefault((outcome.kind, str(error)), []).append((outcome, error))
    for (kind, error_text), same in told.items():
        outcome = same[0][0]
        who = outcome.parcel.name + (f" and {len(same) - 1} others" if len(same) > 1 else "")
        if kind == "later":
            log.info("%s: %s has to wait %.0f s: %s", name, who, outcome.after_s, error_text)
        elif kind == "refused":
            log.warning("%s: %s is refused: %s", name, who, error_text)
        else:
            log.warning("%s: %s: attempt %d failed: %s", name, who, outcome.parcel.attempts + 1, error_text)


def _put(target: Target, capture: Capture, progress: Progress, scratch: Path | None) -> Mapping[str, Any]:
    how = None if scratch is None else needed(capture, target.formats)
    if scratch is None or how is None:
        return target.put(capture, progress)
    with made(capture, how, scratch, lambda: progress.sent(0)) as (other, said):
        return {**target.put(other, progress), "made": said}


def _read(parcel: Parcel, catalogue: Catalogue) -> Capture | Result:
    """The capture, or what becomes of a parcel without one."""
    try:
        return catalogue.get(parcel.capture)
    except (LookupError, ValueError, FileNotFoundError) as error:
        return parcel.refused(f"its capture cannot be read any more: {error}"), error
    except OSError as error:
        return parcel.failed(str(error)), error


def _result(name: str, parcel: Parcel, fate: Mapping[str, Any] | Exception, progress: Progress) -> Result:
    if isinstance(fate, Exception):
        return _not_delivered(name, parcel, fate, progress)
    try:
        return _delivered(parcel, fate)
    except Exception as error:
        return _not_delivered(name, parcel, error, progress)


def _delivered(parcel: Parcel, receipt: Mapping[str, Any]) -> Result:
    receipt = dict(receipt)
    json.dumps(receipt, allow_nan=False)  # wrong here, it is one parcel's fault; in the ledger, everybody's
    return parcel.delivered(receipt), None


def _not_delivered(name: str, parcel: Parcel, error: Exception, progress: Progress) -> Result:
    match error:
        case Refused():
            return parcel.refused(str(error)), error
        case Later():
            return parcel.later(error.after_s, str(error)), error
        case Unreachable():
            return parcel.released(), error
        case Stopped() if progress.stop.is_set():
            return parcel.released(), None
        case Stopped():
            return parcel.failed("the target stopped by itself"), error
        case Failed() | OSError():
            return parcel.failed(str(error)), error
        case _:
            log.error("%s: %s: nobody expected this", name, parcel.name, exc_info=error)
            return parcel.failed(f"{type(error).__name__}: {error}"), error
