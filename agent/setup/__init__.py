"""Setup: a configuration that works, out of what is attached and a few answers."""
