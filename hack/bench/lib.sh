# Sourced by hack/bench/scripts/*. Needs `set -euo pipefail` in the caller.
# shellcheck shell=bash

# best N COMMAND...: the least wall time of N runs, in milliseconds. Output goes to /dev/null; a failing command fails.
best() {
  local n=$1 least='' start took
  shift
  for _ in $(seq "$n"); do
    start=$(date +%s%N)
    "$@" >/dev/null 2>&1 || { printf 'bench: this failed: %s\n' "$*" >&2; return 1; }
    took=$((($(date +%s%N) - start) / 1000000))
    if [ -z "$least" ] || [ "$took" -lt "$least" ]; then least=$took; fi
  done
  # Nothing takes no time: a ratio must not divide by zero.
  [ "$least" -gt 0 ] || least=1
  printf '%s\n' "$least"
}

# peak COMMAND...: the greatest resident memory of the command, in KiB.
peak() {
  python3 -c '
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)' "$@"
}

# ratio WHAT OTHER OURS AIM
ratio() { awk -v what="$1" -v other="$2" -v ours="$3" -v aim="$4" 'BEGIN { printf "ratio %s %.2f (%s)\n", what, other / ours, aim }'; }
