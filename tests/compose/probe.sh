# Runs against a started docker-compose.yml: a crawl job through the API to its end, then kill -9 of
# the container in the middle of another job, which goes on and ends with exactly the same pages.
#   DC       the compose command            PROJECT  its -p        n CMD  runs CMD where the ports are
set -euo pipefail
: "${DC:=docker compose}" "${PROJECT:=ctest}" "${CRAWLER_SERVICE_TOKEN:?}"
declare -F n >/dev/null || n() { "$@"; }
base=http://127.0.0.1:${CRAWLER_PORT:-8080}

api() { # METHOD PATH [BODY] → the answer
  n curl -sS --fail-with-body -m 20 -X "$1" "$base$2" -H "Authorization: Bearer $CRAWLER_SERVICE_TOKEN" \
    ${3:+-H 'Content-Type: application/json' -d "$3"}
}
field() { python3 -c 'import json,sys; print(eval("json.load(sys.stdin)" + sys.argv[1]))' "$1"; }
wait_for() { # JOB STATE
  for _ in $(seq 240); do
    found=$(api GET "/jobs/$1" | field '["state"]') || found=unreachable
    [ "$found" = "$2" ] && return
    case $found in failed | cancelled) api GET "/jobs/$1"; return 1 ;; esac
    sleep 0.5
  done
  echo "job $1 is $found, not $2" >&2; return 1
}
urls() { api GET "/jobs/$1/files/pages.jsonl" | python3 -c 'import json,sys
for line in sys.stdin: one = json.loads(line); print(one["url"], one["outcome"], one["digest"])' | sort; }

network=$(docker inspect -f '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' "$($DC -p "$PROJECT" ps -q crawler)")
docker rm -f "$PROJECT-web" >/dev/null 2>&1 || true
docker run -d --name "$PROJECT-web" --network "$network" --network-alias demo \
  --entrypoint python crawler -c "$(cat tests/compose/web.py)" >/dev/null
trap 'docker rm -f "$PROJECT-web" >/dev/null 2>&1' EXIT

n curl -sS -o /dev/null -w '%{http_code}\n' "$base/jobs" | grep -qx 401
echo 'without a token: 401'
# Its pages are all alike, as a trap's are.
body='{"seeds": ["http://demo:8000/"], "scope": {"trap": "off"}, "pace": {"delay": 0, "per_host": 4}}'
first=$(api POST /jobs "$body" | field '["id"]')
wait_for "$first" finished
urls "$first" > "${TMPDIR:-/tmp}/$PROJECT-first"
echo "a job ran to its end: $(wc -l < "${TMPDIR:-/tmp}/$PROJECT-first") records"
[ "$(wc -l < "${TMPDIR:-/tmp}/$PROJECT-first")" = 400 ]

second=$(api POST /jobs "$body" | field '["id"]')
for _ in $(seq 200); do
  done_now=$(api GET "/jobs/$second" | field '["totals"]["pages"]')
  [ "$done_now" -ge 60 ] && break
  sleep 0.1
done
docker kill -s KILL "$($DC -p "$PROJECT" ps -q crawler)" >/dev/null
echo "killed with -9 after $done_now pages"
$DC -p "$PROJECT" up -d --no-build --pull never --wait --wait-timeout 60 crawler >/dev/null 2>&1
wait_for "$second" finished
urls "$second" > "${TMPDIR:-/tmp}/$PROJECT-second"
diff "${TMPDIR:-/tmp}/$PROJECT-first" "${TMPDIR:-/tmp}/$PROJECT-second"
[ "$(api GET "/jobs/$second" | field '["runs"]')" -ge 2 ]
echo 'it went on and ended with exactly the same records'

container=$($DC -p "$PROJECT" ps -q crawler)
[ "$(docker exec "$container" id -u)" = 10001 ]
docker exec "$container" sh -c 'touch /probe' 2>/dev/null && { echo 'the root is writable' >&2; exit 1; }
docker exec "$container" sh -c 'command -v gcc' >/dev/null 2>&1 && { echo 'a compiler was left' >&2; exit 1; }
api GET /metrics | grep -q '^crawler_jobs{state="finished"} 2'
echo 'user 10001, read-only root, metrics'
$DC -p "$PROJECT" stop crawler >/dev/null 2>&1
[ "$(docker inspect -f '{{.State.ExitCode}}' "$container")" = 0 ]
echo 'SIGTERM: exit code 0'
