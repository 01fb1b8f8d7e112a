"""NR and SR by stage on made-up answers: one version on a CPU without SAMIA, or all nine models on a GPU with it."""
import contextlib
import cProfile
import io
import pstats
import shlex
import tempfile
from pathlib import Path

import CompLeakNR
import CompLeakSR
from benchmarks.common import Row, command, seconds
from benchmarks.made_up import write_run
from common.paths import ORIGINAL, Version
from models import hints
from models.compression import paper_versions

ONE_GOAL, ALL_GOAL = 45, 180
ONE = Row("nr_sr", "NR + SR of one version, 10,000 + 10,000 points, both worlds, without SAMIA",
          f"≤ {ONE_GOAL} s on 2 CPU cores, the shadow's scores for MR included", "python -m benchmarks.nr_sr")
ALL = Row("nr_sr_all", "NR + SR of all nine models, SAMIA included, one GPU with 16 cores", f"≤ {ALL_GOAL} s",
          "python -m benchmarks.nr_sr --device cuda", device="cuda")
# What is timed: functions (module, name) that do not call one another.
STAGES = {"SAMIA": [("samia", "train_samia"), ("samia", "samia_score")],
          "forests fitted": [("classifiers", "fit_forest")],
          "classifiers scored": [("classifiers", "score"), ("classifiers", "score_out_of_bag")],
          "logistic regressions fitted": [("classifiers", "fit_logistic")],
          "thresholds": [("metric_based", "run")],
          "RMIA": [("rmia", "_run_ratio"), ("rmia", "_run_population")],
          "metrics and their intervals": [("results", "evaluate")]}


def commands(layout, versions, device):
    """(main, argv) of NR for each model and SR for each compressed one."""
    compressed = [version for version in versions if version != ORIGINAL]
    texts = [(CompLeakNR.main, hints.attacks(layout, "NR", versions)),
             (CompLeakSR.main, hints.attacks(layout, "SR", compressed))]
    return [(main, [*shlex.split(command)[2:], "--device", str(device)])
            for main, text in texts for command in text.split("; ") if command]


def measure_stages(versions, scored, device, shadow_num=1, sensitivity=False):
    """{stage: seconds} of the commands on a made-up run; "all" is their sum, "the rest" what no stage accounts for."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        layout = write_run(Path(folder), versions, scored, shadow_num, sensitivity)
        profile = cProfile.Profile()
        total = seconds(lambda: [profile.runcall(main, argv) for main, argv in commands(layout, versions, device)])
    spent = {}
    for (file, _, name), (*_, cumulative, _) in pstats.Stats(profile).stats.items():
        key = Path(file).stem, name
        spent[key] = spent.get(key, 0.0) + cumulative
    stages = {stage: sum(spent.get(key, 0.0) for key in keys) for stage, keys in STAGES.items()}
    return {**stages, "the rest": total - sum(stages.values()), "all": total}


def measure(device, scored=10_000):
    """On a GPU all nine models with SAMIA; scored: members, and as many non-members, a world."""
    on_gpu = device.type == "cuda"
    versions = paper_versions() if on_gpu else [Version("pruning", "0.6")]
    taken = measure_stages(versions, scored, device, sensitivity=on_gpu)
    parts = ", ".join(f"{stage} {some:.1f}" for stage, some in taken.items() if stage != "all" and some >= 0.05)
    return (f"{taken['all']:.0f} s ({parts})", taken["all"] <= (ALL_GOAL if on_gpu else ONE_GOAL), taken,
            {"models": len(versions), "scored": scored, "samia": on_gpu})


if __name__ == "__main__":
    command(__doc__, measure, ONE, ALL)
