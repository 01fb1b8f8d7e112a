#!/usr/bin/env bash
# Bring up a one-node Slurm from Debian's packages, run the demo on it and without it, compare all results.
# As root, in a container or virtual machine: tests/slurm/run.sh [CONFIGURATION [FOLDER]]; the folder must be new.
set -euo pipefail
cd "$(dirname "$0")/../.."
config=$(realpath "${1:-workflow/demo.yaml}")
folder=${2:-$(mktemp -d)}
snakemake=${SNAKEMAKE:-.venv/bin/snakemake}
python=$(dirname "$snakemake")/python
state=$folder/slurm

fail() { echo "error: $1" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "a Slurm of one's own needs root: run this in a container or virtual machine"
[ ! -e /etc/slurm/slurm.conf ] || fail "/etc/slurm/slurm.conf exists: this machine has a Slurm of its own"
command -v slurmctld >/dev/null && command -v munged >/dev/null ||
    fail "Slurm is missing: apt-get install slurm-wlm munge"
mkdir -p "$state/state" "$state/spool" /etc/slurm /run/munge
chown munge: /run/munge /etc/munge/munge.key

started=()
stop() {
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -f /etc/slurm/slurm.conf
}
trap stop EXIT

host=$(hostname -s)
cat > /etc/slurm/slurm.conf <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc=$state/jobs.txt
MinJobAge=300
MpiDefault=none
ReturnToService=2
StateSaveLocation=$state/state
SlurmdSpoolDir=$state/spool
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(awk '/MemTotal/ {print int($2 / 1100)}' /proc/meminfo)
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END

setpriv --reuid=munge --regid=munge --clear-groups munged --foreground --force 2> "$state/munged.log" & started+=($!)
sleep 1
slurmctld -D 2> /dev/null & started+=($!)
slurmd -D 2> /dev/null & started+=($!)
for _ in $(seq 60); do
    sinfo --noheader --format=%T 2>/dev/null | grep -q idle && break
    sleep 1
done
sinfo --noheader --format=%T | grep -q idle || fail "the node did not come up; its logs are in $state"
sinfo

how=(device=cpu threads=1 worlds_per_job=1)  # a job a core and a model: sums on other threads are other bits
begun=$SECONDS
"$snakemake" --workflow-profile workflow/profiles/slurm --default-resources mem_mb=3000 runtime=240 \
    --latency-wait 30 --configfile "$config" --config "run_dir=$folder/slurm_runs/seed_{seed}" "${how[@]}"
took=$((SECONDS - begun))
"$snakemake" --workflow-profile workflow/profiles/local --configfile "$config" \
    --config "run_dir=$folder/local_runs/seed_{seed}" "${how[@]}"

jobs=$(grep -c "JobState=COMPLETED" "$state/jobs.txt" || true)
"$python" tests/compare_runs.py "$folder/slurm_runs" "$folder/local_runs"
[ "$jobs" -gt 0 ] || fail "Slurm ran no job"
echo "Slurm ran $jobs jobs of the workflow in $took s; its results equal those of this machine alone"
