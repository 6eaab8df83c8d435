# Runs against docker-compose.yml with its profile cluster: three workers, one of them killed with
# kill -9 in the middle of a job, the server of the queues, too. The job ends, each page once.
#   DC       the compose command            PROJECT  its -p        n CMD  runs CMD where the ports are
# The services were started with COMPOSE_PROFILES=cluster, CRAWLER_SERVICE_FRONTIER=redis://redis:6379/0,
# CRAWLER_SERVICE_PRIVATE=true and CRAWLER_WORKER_PRIVATE=any.
set -euo pipefail
: "${DC:=docker compose}" "${PROJECT:=ctest}" "${CRAWLER_SERVICE_TOKEN:?}"
declare -F n >/dev/null || n() { "$@"; }
base=http://127.0.0.1:${CRAWLER_PORT:-8080}
began=$SECONDS
tell() { printf '[%3d s] %s\n' $((SECONDS - began)) "$*"; }

api() { # METHOD PATH [BODY] → the answer
  n curl -sS --fail-with-body -m 20 -X "$1" "$base$2" -H "Authorization: Bearer $CRAWLER_SERVICE_TOKEN" \
    ${3:+-H 'Content-Type: application/json' -d "$3"}
}
field() { python3 -c 'import json,sys; print(eval("json.load(sys.stdin)" + sys.argv[1]))' "$1"; }
workers() { api GET /workers | python3 -c 'import json,sys
print(sum(one["state"] in sys.argv[1:] for one in json.load(sys.stdin)["workers"]))' "$@"; }
until_workers() { # NUMBER STATE…
  local wanted=$1; shift
  for _ in $(seq 240); do [ "$(workers "$@")" = "$wanted" ] && return; sleep 0.5; done
  api GET /workers; return 1
}
pages() { api GET "/jobs/$1" | field '["totals"]["pages"]'; }
until_pages() { # JOB NUMBER
  for _ in $(seq 600); do [ "$(pages "$1")" -ge "$2" ] && return; sleep 0.1; done
  api GET "/jobs/$1"; return 1
}

network=$(docker inspect -f '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' "$($DC -p "$PROJECT" ps -q crawler)")
docker rm -f "$PROJECT-web" >/dev/null 2>&1 || true
docker run -d --name "$PROJECT-web" --network "$network" --network-alias demo \
  --entrypoint python crawler -c "$(cat tests/compose/web.py)" >/dev/null
trap 'docker rm -f "$PROJECT-web" >/dev/null 2>&1' EXIT

$DC -p "$PROJECT" up -d --no-build --pull never --wait --wait-timeout 90 --scale worker=3 >/dev/null 2>&1
until_workers 3 idle
tell 'three workers stand by'

# Its pages are all alike, as a trap's are.
body='{"seeds": ["http://demo:8000/"], "scope": {"trap": "off"}, "pace": {"delay": 0, "per_host": 2}}'
job=$(api POST /jobs "$body" | field '["id"]')
until_pages "$job" 60
until_workers 3 working
victim=$($DC -p "$PROJECT" ps -q worker | head -1)
docker kill -s KILL "$victim" >/dev/null
tell "a worker was killed with -9 after $(pages "$job") pages"
until_workers 1 dead
tell 'the service says that it died'
docker kill -s KILL "$($DC -p "$PROJECT" ps -q redis)" >/dev/null
$DC -p "$PROJECT" up -d --no-build --pull never --no-recreate redis >/dev/null 2>&1
tell "Redis was killed with -9 after $(pages "$job") pages, and started"
for _ in $(seq 480); do
  state=$(api GET "/jobs/$job" | field '["state"]')
  case $state in finished) break ;; failed | cancelled) api GET "/jobs/$job"; exit 1 ;; esac
  sleep 0.5
done
tell "the job is $state"
api GET "/jobs/$job/files/pages.jsonl" | python3 -c 'import json,sys
from collections import Counter
urls = Counter(json.loads(line)["url"] for line in sys.stdin)
wanted = {"http://demo:8000/"} | {f"http://demo:8000/{n}" for n in range(1, 400)}
assert set(urls) == wanted, (set(urls) ^ wanted)
assert set(urls.values()) == {1}, [one for one in urls.items() if one[1] > 1]
print(f"{len(urls)} pages, each once")'
for container in $($DC -p "$PROJECT" ps -q worker); do
  docker exec "$container" sh -c 'wc -l < "/shares/$(hostname)/'"$job"'/pages.jsonl"' || true
done | sed 's/^/records in a share: /'
api GET /metrics | grep -E '^crawler_(workers_died_total|redis_up|redis_durable|shard_links)' | head -12
worker=$($DC -p "$PROJECT" ps -q worker | head -1)
[ "$(docker exec "$worker" id -u)" = 10001 ]
docker exec "$worker" sh -c 'touch /probe' 2>/dev/null && { echo 'the root is writable' >&2; exit 1; }
# Drained: what is in hand is finished, and the exit code says so.
$DC -p "$PROJECT" stop worker >/dev/null 2>&1
[ "$(docker inspect -f '{{.State.ExitCode}}' "$worker")" = 0 ]
tell 'user 10001, read-only root; SIGTERM: exit code 0'
