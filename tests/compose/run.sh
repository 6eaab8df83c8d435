#!/usr/bin/env bash
# Builds the image, starts the unmodified docker-compose.yml under a project name of its own, runs
# probe.sh against it and removes everything. The engine is whatever DOCKER_HOST or docker names;
# COMPOSE is the compose command where it is not `docker compose`.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/../.."
export DC=${COMPOSE:-docker compose} PROJECT=crawler-test$$ CRAWLER_SERVICE_PRIVATE=true
CRAWLER_SERVICE_TOKEN=$(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')
export CRAWLER_SERVICE_TOKEN
trap '$DC -p "$PROJECT" down -v -t 1 >/dev/null 2>&1 || true' EXIT
$DC -p "$PROJECT" build
$DC -p "$PROJECT" up -d --wait --wait-timeout 90
bash tests/compose/probe.sh
