"""NR and SR by stage on made-up answers: one version on a CPU without SAMIA, or all nine models on a GPU with it.

On a CPU the goal is for the appendix's attacks, for which it was set. What came later (the attacks among equals, SR's
features from one model given twice) is timed by itself.
"""
import contextlib
import cProfile
import io
import pstats
import shlex
import tempfile
from pathlib import Path

import CompLeakNR
import CompLeakSR
from attacks import metric_based, rmia, sr, train_based
from benchmarks.common import Row, command, seconds
from benchmarks.made_up import write_run
from common.paths import ORIGINAL, Version
from models import hints
from models.compression import paper_versions

ONE_GOAL, ALL_GOAL = 45, 180
ONE = Row("nr_sr", "NR + SR of one version, the appendix's attacks without SAMIA, 10,000 + 10,000 points, both worlds",
          f"≤ {ONE_GOAL} s on 2 CPU cores, the shadow's scores for MR included", "python -m benchmarks.nr_sr")
ALL = Row("nr_sr_all", "NR + SR of all nine models, SAMIA included, one GPU with 16 cores", f"≤ {ALL_GOAL} s",
          "python -m benchmarks.nr_sr --device cuda", device="cuda")
APPENDIX = {"NR": [attack.name for attack in (*metric_based.ATTACKS, *train_based.ATTACKS, *rmia.ATTACKS)],
            "SR": [name for name in sr.ATTACKS if name.startswith("SR")]}
# What is timed: functions (module, name) that do not call one another.
STAGES = {"SAMIA": [("samia", "train_samia"), ("samia", "samia_score")],
          "forests fitted": [("classifiers", "fit_forest")],
          "classifiers scored": [("classifiers", "score"), ("classifiers", "score_out_of_bag")],
          "logistic regressions fitted": [("classifiers", "fit_logistic")],
          "thresholds": [("metric_based", "run")],
          "RMIA": [("rmia", "_run_ratio"), ("rmia", "_run_population")],
          "metrics and their intervals": [("results", "evaluate")]}


def commands(layout, versions, device, names=None):
    """(main, argv) of NR for each model and SR for each compressed one; names: {"NR", "SR": attacks}, default all."""
    compressed = [version for version in versions if version != ORIGINAL]
    texts = [(CompLeakNR.main, "NR", versions), (CompLeakSR.main, "SR", compressed)]
    return [(main, [*shlex.split(command)[2:], *(["--attacks", *names[setting]] if names else []), "--device",
                    str(device)])
            for main, setting, some in texts for command in hints.attacks(layout, setting, some).split("; ") if command]


def measure_stages(versions, scored, device, shadow_num=1, sensitivity=False, names=None):
    """{stage: seconds} of the commands on a made-up run; "all" is their sum, "the rest" what no stage accounts for.

    With names (as `commands`) these are of the named attacks, and "all other attacks" what the rest take after them.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        layout = write_run(Path(folder), versions, scored, shadow_num, sensitivity)
        profile = cProfile.Profile()
        timed = commands(layout, versions, device, names)
        total = seconds(lambda: [profile.runcall(main, argv) for main, argv in timed])
        others = seconds(lambda: [main(argv) for main, argv in commands(layout, versions, device)]) if names else None
    spent = {}
    for (file, _, name), (*_, cumulative, _) in pstats.Stats(profile).stats.items():
        key = Path(file).stem, name
        spent[key] = spent.get(key, 0.0) + cumulative
    stages = {stage: sum(spent.get(key, 0.0) for key in keys) for stage, keys in STAGES.items()}
    stages |= {"the rest": total - sum(stages.values()), "all": total}
    return {**stages, "all other attacks": others} if names else stages


def measure(device, scored=10_000):
    """On a GPU all nine models with SAMIA; scored: members, and as many non-members, a world."""
    on_gpu = device.type == "cuda"
    versions = paper_versions() if on_gpu else [Version("pruning", "0.6")]
    taken = measure_stages(versions, scored, device, sensitivity=on_gpu, names=None if on_gpu else APPENDIX)
    others = taken.get("all other attacks")
    parts = ", ".join(f"{stage} {some:.1f}" for stage, some in taken.items()
                      if not stage.startswith("all") and some >= 0.05)
    text = f"{taken['all']:.0f} s ({parts})" + (f"; {others:.0f} s more for all other attacks" if others else "")
    return (text, taken["all"] <= (ALL_GOAL if on_gpu else ONE_GOAL), taken,
            {"models": len(versions), "scored": scored, "samia": on_gpu})


if __name__ == "__main__":
    command(__doc__, measure, ONE, ALL)
