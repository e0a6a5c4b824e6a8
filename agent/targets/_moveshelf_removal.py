"""A capture taken back from Moveshelf: its files, and its trial where that was made for it and holds nothing else."""

from collections.abc import Sequence
from typing import Any

from agent.targets import Failed, Progress, Receipt, Refused
from agent.targets._moveshelf_api import Api, rows, within

_TRIAL = "query($id:ID!){node(id:$id){...on MocapClip{description additionalData{id}}}}"
_DELETE_FILE = "mutation($id:ID!){deleteAdditionalData(id:$id){ok}}"
_DELETE_TRIAL = "mutation($id:String!){deleteClip(clipId:$id){ok}}"
_ABOVE = "its subject and session, which may have other trials"


def remove(api: Api, capture: str, receipt: Receipt) -> Sequence[str]:
    """Deletes what the receipt names and is there still; what stays. Refused where it names nothing of this server."""
    trial, files = receipt.get("trial"), receipt.get("files")
    if receipt.get("url") != api.url or not isinstance(trial, str) or not isinstance(files, dict):
        raise Refused(f"it was not delivered to {api.url}")
    known, ours, others = {str(each) for each in files.values()}, list[str](), list[str]()

    def keep(row: dict[str, Any]) -> None:
        if row["id"] in known:
            ours.append(row["id"])
        else:
            others[:] = [row["id"]]  # that there is one is enough

    data = api.ask(_TRIAL, Progress(), (("node", "additionalData"), keep), id=trial)
    node = data.get("node")
    if node is None:
        return [_ABOVE]
    rows(node, "additionalData")
    for record in sorted(ours):
        if within(api.ask(_DELETE_FILE, Progress(), id=record), "deleteAdditionalData", "ok") is not True:
            raise Failed(f"Moveshelf does not delete its record {record}")
    if others:
        return ["its trial, in which there are files of others", _ABOVE]
    if capture not in str(node.get("description")):
        return ["its trial, which was not made for it", _ABOVE]
    if within(api.ask(_DELETE_TRIAL, Progress(), id=trial), "deleteClip", "ok") is not True:
        raise Failed(f"Moveshelf does not delete the trial {trial}, which is empty")
    return [_ABOVE]
