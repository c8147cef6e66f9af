#!/usr/bin/env bash
# A tour of the mesh: starts it, shows seven things about it, and stops it again.
#
#   demo/tour.sh [--auto] [--local | --compose] [--step N]
#
#   --auto      do not wait for a key between the steps
#   --local     separate processes on this machine (default)
#   --compose   containers, by `docker compose` or `docker-compose`
#   --step N    only that step
#
# Needs bash and curl. A line `PASS n title`, `FAIL n title: why` or `SKIP n title: why` a step; exit
# code 0 only if none fails. Binaries come from GOMESH_BIN_DIR, else cargo builds them (with
# --compose they are built in the image unless GOMESH_BIN_DIR is set). The mesh's logs go to files in
# GOMESH_TOUR_DIR, else in a temporary folder. EDGE_PORT, EDGE_ADMIN_PORT, XDS_PORT, XDS_ADMIN_PORT
# and BACKEND_PORT (with the two after it) move the ports.
set -u

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
EDGE_PORT=${EDGE_PORT:-8000}
EDGE_ADMIN_PORT=${EDGE_ADMIN_PORT:-9901}
XDS_PORT=${XDS_PORT:-18000}
XDS_ADMIN_PORT=${XDS_ADMIN_PORT:-19000}
BACKEND_PORT=${BACKEND_PORT:-3000}
EDGE=http://127.0.0.1:$EDGE_PORT
ADMIN=http://127.0.0.1:$EDGE_ADMIN_PORT
CONTROL=http://127.0.0.1:$XDS_ADMIN_PORT
LAST=7

usage() { sed -n '2,/^set -u/{/^#/{s/^# \{0,1\}//;p}}' "${BASH_SOURCE[0]}"; }
wrong() { echo "tour.sh: $1; see --help" >&2; exit 64; }

auto=no mode=local only=
while [ $# -gt 0 ]; do
  case $1 in
    --auto) auto=yes ;;
    --local) mode=local ;;
    --compose) mode=compose ;;
    --step) only=${2:-}; [ $# -gt 1 ] && shift ;;
    --step=*) only=${1#--step=} ;;
    -h | --help) usage; exit 0 ;;
    *) wrong "unknown argument '$1'" ;;
  esac
  shift
done
if [ -n "$only" ] && ! [[ $only =~ ^[1-$LAST]$ ]]; then wrong "--step takes 1 to $LAST, got '$only'"; fi
command -v curl >/dev/null || { echo "tour.sh: curl is needed" >&2; exit 1; }

if [ -n "${GOMESH_TOUR_DIR:-}" ]; then
  WORK=$GOMESH_TOUR_DIR
  mkdir -p "$WORK"
  WORK=$(cd "$WORK" && pwd)
else
  WORK=$(mktemp -d)
fi
chmod 755 "$WORK"
mkdir -p "$WORK/mesh"
chmod 755 "$WORK/mesh"
MESH=$WORK/mesh/mesh.yaml
: >"$WORK/head"
: >"$WORK/body"

# ---------------------------------------------------------------- the mesh, up and down

declare -A PID=()

# spawn NAME COMMAND...: in the background, its output added to NAME.log.
spawn() {
  local name=$1
  shift
  "$@" </dev/null >>"$WORK/$name.log" 2>&1 &
  PID[$name]=$!
}

# end NAME: SIGTERM, and SIGKILL where ten seconds are not enough.
end() {
  local pid=${PID[$1]:-}
  [ -n "$pid" ] || return 0
  unset "PID[$1]"
  kill -TERM "$pid" 2>/dev/null
  for _ in $(seq 200); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.05
  done
  kill -KILL "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null
}

