"""capture-agent: sensor captures from a Raspberry Pi to any capture platform, with nothing lost."""

__version__ = "0.1.0"
