#!/usr/bin/env bash
# Kill the demo's workflow at random moments (SIGKILL to Snakemake and the stages that it started), start it again each
# time, and compare what it leaves with a demo that was left alone: tests/faults/kill_demo.sh [KILLS [FINISHED_DEMO]]
set -euo pipefail
kills=${1:-10}
folder=$(mktemp -d)
alone=$folder/alone
if [ -n "${2:-}" ]; then
    alone=$(realpath -e "$2")
fi
cd "$(dirname "$0")/../.."

start() {  # RUN_DIR [setsid]
    exec ${2:-} .venv/bin/snakemake --workflow-profile workflow/profiles/local --configfile workflow/demo.yaml \
        --config "run_dir=$1"
}

session= survived=0
trap '[ -z "$session" ] || pkill -KILL -s "$session" || true' EXIT
for _ in $(seq "$kills"); do
    wait=$((5 + RANDOM % 60))
    (start "$folder/killed" setsid) > "$folder/log" 2>&1 & session=$!
    sleep "$wait"
    # One that ended by itself is through, or this script fails as it did.
    pkill -KILL -s "$session" || { wait "$session"; break; }
    wait "$session" 2>/dev/null || true
    session=
    survived=$((survived + 1))
    echo "killed after $wait s in: $(grep "^\\$" "$folder/log" | tail -n 1 | cut -d' ' -f3)"
done
session=
[ "$survived" -gt 0 ] || { echo "error: the demo ended before the first kill" >&2; exit 1; }
(start "$folder/killed")
(start "$alone")
.venv/bin/python tests/compare_runs.py "$folder/killed" "$alone"
echo "the demo survived $survived kills"
