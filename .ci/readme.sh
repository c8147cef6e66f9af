#!/usr/bin/env bash
# Runs the commands of README.md as they stand there.
#
# A block of code is marked by the comment in front of it:
#   <!-- ci: run -->           to its end; each line must succeed
#   <!-- ci: up PORT -->       in the background, until 127.0.0.1:PORT answers
#   <!-- ci: by … -->          something else runs it: another stage
#   <!-- ci: down -->          (no block) ends what was started, as Ctrl+C does, in reverse order
# A block of sh without a mark is an error. Ends with a line `N passed, N failed`.
set -u

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
WORK=$(mktemp -d)
cd "$ROOT" || exit 1
set -m # each background block is a process group of its own, as in a terminal

PIDS=() passed=0 failed=0
ok() { passed=$((passed + 1)); echo "ok: $1"; }
bad() { failed=$((failed + 1)); echo "FAILED: $1"; }

# All blocks share one environment, as one terminal would.
cp /dev/null "$WORK/env"

down() {
  local at pid
  for ((at = ${#PIDS[@]} - 1; at >= 0; at--)); do
    pid=${PIDS[at]}
    kill -INT -- "-$pid" 2>/dev/null
    for _ in $(seq 300); do
      kill -0 -- "-$pid" 2>/dev/null || break
      sleep 0.05
    done
    if kill -0 -- "-$pid" 2>/dev/null; then
      bad "a server did not end within 15 s after Ctrl+C"
      kill -KILL -- "-$pid" 2>/dev/null
    fi
    wait "$pid" 2>/dev/null
  done
  PIDS=()
}
trap 'down; rm -rf "$WORK"' EXIT

run() { # LINE TEXT
  printf 'set -euo pipefail\n. "%s/env"\n%s\nexport -p >"%s/env"\n' "$WORK" "$2" "$WORK" >"$WORK/block"
  # A reader that stops early (head) is no failure.
  sed -i 's/^set -euo pipefail$/set -eu/' "$WORK/block"
  if timeout 1200 bash "$WORK/block" >"$WORK/out" 2>&1 </dev/null; then
    ok "line $1: $(head -n 1 <<<"$2")"
  else
    bad "line $1: $(head -n 1 <<<"$2")"
    tail -n 20 "$WORK/out"
  fi
}

up() { # LINE PORT TEXT
  if (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null; then
    bad "line $1: port $2 is in use already"
    return
  fi
  printf '. "%s/env"\n%s\n' "$WORK" "$3" >"$WORK/server-$1"
  bash "$WORK/server-$1" >"$WORK/server-$1.log" 2>&1 </dev/null &
  local pid=$! end=$((SECONDS + 1200))
  PIDS+=("$pid")
  until (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null; do
    if ! kill -0 "$pid" 2>/dev/null || [ "$SECONDS" -ge "$end" ]; then
      bad "line $1: $3 does not answer on port $2"
      tail -n 20 "$WORK/server-$1.log"
      return
    fi
    sleep 0.1
  done
  # A proxy's socket may be there a moment before its routes.
  curl -s -o /dev/null --retry 20 --retry-delay 1 --retry-all-errors -m 5 "http://127.0.0.1:$2/"
  ok "line $1: $3"
}

mark="" block="" inside=no at=0 start=0
while IFS= read -r line; do
  at=$((at + 1))
  if [ "$inside" = yes ]; then
    if [ "$line" != '```' ]; then
      block+=$line$'\n'
      continue
    fi
    inside=no
    case $mark in
      run) run "$start" "$block" ;;
      "up "*) up "$start" "${mark#up }" "$block" ;;
      "by "*) ok "line $start: ${mark}: ${block%%$'\n'*}" ;;
      *) bad "line $start: this block of code is not marked" ;;
    esac
    mark=""
  elif [ "$line" = '```sh' ]; then
    inside=yes block="" start=$((at + 1))
  elif [[ $line =~ ^'<!-- ci: '(.*)' -->'$ ]]; then
    mark=${BASH_REMATCH[1]}
    if [ "$mark" = down ]; then
      down
      mark=""
    fi
  fi
done <README.md
down
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
