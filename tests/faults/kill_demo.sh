#!/usr/bin/env bash
# Kill the demo's workflow at random moments (SIGKILL to Snakemake and all that it started), start it again each time,
# and compare what it leaves with a run that was left alone: tests/faults/kill_demo.sh [KILLS [FINISHED_RUN]]
set -euo pipefail
cd "$(dirname "$0")/../.."
kills=${1:-10}
folder=$(mktemp -d)
alone=$(realpath "${2:-$folder/alone}")

start() {
    exec setsid .venv/bin/snakemake --workflow-profile workflow/profiles/local --configfile workflow/demo.yaml \
        --config "run_dir=$1"
}

survived=0
for _ in $(seq "$kills"); do
    wait=$((5 + RANDOM % 60))
    (start "$folder/killed") > "$folder/log" 2>&1 & session=$!
    sleep "$wait"
    pkill -KILL -s "$session" || break  # it is already through
    wait "$session" 2>/dev/null || true
    survived=$((survived + 1))
    echo "killed after $wait s in: $(grep "^\\$" "$folder/log" | tail -n 1 | cut -d' ' -f3)"
done
(start "$folder/killed")
(start "$alone")
.venv/bin/python -m workflow.compare "$folder/killed" "$alone"
echo "the demo survived $survived kills"
