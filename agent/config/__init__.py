"""Configuration: a TOML file turned into frozen settings, or into everything that is wrong with it."""
