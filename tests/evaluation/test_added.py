"""evaluation/added.py: a second model's gain in one line, and what compression adds in the tables of C2 and C3."""
import numpy as np
import pytest

from attacks import mr
from common.metrics import auc
from common.paths import ORIGINAL, Version
from evaluation import added, report, tables
from evaluation.evidence import read
from models.run import Run

PRUNED, CLUSTERED = Version("pruning", "0.6"), Version("clustering", "4")
TUNED = [Version("pruning", "1e-07"), Version("pruning", "2e-07")]
GROUPS = {"both": [PRUNED, CLUSTERED], "fine-tuned two": TUNED}


@pytest.fixture
def saved(made_up_run, made_up):
    """(Run, save): save(version, setting, {attack: (strength on the target, on the shadow)}) → its target's scores."""
    run = Run(made_up_run([PRUNED, CLUSTERED, *TUNED], n=1200))
    for version in run.versions():
        made_up.config(run.layout.file(version, "target", "config.json"), version, f"{version} target")
        run.layout.file(version, "shadow_0", "config.json").unlink()
    rng, worlds = np.random.default_rng(0), run.split.worlds
    member = [np.isin(np.sort(world.evaluation), world.members) for world in worlds]

    def save(version, setting, attacks, **more):
        scored = {name: [rng.normal(size=len(one)) + strength * one for one, strength in zip(member, both, strict=True)]
                  for name, both in attacks.items()}
        made_up.scores(run, version, setting, {name: (one, None, on_shadow) for name, (one, on_shadow) in
                                               scored.items()}, shadow_member=member[1], **more)
        return {name: auc(one, member[0]) for name, (one, _) in scored.items()}

    return run, save


def test_the_second_models_gain_is_over_the_same_attack_and_chosen_on_the_shadow(saved):
    run, save = saved
    together = save(PRUNED, "SR", {"SR2 (RF)": (2, 1), "calibrated": (1, 1.5), "ratio": (3, 3)})
    assert added.second_model(run, PRUNED) == (
        "what the second model adds is known after python CompLeakNR.py --dataset_name digits --model_name resnet18 "
        f"--run_dir {run.layout.run_dir} --original; python CompLeakNR.py --dataset_name digits --model_name resnet18 "
        f"--run_dir {run.layout.run_dir} --compress --compress_name pruning --compress_degree 0.6")
    save(ORIGINAL, "NR", {"calibrated": (2, 0.5), "SR2_twice (RF)": (0, 1), "RMIA": (0, 3)})
    alone = save(PRUNED, "NR", {"calibrated": (0.5, 1), "SR2_twice (RF)": (0, 1)})
    line = added.second_model(run, PRUNED)
    gain = 100 * (together["calibrated"] - alone["calibrated"])  # neither the target's best, nor what has no like alone
    assert line.startswith(f"the second model adds {gain:+.2f} [") and "\n" not in line
    assert line.endswith("over the same attack on one: calibrated on original + pruned 60%, calibrated on pruned 60%")
    low, high = map(float, line.split("[")[1].split("]")[0].split(", "))
    assert low < gain < high < low + 20


def test_tables_and_report_show_what_compression_adds_beyond_fine_tuning(saved, capsys):
    run, save = saved
    for version in (ORIGINAL, *GROUPS["both"], *TUNED):
        save(version, "NR", {"calibrated": (1, 1)})
    strengths = dict(zip([*GROUPS["both"], *TUNED], (2, 1, 1, 1), strict=True))
    pairs = {version: save(version, "SR", {"calibrated": (strength, 1), "SR2 (RF)": (1, 1)})
             for version, strength in strengths.items()}
    several = save(ORIGINAL, "MR", {f"{group}, {row}": (2 if group == "both" else 1, 1) for group in GROUPS
                                    for row in (mr.WITH, f"calibrated {mr.WITH}")}, groups=GROUPS)
    made = {table.name: table for table in tables.build(read(run))}
    frame = made["C2"].blocks[added.HEADING].set_index("attack")
    assert list(frame["against"].unique()) == [f"{attack} on original + fine-tuned 1" for attack in ("calibrated",
                                                                                                     "SR2 RF")]
    gain = 100 * (pairs[PRUNED]["calibrated"] - pairs[TUNED[0]]["calibrated"])
    assert frame.loc["calibrated on original + pruned 60%", "gain"].startswith(f"{gain:+.2f} [")
    frame = made["C3"].blocks[added.HEADING].set_index("attack")
    row = frame.loc["MR of both, calibrated with the original"]
    gain = 100 * np.subtract(*(several[f"{group}, calibrated with the original"] for group in GROUPS))
    assert row["against"] == "MR of fine-tuned two, calibrated with the original"
    assert row["gain"].startswith(f"{gain:+.2f} [") and len(frame) == 2
    page = report.page([run])
    assert page.count(added.HEADING) >= 2
    flags = ["--dataset_name", "digits", "--run_dir", str(run.layout.run_dir)]
    capsys.readouterr()
    tables.main(flags)
    assert capsys.readouterr().out.count(added.HEADING) == 2
