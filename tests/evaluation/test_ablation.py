"""evaluation/ablation.py on a tiny run: each choice moves what it should, and nothing else; finished work stays."""
import json
import shutil

import numpy as np
import pytest

import train
from attacks import classifiers, mr, samia
from attacks.attack import Context
from common.errors import CompLeakError, UsageError
from common.files import load_arrays, read_json, write_json
from common.metrics import interpolated_tpr, roc
from common.paths import ORIGINAL, Layout, Version
from evaluation import ablation
from evaluation.differences import describe, differences
from models import protocol
from models.networks import NETWORKS
from models.networks.resnet import ResNet
from models.networks.units import Network
from models.queries import load_queries
from models.run import Run
from pruning import prune

TINY = ["--dataset_name", "digits", "--device", "cpu", "--amp", "off", "--query_rows", "scored", "--no-sensitivity"]
FLAGS = ["--dataset_name", "digits", "--device", "cpu"]
PRUNED = Version("pruning", "0.6")


@pytest.fixture(scope="module", autouse=True)
def small():
    """Narrow networks, small forests, short trainings of the attack networks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "resnet18", Network(lambda classes, width: ResNet(classes, (4, 8, 8, 16)), "toy"))
        patch.setattr(classifiers, "TREES", 40)
        patch.setattr("attacks.groups.paper_groups", lambda: {"pruned": [PRUNED]})
        train_network = samia.train_network
        patch.setattr("attacks.mr_network.train_network",
                      lambda *args, **more: train_network(*args[:6], 3, *args[7:], **more))
        yield


def train_small(folder, *flags):
    train.main([*TINY, "--image_size", "12", "--train_size", "150", "--epochs", "2", "--lr", "0.05", "--run_dir",
                str(folder), *flags])


def prune_small(folder, *flags):
    prune.main([*TINY, "--prune_epochs", "1", "--lr", "0.01", "--run_dir", str(folder), *flags])


def make(folder, protocol_name="sound", seed=0, fine_tuning=1):
    """A run of original and pruned_0.6; returns its folder as text."""
    train_small(folder, "--protocol", protocol_name, "--seed", str(seed))
    prune_small(folder, "--prune_epochs", str(fine_tuning))
    return str(folder)


def asked_for(versions=()):
    """The Ablation of a command line with these versions."""
    return ablation.Ablation((), versions, Context(0), None, None, None)


@pytest.fixture(scope="module")
def ablated(small, tmp_path_factory):
    """(Layout of a sound run, Layout of one trained with the best epoch) after the ablation of every choice."""
    folders = [tmp_path_factory.mktemp(name) for name in ("sound", "retrained")]
    make(folders[0])
    make(folders[1], "best_epoch")
    choices = [choice for choice in [*ablation.ALONE, "together"] if choice != "int8_shadow"]
    ablation.main([*FLAGS, "--run_dir", str(folders[0]), "--choices", *choices, "--retrained", str(folders[1])])
    return tuple(Layout(folder, "digits", "resnet18") for folder in folders)


def rows(layout, choice, setting=None):
    saved = json.loads(layout.result(ORIGINAL, "ablation.json").read_text())
    return [row for row in saved["rows"] if row["choice"] == choice and setting in (None, row["setting"])]


def moved(found, rate="auc"):
    return {row["attack"]: row[rate]["difference"] for row in found if row[rate]["difference"] != 0}


def test_queries_of_members_alone_change_as_in_a_run_of_that_protocol(ablated, tmp_path):
    layout = ablated[0]
    copy = Layout(layout.run_dir / "ablation" / "augmented_members", "digits", "resnet18")
    for version in (ORIGINAL, PRUNED):
        before, after = (load_queries(one.file(version, "target", "queries.npz")) for one in (layout, copy))
        assert np.array_equal(before.logits[~before.member], after.logits[~after.member])
        assert (before.logits[before.member] != after.logits[after.member]).any(1).mean() > 0.9
    train_small(tmp_path, "--protocol", "augmented_members")
    whole = load_queries(Layout(tmp_path, "digits", "resnet18").file(ORIGINAL, "target", "queries.npz"))
    mine = load_queries(copy.file(ORIGINAL, "target", "queries.npz"))
    assert np.allclose(whole.logits, mine.logits, atol=1e-4) and whole.meta == mine.meta


def test_sensitivities_are_asked_anew_where_the_run_has_them(ablated, tmp_path):
    layout = Layout(shutil.copytree(ablated[0].run_dir, tmp_path / "copy"), "digits", "resnet18")
    train_small(layout.run_dir, "--sensitivity")
    copy = ablation.derive(Run(layout), [ORIGINAL], frozenset({"augmented_members"}), "some")
    ablation.ask_anew(Run(layout), copy, [ORIGINAL], asked_for())
    (before, meta), (after, other_meta) = (load_arrays(one.file(ORIGINAL, "target", "sensitivity.npz"))
                                           for one in (layout, copy.layout))
    member = np.isin(before["index"], copy.split.target.members)
    assert np.array_equal(before["sensitivity"][~member], after["sensitivity"][~member])
    assert (before["sensitivity"][member] != after["sensitivity"][member]).any(1).mean() > 0.9
    assert other_meta == {**meta, "augmented_members": protocol.REVISION}


def test_weights_are_shared_and_the_sound_run_is_left_alone(ablated):
    layout = ablated[0]
    for choice in ("augmented_members", "in_sample_forests"):
        copy = Layout(layout.run_dir / "ablation" / choice, "digits", "resnet18")
        assert copy.file(PRUNED, "target", "weights.pt").samefile(layout.file(PRUNED, "target", "weights.pt"))
    assert json.loads(layout.result(ORIGINAL, "split.json").read_text())["run"]["protocol"] == "sound"
    attacks = json.loads(layout.result(PRUNED, "SR.json").read_text())["attacks"]
    assert len(attacks) == 4 and all(metrics["inputs"]["protocol"] == [] for metrics in attacks.values())


def test_each_choice_moves_its_own_settings(ablated):
    layout = ablated[0]
    assert moved(rows(layout, "augmented_members", "NR")) and moved(rows(layout, "augmented_members", "SR"))
    assert set(moved(rows(layout, "rmia_population"))) <= {"RMIA (population)"}
    assert not moved(rows(layout, "in_sample_forests", "NR")) and not moved(rows(layout, "in_sample_forests", "SR"))
    assert moved(rows(layout, "in_sample_forests", "MR"))
    assert not moved(rows(layout, "interpolated_tpr")) and not moved(rows(layout, "interpolated_tpr"), "acc")
    assert all(row["acc"]["difference"] >= 0 for row in rows(layout, "best_attack_epoch", "MR"))
    assert rows(layout, "best_epoch", "SR") and moved(rows(layout, "together", "MR"))


def test_the_table_shows_every_choice_with_its_words(ablated):
    made = ablation.table(Run(ablated[0]))
    assert any(protocol.CHOICES["augmented_members"] in heading for heading in made.blocks)
    assert (ablated[0].tables / "ablation.md").read_text().count("→") == 3 * len(made.frame) + 1
    assert ablation.table(Run(ablated[1])) is None
    assert all(protocol.CHOICES[one] in describe(f"best_epoch+{one}") for one in ("best_epoch", "l2_term"))
    assert "trained under them" in describe("released") and "no models of their own" in describe("together")


def test_a_second_run_repeats_nothing(ablated, capsys):
    layout = ablated[0]
    watched = [path for path in layout.run_dir.rglob("*") if path.name in ("SR.json", "queries.npz", "MR.json")]
    before = {path: path.stat().st_mtime_ns for path in watched}
    ablation.main([*FLAGS, "--run_dir", str(layout.run_dir), "--choices", "augmented_members", "in_sample_forests"])
    capsys.readouterr()
    assert {path: path.stat().st_mtime_ns for path in watched} == before


def test_results_of_other_groups_stay(ablated):
    layout = ablated[0]
    files = [layout.result(ORIGINAL, name) for name in ("MR.json", "MR_scores.npz")]
    whole = [path.read_bytes() for path in files]
    mr.attack_groups(Run(layout), Context(0), {"other": [PRUNED]}, rows=list(mr.AGGREGATED))
    with_more = [path.read_bytes() for path in files]
    assert list(read_json(files[0])["attacks"]) == [
        f"{group}, {knows} the original" for group in ("other", "pruned") for knows in ("with", "without")]
    ablation.main([*FLAGS, "--run_dir", str(layout.run_dir), "--choices", "interpolated_tpr"])
    assert [path.read_bytes() for path in files] == with_more
    for path, content in zip(files, whole, strict=True):
        path.write_bytes(content)


def test_mr_takes_all_versions_where_they_fill_no_group(ablated, monkeypatch):
    run, taken = Run(ablated[0]), []
    monkeypatch.setattr("attacks.groups.paper_groups", lambda: {"pruned four": [PRUNED, Version("pruning", "0.7")]})
    monkeypatch.setattr(mr, "attack_groups", lambda *args: taken.append(args[2]))
    monkeypatch.setattr(ablation.sr, "pairs", lambda *args: [])
    pair = [PRUNED, Version("quantization", "int8")]
    for versions in ([PRUNED], pair, [PRUNED, Version("pruning", "0.7")]):
        ablation.attack(run, versions, asked_for(versions))
    assert taken == [{"all 2": pair}, {"pruned four": [PRUNED, Version("pruning", "0.7")]}]


def test_versions_that_fill_no_group_are_attacked_beside_a_run_that_has_groups(ablated, tmp_path, monkeypatch):
    names = {f"{group}, {knows} the original" for group in ("pruned", "all 2") for knows in ("with", "without")}
    groups = {name for name in names if name.startswith("all 2")}

    def of_groups(*layouts):
        return [{name: metrics for name, metrics in read_json(one.result(ORIGINAL, "MR.json"))["attacks"].items()
                 if name not in groups} for one in layouts]

    layout, other = (Layout(shutil.copytree(one.run_dir, tmp_path / one.run_dir.name), "digits", "resnet18")
                     for one in ablated)
    prune_small(layout.run_dir, "--prune_sparsity", "0.7")
    monkeypatch.setattr("attacks.groups.paper_groups", lambda: {"pruned four": [PRUNED, Version("pruning", "0.8")]})
    before = of_groups(layout)
    ablation.main([*FLAGS, "--run_dir", str(layout.run_dir), "--choices", "in_sample_forests", "interpolated_tpr"])
    assert of_groups(layout) == before and before[0].keys() == names - groups
    assert read_json(layout.result(ORIGINAL, "MR.json"))["attacks"].keys() == names
    assert set(moved(rows(layout, "in_sample_forests", "MR"))) == groups
    assert {row["attack"] for row in rows(layout, "interpolated_tpr", "MR")} == groups
    prune_small(other.run_dir, "--prune_sparsity", "0.7")
    before = of_groups(layout, other)
    ablation.main([*FLAGS, "--run_dir", str(layout.run_dir), "--choices", "--retrained", str(other.run_dir)])
    assert of_groups(layout, other) == before and before[1].keys() == names - groups
    assert set(moved(rows(layout, "best_epoch", "MR"))) == groups
    attacks = read_json(other.result(ORIGINAL, "MR.json"))["attacks"]
    assert attacks.keys() == names and not (other.run_dir / "ablation").exists()
    assert Run(other).settings.protocol == "best_epoch"


def test_several_seeds_stand_beside_their_mean(ablated, tmp_path):
    first, retrained = ablated
    second = make(tmp_path / "sound", seed=1)
    ablation.main([*FLAGS, "--run_dir", str(first.run_dir), second, "--choices", "rmia_population",
                   "--retrained", str(retrained.run_dir)])
    found = {row["attack"]: row for row in rows(first, "rmia_population", "NR")}["RMIA (population)"]
    assert found["seeds"] == [0, 1] and len(found["auc"]["per_seed"]) == 2
    assert found["auc"]["difference"] == pytest.approx(np.mean(found["auc"]["per_seed"]))
    assert all(row["seeds"] == [0] for row in rows(first, "best_epoch"))
    text = ablation.table(Run(first)).blocks
    assert [heading.rsplit("; ", 1)[1] for heading in text] == ["seed 0, 1", "seed 0"]
    assert all(len(cell.split()) == 2 for cell in next(iter(text.values()))["AUC seed by seed"])
    alone = {row["attack"]: row["auc"]["difference"] for row in rows(first, "best_epoch", "NR")}
    ablation.main([*FLAGS, "--run_dir", str(first.run_dir), second, "--choices", "--retrained",
                   make(tmp_path / "retrained", "best_epoch", seed=1), str(retrained.run_dir)])
    both = {row["attack"]: row["auc"]["per_seed"] for row in rows(first, "best_epoch", "NR")}
    assert {name: differences[1] for name, differences in both.items()} == alone
    assert any(differences[0] != differences[1] for differences in both.values())


def test_retrained_runs_differ_in_the_protocol_alone(ablated, tmp_path):
    sound, retrained = ablated[0].run_dir, str(ablated[1].run_dir)
    other = make(tmp_path / "longer", "best_epoch", fine_tuning=2)
    for folders, says in (
            ([retrained, retrained], "another folder holds best_epoch with the same seed"),
            ([str(sound)], "its protocol is sound"),
            ([other], "epochs of the model pruning_0.6 is 2, in .* it is 1; train it with the settings of that run"),
            ([make(tmp_path / "seed", "best_epoch", seed=1)], "its split is that of no --run_dir")):
        with pytest.raises(UsageError, match=says):
            ablation.main([*FLAGS, "--run_dir", str(sound), "--choices", "--retrained", *folders])


@pytest.mark.parametrize(("flags", "says"), [
    (["--versions", "pruning_0.9"], "has pruning_0.6"), (["--protocol", "released"], "has protocol sound"),
    (["--choices"], "--choices needs one of augmented_members")])
def test_bad_flags(ablated, flags, says):
    with pytest.raises(UsageError, match=says):
        ablation.main([*FLAGS, "--run_dir", str(ablated[0].run_dir), *flags])


def test_other_pictures_and_unsound_runs_are_refused(ablated, tmp_path):
    with pytest.raises(UsageError, match="its protocol is best_epoch; name a sound run"):
        ablation.main([*FLAGS, "--run_dir", str(ablated[1].run_dir)])
    layout, wrong = Layout(tmp_path, "digits", "resnet18"), read_json(ablated[0].result(ORIGINAL, "split.json"))
    wrong["run"]["image_size"] = 16
    write_json(layout.result(ORIGINAL, "split.json"), wrong)
    with pytest.raises(CompLeakError, match="digits is not the data that .*split.json was made from"):
        ablation.load_data(Run(layout))


def test_differences_against_the_plain_paired_bootstrap():
    rng = np.random.default_rng(0)
    member = np.arange(3000) < 1500
    before = member + rng.normal(size=3000)
    after = before + member + 0.3 * rng.normal(size=3000)
    found = differences([((before, before > 0.5), (after, after > 1), member)])
    plain = []
    for _ in range(400):
        drawn = np.concatenate([rng.choice(np.flatnonzero(side), side.sum()) for side in (member, ~member)])
        accs = [(decided[drawn][member[drawn]].mean() + 1 - decided[drawn][~member[drawn]].mean()) / 2
                for decided in (before > 0.5, after > 1)]
        plain.append(accs[1] - accs[0])
    width = np.diff(np.percentile(plain, [2.5, 97.5])).item()
    assert np.diff(found["acc"]["interval"]).item() == pytest.approx(width, rel=0.2)
    for rate in ("acc", "auc", "tpr"):
        low, high = found[rate]["interval"]
        assert 0 < low < found[rate]["difference"] < high
        assert found[rate]["changed"] - found[rate]["sound"] == pytest.approx(found[rate]["difference"])
    same = differences([((before, before > 0.5), (before, before > 0.5), member)])
    assert all(same[rate]["difference"] == 0 and same[rate]["interval"] == [0, 0] for rate in same)


def test_seeds_are_combined_by_their_differences_and_never_by_their_scores():
    rng, seeds = np.random.default_rng(0), []
    for shift in (0.0, 100.0):  # scores of another seed may lie anywhere
        member = np.arange(3000) < 1500
        before = member + rng.normal(size=3000)
        after = before + member + 0.3 * rng.normal(size=3000)
        seeds.append(((before + shift, before > 0.5), (after + shift, after > 1), member))
    both, alone = differences(seeds), [differences([one]) for one in seeds]
    for rate in both:
        each = [one[rate]["difference"] for one in alone]
        assert both[rate]["per_seed"] == pytest.approx(each)
        assert both[rate]["difference"] == pytest.approx(np.mean(each))
        assert both[rate]["sound"] == pytest.approx(np.mean([one[rate]["sound"] for one in alone]))
        width, *widths = (np.diff(one[rate]["interval"]).item() for one in [both, *alone])
        # Two seeds halve the variance of one; the bootstrap's percentiles follow that only roughly.
        if rate == "tpr":
            assert width < min(widths)
        else:
            assert width == pytest.approx(np.sqrt(np.mean(np.square(widths)) / 2))


def test_interpolated_tpr_lies_between_the_points_of_the_curve():
    scores, member = np.array([4.0, 3, 2, 1]), np.array([True, False, True, False])
    assert interpolated_tpr(scores, member, 0.25) == 0.5
    scores, member = np.array([3.0, 3, 2, 1]), np.array([True, False, True, False])
    fpr, tpr = roc(scores, member)
    assert interpolated_tpr(scores, member, 0.25) == pytest.approx(np.interp(0.25, fpr, tpr)) == pytest.approx(0.25)
