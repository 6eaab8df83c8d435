# Two commands on a fresh machine: `make crawl URL=…` and `make test`. The rest is for those who work on it.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

.PHONY: crawl test check lint types tests format clean
.PHONY: test-chaos test-kill test-sites test-million test-traps test-pace test-archive conformance fuzz

# Crawl a site; without URL the bundled demo web, so that it works with no network.
crawl: $(VENV)/.installed
ifdef URL
	@$(BIN)/crawler crawl "$(URL)" $(ARGS)
else
	@$(BIN)/crawler demo-crawl $(ARGS)
endif

# Everything that must hold before a commit.
test: check
check: lint types tests

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

tests: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Slow proofs: minutes each. Their small versions run in `make test`.
test-kill: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow tests/test_kill.py tests/test_kill_sinks.py $(ARGS)

test-sites: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow -s tests/test_real_sites.py $(ARGS)

test-million: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow tests/test_million.py $(ARGS)

test-archive: $(VENV)/.dev $(VENV)-replay/.installed
	REPLAY_BIN=$(VENV)-replay/bin $(BIN)/python -m pytest -m slow tests/test_archive_proof.py $(ARGS)

# pywb and py-wacz have many dependencies, some of them old: kept apart from ours.
$(VENV)-replay/.installed: $(VENV)/.python
	@$(MAKE) --no-print-directory VENV=$(VENV)-replay $(VENV)-replay/.python
	@$(VENV)-replay/bin/python -m pip install --quiet --disable-pip-version-check 'pywb>=2.8' 'wacz>=0.5'
	@touch $@

test-traps: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow tests/test_brakes.py $(ARGS)

# Workers and Redis killed, stopped and restarted in a crawl of 50,000 pages.
test-chaos: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow -s tests/test_redis_chaos.py $(ARGS)

# Rate, fairness and adaptive width, from the server's side.
test-pace: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow tests/test_manners.py tests/test_fair.py $(ARGS)
# RFC 9309 as this crawler, Scrapy, Crawlee and wget keep it; rewrites the table in docs/.
conformance: $(VENV)/.dev
	$(BIN)/python -m venv --without-pip build/peers
	$(BIN)/python -m pip --python build/peers/bin/python install --quiet --disable-pip-version-check scrapy crawlee
	$(BIN)/python tests/conformance.py --peers build/peers --write
# Coverage-guided: FUZZ seconds for each reader of what strangers send. Finds are left in .fuzz/crash-….
FUZZ ?= 60
READERS ?= url file html page encoding charset header screen address
fuzz: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[fuzz]'
	@mkdir -p .fuzz && for reader in $(READERS); do mkdir -p .fuzz/$$reader; \
	  echo "== $$reader"; $(BIN)/python tests/fuzz.py $$reader $(FUZZ) .fuzz/$$reader || exit 1; done

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "crawler needs Python 3.11 or newer: make PYTHON=/path/to/python3.12 …" >&2; exit 2; }
	@# Debian packs venv apart from Python: where it is missing, pip alone is enough.
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null && $(PYTHON) -m venv $(VENV) || { \
	  $(PYTHON) -m pip install --quiet --disable-pip-version-check --target $(VENV)/bootstrap virtualenv && \
	  PYTHONPATH=$(VENV)/bootstrap $(PYTHON) -m virtualenv --quiet $(VENV); }
	@touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) $(VENV)-replay build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	rm -rf .hypothesis .fuzz
