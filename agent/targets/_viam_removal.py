"""A capture taken back from Viam: pictures and files by their ids; readings, which have none, by their tag."""

from collections.abc import Sequence

from agent.targets import Failed, Progress, Receipt, Refused
from agent.targets import _viam_wire as wire
from agent.targets._viam_uploads import Uploads

_ROUNDS = 50


def remove(uploads: Uploads, tag: str, receipt: Receipt, *, readings: bool) -> Sequence[str]:
    """Deletes all that has the capture's `tag`, or what the receipt names where nobody may ask; `readings` only where
    that is said. What stays."""
    files = receipt.get("files", {})
    if receipt.get("part_id", uploads.part.id) != uploads.part.id or not isinstance(files, dict):
        raise Refused(f"it was not delivered to part {uploads.part.id}")
    known = [str(each) for each in files.values()]
    stays = _files(uploads, tag, known)
    there = uploads.counted(tag, Progress())
    if there == 0 or (there is None and "readings" not in receipt):
        return stays
    organization = next((each.partition("/")[0] for each in known if each.count("/") > 1), "")
    why = ""
    if not readings:
        why = "delete_readings of the target is not set"
    elif there is None:
        why = "the API key may not count them, so nothing would show that only they are deleted"
    elif not organization:
        why = "no receipt tells in which organization"
    if why:
        return [*stays, f"{there or receipt.get('readings') or 'all'} readings, with the tag {tag}: {why}"]
    deleted = uploads.delete("DeleteTabularData", wire.tabular_deletion(organization, uploads.part.id, tag))
    if deleted > (there or 0):
        raise Failed(f"Viam says that it deleted {deleted} readings and not {there}: look what is left")
    if left := uploads.counted(tag, Progress()):
        raise Failed(f"Viam still has {left} readings of {there}")
    return stays


def _files(uploads: Uploads, tag: str, known: Sequence[str]) -> list[str]:
    """Deletes pictures and files: those that are found or, where nobody may ask, those that are known; what stays."""
    found = uploads.ids(tag)
    if found is None:
        if known:
            uploads.delete("DeleteBinaryDataByIDs", wire.binary_deletion(known))
        return ["earlier revisions of its sidecar, if there are: the API key may not read data"]
    for _ in range(_ROUNDS):
        if not found:
            return []
        uploads.delete("DeleteBinaryDataByIDs", wire.binary_deletion(found))
        found = uploads.ids(tag) or []
    raise Failed(f"Viam still has {len(found)} files of it, however often they are deleted")
