"""Which parcels travel together: those that a target takes in bundles, in ever smaller ones after failures."""

from collections.abc import Sequence

from agent.parcel import Parcel
from agent.targets import Bundle

Group = tuple[Parcel, ...]

_SHRINK = 8
"""A bundle that failed as a whole may hold one capture that is to blame: it is looked for with bundles of an eighth."""


def grouped(parcels: Sequence[Parcel], bundle: Bundle | None) -> list[Group]:
    """`parcels` in groups for one thread each, in the order of their first; without `bundle` each parcel is alone.

    A parcel that is large, or has a saved progress of its own, is alone. Those that failed before come together with
    others that failed as often, an eighth as many with each time; so the one to blame is soon alone.
    """
    if bundle is None:
        return [(parcel,) for parcel in parcels]
    groups: list[list[Parcel]] = []
    open_groups: dict[int, list[Parcel]] = {}
    sizes: dict[int, int] = {}
    for parcel in parcels:
        if parcel.size > bundle.capture_bytes or parcel.progress:
            groups.append([parcel])
            continue
        most = max(1, bundle.captures // _SHRINK ** min(parcel.attempts, 10))
        group, size = open_groups.get(parcel.attempts), sizes.get(parcel.attempts, 0)
        if group is None or len(group) >= most or size + parcel.size > bundle.all_bytes:
            group, size = [], 0
            groups.append(group)
            open_groups[parcel.attempts] = group
        group.append(parcel)
        sizes[parcel.attempts] = size + parcel.size
    return [tuple(group) for group in groups]
