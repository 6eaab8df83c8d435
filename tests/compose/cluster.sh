#!/usr/bin/env bash
# Builds the image, starts the unmodified docker-compose.yml with its profile cluster, runs
# cluster-probe.sh against it and removes everything. DOCKER_HOST and COMPOSE as for run.sh.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/../.."
export DC=${COMPOSE:-docker compose} PROJECT=crawler-cluster$$ CRAWLER_SERVICE_PRIVATE=true
export COMPOSE_PROFILES=cluster CRAWLER_SERVICE_FRONTIER=redis://redis:6379/0 CRAWLER_WORKER_PRIVATE=any
CRAWLER_SERVICE_TOKEN=$(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')
export CRAWLER_SERVICE_TOKEN
trap '$DC -p "$PROJECT" down -v -t 1 >/dev/null 2>&1 || true' EXIT
$DC -p "$PROJECT" build crawler
$DC -p "$PROJECT" up -d --wait --wait-timeout 120
bash tests/compose/cluster-probe.sh
