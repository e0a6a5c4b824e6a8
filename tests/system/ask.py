"""Asks the daemon on its socket: ask.py COMMAND [NAME=VALUE...] EXPRESSION prints what that makes of the answer `s`.

It imports next to nothing, since an emulated machine takes seconds to start the real command. False is the exit
code 1.
"""

import json
import socket
import sys

command, *arguments, expression = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect("/var/lib/capture-agent/run/control.sock")
    asked = {"command": command, "arguments": dict(argument.split("=", 1) for argument in arguments)}
    connection.sendall(json.dumps(asked).encode() + b"\n")
    answer = json.loads(connection.makefile().readline())
if not answer["ok"]:
    sys.exit(answer["error"])
s = answer["result"]
value = eval(expression)
print(value)
sys.exit(value is False)
