"""Entry of the child process: `python -m drivers.ports.virtual MODEL SOCKET_FD JSON`."""

import importlib
import sys

from drivers.ports.virtual import serve

if __name__ == "__main__":
    name, descriptor, document = sys.argv[1:]
    serve(importlib.import_module(f"drivers.ports.virtual.{name}").main, int(descriptor), document)
