# Each target makes the virtual environment it needs, from python3 alone; the second time is quick.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PEERS  := $(VENV)/.peers

.PHONY: demo test test-together test-alone hardware check bench bench-compare soak soak-faults soak-load power-cuts example install uninstall deb pins system clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/capture-agent demo

test: test-together test-alone

test-together: $(STAMP)  # most of them wait for something most of the time
	$(BIN)/python -m pytest -m 'not soak and not hardware and not alone' -n 3 --dist worksteal $(ARGS) || [ $$? = 5 ]

test-alone: $(STAMP)
	$(BIN)/python -m pytest -m 'alone and not soak' $(ARGS) || [ $$? = 5 ]  # 5: ARGS chose none of these

hardware: $(STAMP)  # the drivers' contract on a real board: I2C_BUS=1 ARGS="-k mpu6050"
	$(BIN)/python -m pytest -m hardware -rs $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(PEERS)  # ten minutes; bench/RESULTS.md and its pictures; ARGS="serial imu" does these alone, ARGS=offline is long
	$(BIN)/python -m bench $(ARGS)

bench-compare: $(PEERS)  # fails where a ratio is 25 % worse than the committed one
	$(BIN)/python -m bench --compare $(ARGS)

$(PEERS): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	touch $@

# all that is long, hours of it; the faults alone where MINUTES, SEED or ARGS say which
soak: soak-faults $(if $(MINUTES)$(SEED)$(ARGS),,soak-load power-cuts)

soak-faults: $(STAMP)  # faults drawn from a seed, into bench/SOAK.md; MINUTES=10, SEED=7, ARGS="--only disk_full"
	$(BIN)/python -m tests.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

soak-load: $(STAMP)  # an hour of load, and two hundred kills; ARGS="-k hour", SOAK_MINUTES=5
	$(BIN)/python -m pytest -m soak --timeout 0 -s $(ARGS)

power-cuts: $(STAMP)  # of an emulated machine, as root; ROUNDS=5, MODE=strict or hostcache, SEED=7
	PYTHON=$(BIN)/python tests/system/power_cut.sh $(or $(ROUNDS),5) $(or $(MODE),strict)

example: $(STAMP)  # config.example.toml, generated from the Settings
	$(BIN)/capture-agent check --example > config.example.toml.part && mv config.example.toml.part config.example.toml

install:  # as a service, into /opt/capture-agent; again for an upgrade; EXTRAS=parquet,flac
	PYTHON=$(PYTHON) systemd/install.sh install

uninstall:  # configuration and data stay, unless PURGE=1
	systemd/install.sh uninstall

deb:  # dist/capture-agent_VERSION_all.deb, for Debian 12 and 13 and Raspberry Pi OS
	PYTHON=$(PYTHON) systemd/deb/build.sh

pins: $(STAMP)  # which libraries the package brings along: after a change of the dependencies
	$(BIN)/python systemd/deb/pin.py

system: $(STAMP)  # the service on a real systemd, Debian 13 and 12 in containers; as root, about five minutes
	PYTHON=$(BIN)/python tests/system/run.sh

clean:
	rm -rf .venv* build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
