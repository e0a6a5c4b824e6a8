"""Signs of life in tests: of many deliveries that wait for one server, and between any two requests of one."""

import contextlib
import threading
from collections.abc import Sequence
from typing import Any

from agent.capture import Capture
from agent.targets import Failed, Progress, Stopped, Target

_OFTEN = 5


def all_show_life(target: Target, captures: Sequence[Capture]) -> bool:
    """Delivers them at once to a server that says nothing any more, and closes the target once all but the one that
    the server keeps waiting have shown life again and again; whether it came to that."""
    counts = [0] * len(captures)
    alive = threading.Event()

    def deliver(number: int) -> None:
        def beat(_: int) -> None:
            counts[number] += 1
            if sum(count >= _OFTEN for count in counts) >= len(counts) - 1:
                alive.set()

        with contextlib.suppress(Stopped, Failed):
            target.put(captures[number], Progress(advance=beat))

    threads = [threading.Thread(target=deliver, args=(number,)) for number in range(len(captures))]
    for thread in threads:
        thread.start()
    came = alive.wait(10)
    target.close()
    for thread in threads:
        thread.join(10)
    return came


def longest_silence(target: Target, capture: Capture, *models: Any) -> int:
    """Delivers it; how many requests of the servers, at most, came in a row without a sign of life before each."""
    heard = [0]

    def watched(model: Any) -> None:
        fault = model.fault

        def asked(*what: Any) -> Any:
            heard[-1] += 1
            return fault(*what)

        model.fault = asked

    for model in models:
        watched(model)
    target.put(capture, Progress(advance=lambda _: heard.append(0)))
    assert sum(heard) > 2, "it was asked"
    return max(heard)
