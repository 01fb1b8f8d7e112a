"""Targets of one run are summed up as runs of several seeds are; pages say who was attacked, in which pools,
and under which protocol."""
from dataclasses import replace

import numpy as np
import pytest

from attacks import nr, results
from attacks.attack import Context
from common.files import read_json, write_json
from common.paths import ORIGINAL, Version
from evaluation import claims, figures, report, tables
from evaluation.claims_table import table_of
from evaluation.evidence import read
from models.run import Run

PRUNED = Version("pruning", "0.6")
NAMES = ("metric_based_2", "RMIA")


def trained(layout):
    """A made-up run, its models having been trained for three epochs."""
    for path in layout.run_dir.rglob("config.json"):
        write_json(path, {**read_json(path), "settings": {"epochs": 3}})
    return layout


def test_every_target_is_summed_up_as_runs_of_several_seeds_are(made_up_run, capsys):
    layout = trained(made_up_run([PRUNED], leak=1.5, n=1200, shadow_num=2, pools="shared"))
    layouts = [layout, *(replace(layout, run_dir=layout.run_dir / f"as_shadow_{i}") for i in (0, 1))]
    found = [nr.attack_version(Run(one), version, Context(0), NAMES)[0]["attacks"]
               for one in layouts for version in (ORIGINAL, PRUNED)]
    capsys.readouterr()
    saved = claims.judge_and_save([Run(one) for one in layouts])
    assert capsys.readouterr().out.count("NR lacks pruning_0.7") == 1  # of the run, not once for every target
    for rate in ("auc", "tpr_1"):
        each = saved["best"]["NR"][rate]["per_seed"]
        assert all(any(one == pytest.approx(result[name][rate], abs=1e-6) for result in found[2 * place:2 * place + 2]
                       for name in NAMES) for place, one in enumerate(each)) and len(each) == 3
        half = 4.302653 * np.std(each, ddof=1) / 3**0.5  # Student's t at two degrees of freedom
        assert saved["best"]["NR"][rate]["over_seeds"] == pytest.approx([np.mean(each) - half, np.mean(each) + half],
                                                                        abs=1e-5)
    caption = table_of(saved).caption
    assert "judged on 3 targets of seed 0: " in caption
    assert "protocol sound, pools shared. " in caption
    page = report.page([Run(one) for one in layouts])
    for words in ("3 targets of seed 0, pools shared", "Over 3 targets of seed 0", "Pools: shared, every model"):
        assert words in page
    models, c1 = tables.build(read(Run(layouts[1])))
    assert all("seed 0 (shadow_0), split" in one.caption and "; pools shared, so every" in one.caption
               for one in (models, c1))
    assert models.frame["accuracy_in"][0] == Run(layout).config(ORIGINAL, "shadow_0")["accuracy_in"]


@pytest.mark.parametrize("chosen", ["sound", "interpolated_tpr"])
def test_pools_and_protocol_are_mentioned_where_they_are_not_the_usual_ones(made_up_run, edit_json, capsys, chosen):
    layout = trained(made_up_run([], n=600))
    edit_json(layout.result(ORIGINAL, "split.json"), run={**Run(layout).settings.as_json(), "protocol": chosen})
    run = Run(layout)
    values, _ = nr.attack_version(run, ORIGINAL, Context(0, run.settings.choices), ["metric_based_2"])
    saved, named = claims.judge_and_save([run]), f"protocol {chosen}"
    captions = [table.caption for table in tables.build(read(run))]
    titles = [figure(read(run), None).get_suptitle() or figure(read(run), None).axes[0].get_title()
              for figure in (figures.roc_figure, figures.auc_figure)]
    capsys.readouterr()
    results.report("NR", values["attacks"], run)
    texts = [*captions, *titles, capsys.readouterr().out, report.page([run]).split("</title>")[0]]
    assert len(texts) == 6 and [named in text for text in texts] == [chosen != "sound"] * 6
    assert not [text for text in [*texts, table_of(saved).caption] if "pools" in text or "(shadow" in text]
    assert named in table_of(saved).caption and (f"Protocol {chosen}: choices" in report.page([run])) == (
        chosen != "sound")
