"""Entry of the child process: `python -m drivers.ports.virtual MODEL SOCKET_FD JSON`.

MODEL is a module of this folder, or the full name of one elsewhere (a real device that needs a process of its own).
"""

import importlib
import sys

from drivers.ports.virtual import serve

if __name__ == "__main__":
    name, descriptor, document = sys.argv[1:]
    module = importlib.import_module(name if "." in name else f"drivers.ports.virtual.{name}")
    serve(module.main, int(descriptor), document)
