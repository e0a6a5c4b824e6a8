"""What an I2C bus can be, and what it can carry."""

from drivers.ports.i2c import too_much

Mistake = tuple[str, object, str]


def name_mistakes(bus: int | str) -> list[Mistake]:
    """What is wrong with the name of a bus."""
    if isinstance(bus, str) and bus != "virtual" and not bus.startswith("/dev/"):
        return [("bus", bus, 'a number, a path such as "/dev/i2c-1", or "virtual"')]
    return []


def mistakes(bus: int | str, bus_hz: int, rate_hz: float, sample_bytes: int) -> list[Mistake]:
    """What is wrong with `bus`, and with `rate_hz` samples of so many bytes, each of nine bits, over it."""
    found = name_mistakes(bus)
    if problem := too_much((rate_hz, sample_bytes), bus_hz):
        found.append(("rate_hz", rate_hz, f"what bus_hz = {bus_hz} carries: {problem}"))
    return found