# The file's text with the ports of this run instead of the default ones.
with_ports() {
  local text
  text=$(<"$1")
  text=${text//127.0.0.1:8000/127.0.0.1:$EDGE_PORT}
  text=${text//localhost:9901/localhost:$EDGE_ADMIN_PORT}
  text=${text//port_value: 9901/port_value: $EDGE_ADMIN_PORT}
  text=${text//port_value: 18000/port_value: $XDS_PORT}
  local at
  for at in 0 1 2; do
    text=${text//127.0.0.1:$((3000 + at))/127.0.0.1:#$((BACKEND_PORT + at))}
  done
  text=${text//:#/:}
  printf '%s\n' "$text"
}

# replace FILE TEXT: as an editor saves, by a rename.
replace() {
  printf '%s\n' "$2" >"$1.new" && chmod 644 "$1.new" && mv "$1.new" "$1"
}

build() {
  if [ -n "${GOMESH_BIN_DIR:-}" ]; then
    BIN=$(cd "$GOMESH_BIN_DIR" && pwd) || return 1
    return
  fi
  echo "building (the first time takes some minutes) ..."
  (cd "$ROOT" && cargo build --release -p data-plane -p xds-server -p demo) || return 1
  BIN=${CARGO_TARGET_DIR:-$ROOT/target}/release
  case $BIN in /*) ;; *) BIN=$ROOT/$BIN ;; esac
}

start_control() {
  if [ "$mode" = compose ]; then
    "${COMPOSE[@]}" start xds-server >>"$WORK/compose.log" 2>&1
  else
    spawn xds-server "$BIN/xds-server" --config "$MESH" --listen "127.0.0.1:$XDS_PORT" \
      --admin "127.0.0.1:$XDS_ADMIN_PORT" --state "$WORK/state"
  fi
}

stop_control() {
  if [ "$mode" = compose ]; then
    "${COMPOSE[@]}" stop xds-server >>"$WORK/compose.log" 2>&1
  else
    end xds-server
  fi
}

start_local() {
  local port version
  GOOD=$(with_ports "$ROOT/demo/mesh.yaml")
  replace "$MESH" "$GOOD"
  replace "$WORK/edge.yaml" "$(with_ports "$ROOT/bootstrap/edge.yaml")"
  # A port that someone else holds would answer in our place.
  for port in $EDGE_PORT $EDGE_ADMIN_PORT $XDS_PORT $XDS_ADMIN_PORT $BACKEND_PORT \
    $((BACKEND_PORT + 1)) $((BACKEND_PORT + 2)); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "tour.sh: port $port is in use; end what holds it, or see --help for other ports" >&2
      return 1
    fi
  done
  build || return 1
  for port in 0 1 2; do
    version=v1
    [ "$port" = 2 ] && version=v2
    spawn "backend-$port" "$BIN/demo" backend --listen "127.0.0.1:$((BACKEND_PORT + port))" \
      --version "$version"
  done
  start_control
  spawn edge "$BIN/data-plane" -c "$WORK/edge.yaml"
}

start_compose() {
  if docker compose version >/dev/null 2>&1; then
    COMPOSE=(docker compose)
  elif command -v docker-compose >/dev/null; then
    COMPOSE=(docker-compose)
  else
    echo "tour.sh: neither 'docker compose' nor docker-compose is here" >&2
    return 1
  fi
  COMPOSE+=(-f "$ROOT/docker-compose.yaml" -p gomesh-tour)
  GOOD=$(<"$ROOT/demo/compose/mesh.yaml")
  replace "$MESH" "$GOOD"
  export GOMESH_MESH_DIR=$WORK/mesh EDGE_PORT EDGE_ADMIN_PORT XDS_ADMIN_PORT
  if [ -n "${GOMESH_BIN_DIR:-}" ]; then
    export GOMESH_TARGET=from-binary
    local name
    for name in data-plane xds-server demo; do
      cp "$GOMESH_BIN_DIR/$name" "$ROOT/demo/image/bin/$name" || return 1
      chmod 755 "$ROOT/demo/image/bin/$name"
    done
  fi
  echo "building images and starting containers (log: $WORK/compose.log) ..."
  "${COMPOSE[@]}" up -d --build >"$WORK/compose.log" 2>&1 || {
    tail -n 20 "$WORK/compose.log" >&2
    return 1
  }
}

start() {
  "start_$mode" || return 1
  within 60 is_up || {
    echo "tour.sh: the mesh does not answer on $EDGE; logs are in $WORK" >&2
    return 1
  }
}

is_up() { ask /health && [ "$CODE" = 200 ] && node_is_connected; }

stop() {
  local name
  touch "$WORK/load.stop"
  if [ "$mode" = compose ]; then
    [ -n "${COMPOSE+x}" ] || return 0
    "${COMPOSE[@]}" logs --no-color >"$WORK/containers.log" 2>&1
    "${COMPOSE[@]}" down -v -t 10 >>"$WORK/compose.log" 2>&1
    [ -z "${GOMESH_BIN_DIR:-}" ] || rm -f "$ROOT"/demo/image/bin/{data-plane,xds-server,demo}
  else
    # What answers last ends last.
    for name in edge backend-0 backend-1 backend-2 xds-server; do end "$name"; done
  fi
}

# logs NAME: what a part of the mesh wrote.
logs() {
  if [ "$mode" = compose ]; then
    "${COMPOSE[@]}" logs --no-color "$1" 2>/dev/null
  else
    cat "$WORK/$1.log" 2>/dev/null
  fi
}

backend_logs() {
  if [ "$mode" = compose ]; then
    logs backend-v1
    logs backend-v2
  else
    cat "$WORK"/backend-*.log
  fi
}

# ---------------------------------------------------------------- questions

# ask PATH [curl arguments]: CODE, HEAD and BODY of the answer; CODE is 000 without one.
ask() {
  local path=$1
  shift
  CODE=$(curl -s -m 10 -D "$WORK/head" -o "$WORK/body" -w '%{http_code}' "$@" "$EDGE$path")
  HEAD=$(tr -d '\r' <"$WORK/head" 2>/dev/null)
  BODY=$(tr -d '\0' <"$WORK/body" 2>/dev/null)
  [ "$CODE" != 000 ]
}

page() { curl -s -m 5 "$@"; }

# within SECONDS COMMAND...: until it succeeds.
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.05
  done
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# sum PAGE NAME: the values of a metric's series, added up.
sum() {
  printf '%s\n' "$1" | awk -v name="$2" '
    index($1, name) == 1 { rest = substr($1, length(name) + 1, 1)
      if (rest == "" || rest == "{") total += $NF }
    END { printf "%d\n", total }'
}

node_is_connected() { page "$CONTROL/v1/nodes/edge-1" | grep -q '"connected":true'; }
in_control_log() { logs xds-server | grep -qF "$1"; }
in_edge_log() { logs edge | grep -F "$1" | grep -qF "$2"; }
in_backend_log() { backend_logs | grep -qF "$1"; }

# Requests one after the other, many on each connection, until load_stop; their codes in load.codes.
load_start() {
  rm -f "$WORK/load.stop" "$WORK/load.codes"
  : >"$WORK/load.codes"
  while [ ! -e "$WORK/load.stop" ]; do
    curl -s -m 20 -o /dev/null -w '%{http_code}\n' "$EDGE/load/[1-25]" >>"$WORK/load.codes"
    sleep 0.05
  done &
  LOAD=$!
}

# Sets SENT and LOST: what was not answered with 200.
load_stop() {
  touch "$WORK/load.stop"
  wait "$LOAD"
  SENT=$(grep -c . "$WORK/load.codes")
  LOST=$(grep -cv '^200$' "$WORK/load.codes")
}

none_lost() {
  [ "$SENT" -gt 0 ] || { WHY="no request was sent"; return 1; }
  [ "$LOST" = 0 ] || { WHY="$LOST of $SENT requests were lost"; return 1; }
}

# all_from VERSION: twelve requests in a row are answered by it.
all_from() {
  local versions
  versions=$(page "$EDGE/version/[1-12]" | grep -o '"version":"[^"]*"' | sort | uniq -c)
  [ "$(echo "$versions" | awk '{ $1 = $1; print }')" = "12 \"version\":\"$1\"" ]
}

both_versions() {
  local versions
  versions=$(page "$EDGE/version/[1-12]" | grep -o '"version":"[^"]*"' | sort -u | wc -l)
  [ "$versions" = 2 ]
}

# ---------------------------------------------------------------- the steps

# need TEXT CONDITION...: the step fails for this reason unless the condition holds.
need() {
  local why=$1
  shift
  "$@" || { WHY=$why; return 1; }
}

has() { case $1 in *"$2"*) ;; *) return 1 ;; esac; }

TITLE_1="hello: 200, a JSON echo, a trace id"
step_1() {
  ask /api/users || { WHY="no answer from $EDGE"; return 1; }
  need "status $CODE instead of 200" [ "$CODE" = 200 ] || return
  need "the body is no echo: $BODY" has "$BODY" '"path":"/api/users"' || return
  need "the echo has no method: $BODY" has "$BODY" '"method":"GET"' || return
  local id
  id=$(echo "$HEAD" | sed -n 's/^x-trace-id: //Ip')
  need "X-Trace-ID is '$id', not 32 hex digits" [ -n "$(echo "$id" | grep -Ex '[0-9a-f]{32}')" ] ||
    return
  need "the backend got another trace id: $BODY" has "$BODY" "\"trace_id\":\"$id\"" || return
  # Only the containers have a frontend, which calls the backend through its sidecar.
  [ "$mode" = compose ] || return 0
  within 20 frontend_answers || {
    WHY="/frontend: status $CODE, $BODY"
    return 1
  }
}

frontend_answers() {
  ask /frontend -H "X-Trace-ID: tour-frontend-$$" && [ "$CODE" = 200 ] &&
    has "$BODY" '"service":"frontend"' && has "$BODY" "\"trace_id\":\"tour-frontend-$$\""
}

TITLE_2="own X-Trace-ID and traceparent come back and reach the backend"
step_2() {
  local id=tour-own-$$ w3c=4bf92f3577b34da6a3ce929d0e0e4736
  local parent=00-$w3c-00f067aa0ba902b7-01
  ask /api/users -H "X-Trace-ID: $id" || { WHY="no answer"; return 1; }
  need "the response has not X-Trace-ID: $id" has "${HEAD,,}" "x-trace-id: $id" || return
  need "the backend got another id: $BODY" has "$BODY" "\"trace_id\":\"$id\"" || return
  ask /api/users -H "traceparent: $parent" || { WHY="no answer"; return 1; }
  need "X-Trace-ID is not the traceparent's" has "${HEAD,,}" "x-trace-id: $w3c" || return
  need "traceparent did not reach the backend: $BODY" has "$BODY" "\"traceparent\":\"$parent\""
}

TITLE_3="a route is edited: live within 1 s, no request lost"
step_3() {
  need "the mesh does not begin with both versions" within 5 both_versions || return
  load_start
  sleep 0.5
  local begun took
  begun=$(now_ms)
  replace "$MESH" "${GOOD/"path: /, to: backend }"/"path: /, to: backend/v2 }"}"
  within 10 all_from v2
  local live=$?
  took=$(($(now_ms) - begun))
  replace "$MESH" "$GOOD"
  within 10 both_versions
  local back=$?
  load_stop
  need "the change was not live within 10 s" [ "$live" = 0 ] || return
  need "the change took $took ms" [ "$took" -le 1000 ] || return
  need "the change back was not live within 10 s" [ "$back" = 0 ] || return
  none_lost || return
  NOTE="$took ms, 0 of $SENT requests lost"
}

TITLE_4="a bad mesh file is refused with its place, traffic goes on"
step_4() {
  local bad line
  bad="$GOOD"$'\n'"- { name: typo-$$, gateway: edge, path: /typo, to: bakend }"
  line=$(printf '%s\n' "$bad" | grep -n "typo-$$" | cut -d: -f1)
  load_start
  replace "$MESH" "$bad"
  within 5 in_control_log "mesh.yaml:$line:"
  local told=$?
  sleep 0.5
  replace "$MESH" "$GOOD"
  load_stop
  need "xds-server's log does not name mesh.yaml:$line" [ "$told" = 0 ] || return
  none_lost || return
  need "the mesh does not serve as before" within 5 both_versions || return
  NOTE="mesh.yaml:$line named, 0 of $SENT requests lost"
}

TITLE_5="/panic is 500 and the proxy lives, /backend/panic is 503"
step_5() {
  local before after
  before=$(sum "$(page "$ADMIN/metrics")" gomesh_panics_total)
  ask /panic || { WHY="no answer to /panic"; return 1; }
  need "/panic: status $CODE instead of 500" [ "$CODE" = 500 ] || return
  need "/panic: body '$BODY'" [ "$BODY" = "Internal Server Error" ] || return
  ask /api/users
  need "after /panic: status $CODE instead of 200" [ "$CODE" = 200 ] || return
  after=$(sum "$(page "$ADMIN/metrics")" gomesh_panics_total)
  need "gomesh_panics_total went from $before to $after" [ "$after" = $((before + 1)) ] || return
  ask /backend/panic
  need "/backend/panic: status $CODE instead of 503" [ "$CODE" = 503 ] || return
  ask /api/users
  need "after /backend/panic: status $CODE instead of 200" [ "$CODE" = 200 ]
}

# What came over xDS so far; a cluster's own counter also counts answers of DNS.
updates() {
  local stats
  stats=$(page "$ADMIN/stats?filter=update_success")
  printf '%s\n' "$stats" | awk '!/^cluster\./ { total += $NF } END { print total + 0 }'
}

TITLE_6="the control plane stops and comes back: no request lost, nothing pushed again"
step_6() {
  local before after pushes
  before=$(updates)
  load_start
  stop_control
  sleep 2
  start_control
  within 30 node_is_connected
  local back=$?
  # A push would come with the first answers on the new stream.
  sleep 1
  load_stop
  pushes=$(sum "$(page "$CONTROL/metrics")" gomesh_xds_pushes_total)
  after=$(updates)
  need "the edge did not come back to the control plane" [ "$back" = 0 ] || return
  none_lost || return
  need "$pushes resources were pushed again" [ "$pushes" = 0 ] || return
  need "the edge took $((after - before)) updates" [ "$after" = "$before" ] || return
  NOTE="0 of $SENT requests lost"
}

TITLE_7="metrics and logs show it all"
step_7() {
  local id=tour-log-$$ metrics
  ask /api/users -H "X-Trace-ID: $id"
  ask /panic -H "X-Trace-ID: $id-panic"
  ask /metrics || { WHY="no answer to /metrics"; return 1; }
  need "/metrics: status $CODE" [ "$CODE" = 200 ] || return
  metrics=$BODY
  local series
  for series in 'gomesh_requests_total{service="backend",status="2xx"}' \
    'gomesh_request_duration_seconds_bucket{service="backend",le="0.005"}' \
    'gomesh_panics_total' 'gomesh_requests_in_flight' 'gomesh_xds_connected'; do
    need "/metrics lacks $series" has "$metrics" "$series" || return
  done
  need "no panic was counted" [ "$(sum "$metrics" gomesh_panics_total)" -gt 0 ] || return
  need "xds-server counts no client" \
    [ "$(sum "$(page "$CONTROL/metrics")" gomesh_xds_clients)" -gt 0 ] || return
  need "Envoy's counter is missing" \
    has "$(page "$ADMIN/stats?filter=http.edge.downstream_rq_2xx")" downstream_rq_2xx || return
  need "the request log lacks $id" within 5 in_edge_log "\"trace_id\":\"$id\"" "request completed" ||
    return
  need "the panic is not in the log" within 5 in_edge_log "$id-panic" "panic recovered" || return
  need "the backend's log lacks $id" within 5 in_backend_log "Trace-ID: $id"
}

# ---------------------------------------------------------------- the walk

failed=0 ran=0
finish() {
  trap - EXIT INT TERM
  stop
  if [ "$failed" = 0 ] && [ -z "${GOMESH_TOUR_DIR:-}" ]; then
    rm -rf "$WORK"
  else
    echo "logs: $WORK"
  fi
}
trap finish EXIT
trap 'failed=1; exit 1' INT TERM

if ! start; then
  failed=1
  for n in $(seq $LAST); do
    [ -n "$only" ] && [ "$only" != "$n" ] && continue
    title=TITLE_$n
    echo "FAIL $n ${!title}: the mesh did not start"
  done
  exit 1
fi
echo "the mesh runs: $EDGE (admin $ADMIN, control plane $CONTROL)"
for n in $(seq $LAST); do
  [ -n "$only" ] && [ "$only" != "$n" ] && continue
  title=TITLE_$n
  if [ "$auto" = no ] && [ -t 0 ]; then
    read -r -p "next: $n ${!title} [Enter] " || exit 1
  fi
  WHY="" NOTE=""
  ran=$((ran + 1))
  if "step_$n"; then
    echo "PASS $n ${!title}${NOTE:+ ($NOTE)}"
  else
    failed=$((failed + 1))
    echo "FAIL $n ${!title}: ${WHY:-it failed}"
  fi
done
echo "$((ran - failed)) passed, $failed failed"
[ "$failed" = 0 ]
