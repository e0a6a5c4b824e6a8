"""What an I2C bus can be, and what it can carry."""

Mistake = tuple[str, object, str]


def name_mistakes(bus: int | str) -> list[Mistake]:
    """What is wrong with the name of a bus."""
    if isinstance(bus, str) and bus != "virtual" and not bus.startswith("/dev/"):
        return [("bus", bus, 'a number, a path such as "/dev/i2c-1", or "virtual"')]
    return []


def mistakes(bus: int | str, bus_hz: int, rate_hz: float, sample_bytes: int) -> list[Mistake]:
    """What is wrong with `bus`, and with `rate_hz` samples of so many bytes, each of nine bits, over it."""
    found = name_mistakes(bus)
    needed_hz = rate_hz * sample_bytes * 9
    if needed_hz > bus_hz:
        needs = f"{rate_hz:g} samples of {sample_bytes} bytes are {needed_hz / 1e3:.0f} kbit/s"
        found.append(("rate_hz", rate_hz, f"at most what bus_hz = {bus_hz} carries; {needs}"))
    return found
