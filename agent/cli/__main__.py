"""`python -m agent.cli`: the same as `capture-agent`."""

from agent.cli import main

main()
