"""One attempt at a parcel: the target is asked once, and its answer, or whatever it raised, becomes an outcome."""

import json
import logging

from agent.catalogue import Catalogue
from agent.parcel import Outcome, Parcel
from agent.targets import Failed, Later, Progress, Refused, Stopped, Target, Unreachable

log = logging.getLogger(__name__)


def attempt(
    name: str, target: Target, parcel: Parcel, *, catalogue: Catalogue, progress: Progress
) -> tuple[Outcome, Exception | None]:
    """What became of the parcel at the target called `name`, and the exception that says why.

    Every Exception is this parcel's and comes back as one; Unreachable and Stopped release it, without an attempt.
    """
    try:
        capture = catalogue.get(parcel.capture)
    except (LookupError, ValueError, FileNotFoundError) as error:
        return parcel.refused(f"its capture cannot be read any more: {error}"), error
    except OSError as error:
        return parcel.failed(str(error)), error
    try:
        receipt = dict(target.put(capture, progress))
        json.dumps(receipt, allow_nan=False)  # wrong here, it is one parcel's fault; in the ledger, everybody's
        return parcel.delivered(receipt), None
    except Refused as error:
        return parcel.refused(str(error)), error
    except Later as error:
        return parcel.later(error.after_s, str(error)), error
    except Unreachable as error:
        return parcel.released(), error
    except Stopped as error:
        if progress.stop.is_set():
            return parcel.released(), None
        return parcel.failed("the target stopped by itself"), error
    except (Failed, OSError) as error:
        return parcel.failed(str(error)), error
    except Exception as error:
        log.exception("%s: %s: nobody expected this", name, parcel.name)
        return parcel.failed(f"{type(error).__name__}: {error}"), error


def report(name: str, outcome: Outcome, error: Exception) -> None:
    """Logs in one line why a parcel was not delivered."""
    parcel = outcome.parcel
    if outcome.kind == "later":
        log.info("%s: %s has to wait %.0f s: %s", name, parcel.name, outcome.after_s, error)
    elif outcome.kind == "refused":
        log.warning("%s: %s is refused: %s", name, parcel.name, error)
    else:
        log.warning("%s: %s: attempt %d failed: %s", name, parcel.name, parcel.attempts + 1, error)
