"""How the released protocol asks and scores: whose crop a model sees, MR's losses, RMIA's ratios, what is stale."""
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import train
from attacks import classifiers, mr, mr_network, nr, rmia, samia, sr
from attacks.attack import Context, Scored
from attacks.inputs import identities, read_version
from attacks.mr_network import Group, both_columns, losses_of
from attacks.networks import WEIGHT_DECAY, backward, train_network
from attacks.results import judged
from attacks.rmia import log_ratio, population_score
from attacks.signals import log_posterior
from common.errors import CompLeakError
from common.files import load_arrays, save_arrays
from common.metrics import interpolated_tpr, percentile_tpr
from common.paths import ORIGINAL, Layout, Version
from models import crops
from models.answering import Asking, answer
from models.crops import AUGMENTED, FILE
from models.networks import NETWORKS
from models.networks.resnet import ResNet
from models.networks.units import Network
from models.protocol import INT8
from models.queries import losses, query
from models.run import Run
from models.stage import load_data
from models.training import L2_TERM
from models.weights import load_model, read_weights
from pruning import prune
from quantization import qat

PRUNED = Version("pruning", "0.6")
TINY = ["--dataset_name", "digits", "--device", "cpu", "--amp", "off", "--query_rows", "scored", "--no-sensitivity"]
CHOICES = f"{AUGMENTED}+int8_shadow"


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "resnet18", Network(lambda classes, width: ResNet(classes, (4, 8, 8, 16)), "toy"))
        patch.setattr(classifiers, "TREES", 40)
        yield


@pytest.fixture(scope="module")
def asked(small, tmp_path_factory):
    """The folder of a run asked as the released code asks: original, 60% pruned, int8."""
    folder = tmp_path_factory.mktemp("released")
    flags = [*TINY, "--run_dir", str(folder)]
    train.main([*flags, "--image_size", "8", "--train_size", "100", "--epochs", "1", "--lr", "0.05", "--protocol",
                CHOICES])
    prune.main([*flags, "--prune_sparsity", "0.6", "--prune_epochs", "1", "--lr", "0.01"])
    qat.main([*flags, "--degree", "int8", "--quantized_epochs", "1", "--lr", "0.01"])
    return folder


@pytest.fixture
def run(asked, tmp_path):
    """A Run of its own copy."""
    return Run(Layout(shutil.copytree(asked, tmp_path / "run"), "digits", "resnet18"))


def test_compressed_versions_share_one_draw_of_crops_and_the_original_has_another(run):
    images, (target, shadow) = load_data(run).images, run.split.worlds
    first, pruned, int8 = (crops.shown(images, version, target, 0) for version in (ORIGINAL, PRUNED, INT8))
    assert np.array_equal(pruned, int8)
    same = (first == pruned).all((1, 2, 3))
    assert same[target.non_members].all() and same[target.members].mean() < 0.2
    fresh = [crops.shown_afresh(images, *of, 0, number) for *of, number in (
        (PRUNED, target, 0), (PRUNED, target, 1), (INT8, target, 0))]
    for i, one in enumerate([pruned, *fresh]):
        assert all((one[target.members] != other[target.members]).any() for other in [first, pruned, *fresh][:i + 1])
        assert np.array_equal(one[shadow.members], images[shadow.members])


def test_queries_show_each_model_its_own_worlds_crops_and_others_the_same_ones(run):
    data, split = load_data(run), run.split
    for version, world, other in ((ORIGINAL, split.target, split.shadows[0]), (PRUNED, split.shadows[0], split.target)):
        model = load_model(read_weights(run.layout.file(version, world.name, "weights.pt")), torch.device("cpu"))
        answers = {one.queries.meta["world"]: one for one in read_version(run, version).models}[world.name]
        for seen, found in ((world, answers.logits), (other, answers.crops.others[other.name])):
            plain = query(model, crops.shown(data.images, version, seen, run.settings.seed), data.statistics,
                          np.sort(seen.evaluation), torch.device("cpu"))
            assert np.allclose(found, plain, atol=1e-4)
        index = np.sort(other.evaluation)
        clean, changed = answers.queries.at(index)[0], answers.crops.others[other.name]
        member = np.isin(index, other.members)
        assert np.allclose(clean[~member], changed[~member], atol=1e-4)
        assert (np.abs(clean - changed)[member].max(1) > 1e-3).mean() > 0.8


def test_the_int8_shadow_has_a_fresh_draw_for_every_version_and_other_models_one(run):
    for version in (ORIGINAL, PRUNED, INT8):
        target, shadow = read_version(run, version).models
        for model, draws in ((target, 1), (shadow, 8 if version == INT8 else 1)):
            found, member = model.crops.losses, model.member
            assert found.shape == (draws, len(model.index)) and found.dtype == np.float32
            own = losses(model.logits, model.labels)
            assert (found[:, ~member] == own[~member]).all()
            every = np.vstack([own, found])[:, member]
            assert all((one != other).mean() > 0.8 for i, one in enumerate(every) for other in every[:i])


def attacked_groups(run, monkeypatch, choices):
    """{row: Group} that MR's network is given for pruned and int8."""
    seen = {}

    def network(group, context):
        seen[group.name.rsplit(", ", 1)[1]] = group
        raise CompLeakError("seen enough")

    monkeypatch.setattr(mr, "network_attack", network)
    context = Context(0, frozenset(choices))
    for version in (PRUNED, INT8):
        sr.attack_version(run, version, context, [sr.AGGREGATED])
    with pytest.raises(CompLeakError, match="seen enough"):
        mr.attack_groups(run, context, {"both": [PRUNED, INT8]}, rows=mr.COLUMNS)
    return seen


def test_mr_takes_k_draws_of_the_int8_shadow_and_fresh_draws_of_k_targets(run, monkeypatch):
    found = attacked_groups(run, monkeypatch, run.settings.choices)["with the original"]
    (pruned, _), (int8, shadow) = (read_version(run, version).models for version in (PRUNED, INT8))
    assert np.array_equal(found.target_losses, np.stack([pruned.crops.losses[0], int8.crops.losses[0]], axis=1))
    assert np.array_equal(found.shadow_losses, shadow.crops.losses[:2].T)
    different = np.ptp(found.shadow_losses, axis=1) > 0
    assert not different[~shadow.member].any() and different[shadow.member].mean() > 0.8


def test_without_the_int8_shadow_each_versions_own_draw_is_taken(run, monkeypatch):
    found = attacked_groups(run, monkeypatch, {AUGMENTED})
    shadows = {version: read_version(run, version).shadows[0] for version in (ORIGINAL, PRUNED, INT8)}
    own = np.stack([shadows[version].crops.losses[0] for version in (PRUNED, INT8)], axis=1)
    assert np.array_equal(found["without the original"].shadow_losses, own)
    repeated = np.tile(shadows[ORIGINAL].crops.losses[0][:, None], 2)
    assert np.array_equal(found[mr.REPEATED].shadow_losses, repeated)


def label_log(logits, labels):
    return torch.log_softmax(torch.tensor(logits).double(), 1).numpy()[np.arange(len(labels)), labels]


def test_rmia_compares_target_and_reference_on_the_same_crop_for_x_and_z(run):
    target, shadow = read_version(run, ORIGINAL).models
    on_x = [label_log(logits, target.labels) for logits in (target.logits, shadow.crops.others["target"])]
    ones = np.ones((len(target.index), 1), bool)
    ratio = log_ratio(on_x[0], on_x[1][:, None], ones, 0.5)
    attacked, context = read_version(run, ORIGINAL), Context(0, frozenset({"rmia_population"}))
    scored = nr.ATTACKS["RMIA"].run(attacked, context)
    assert np.allclose(scored.scores, ratio, atol=1e-6)
    on_z = [label_log(logits, shadow.labels) for logits in (target.crops.others["shadow_0"], shadow.logits)]
    assert np.allclose(scored.on_shadow, log_ratio(on_z[1], on_z[0][:, None], ones, 0.5), atol=1e-6)
    shares = nr.ATTACKS["RMIA (population)"].run(attacked, context).scores
    assert np.allclose(shares, population_score(ratio, log_ratio(on_z[0], on_z[1][:, None], ones, 1)), atol=0.02)
    phi = [side.phi for side in mr.signals_of(attacked, 0)[:2]]
    assert np.allclose(log_posterior(phi[0]), on_x[0], atol=1e-6)
    assert np.allclose(log_posterior(mr.signals_of(attacked, 0).target.reference), on_x[1], atol=1e-6)


def test_rmia_calls_members_above_a_share_of_seven_tenths(run, monkeypatch):
    monkeypatch.setattr(rmia, "population_score", lambda *args: np.array([0.7, 0.71]))
    scored = nr.ATTACKS["RMIA (population)"].run(read_version(run, ORIGINAL),
                                                 Context(0, frozenset({"rmia_population"})))
    assert scored.decisions.tolist() == [False, True]


def test_rmias_tpr_is_the_share_strictly_above_a_percentile_and_others_are_interpolated():
    member = np.arange(8) < 4
    scores = np.array([5.0, 3, 2.5, 1, 4, 3, 2, 1])  # the non-members' 50th percentile is 2.5, their 75th 3.25
    assert percentile_tpr(scores, member, 0.5) == 0.5 and percentile_tpr(scores, member, 0.25) == 0.25
    assert interpolated_tpr(scores, member, 0.5) != 0.5
    scored, released = Scored(scores, scores > 2), Context(0, frozenset({"interpolated_tpr"}))
    for name, entry in {**nr.ATTACKS, **sr.ATTACKS, "MR": mr.attack_of("both, with the original")}.items():
        read = percentile_tpr if name.startswith("RMIA") else interpolated_tpr
        assert judged(scored, member, released, entry)["tpr"] == read(scores, member)


@pytest.mark.parametrize("change", [{"losses": 0.5}, {"shadow_0": 0.5}])
def test_other_crops_make_what_was_made_from_them_stale(run, change):
    before, path = identities(run, PRUNED).answers, run.layout.file(PRUNED, "target", FILE)
    arrays, meta = load_arrays(path)
    meta.pop("format")
    save_arrays(path, meta, **{name: array + change.get(name, 0) for name, array in arrays.items()})
    after = identities(Run(run.layout), PRUNED).answers
    assert before[0] != after[0] and before[1] == after[1]


def test_missing_foreign_and_too_few_crops_are_refused_with_their_command(run):
    path = run.layout.file(PRUNED, "target", FILE)
    whole = path.read_bytes()
    shutil.copyfile(run.layout.file(PRUNED, "shadow_0", FILE), path)
    with pytest.raises(CompLeakError, match="crops.npz belongs to other answers .* run python pruning/prune.py"):
        read_version(run, PRUNED)
    path.write_bytes(whole[:1000])
    with pytest.raises(CompLeakError, match="crops.npz is damaged .* run python pruning/prune.py"):
        read_version(run, PRUNED)
    path.unlink()
    with pytest.raises(CompLeakError, match="crops.npz is missing: run python pruning/prune.py"):
        read_version(run, PRUNED)
    path.write_bytes(whole)
    path = run.layout.file(INT8, "shadow_0", FILE)
    arrays, meta = load_arrays(path)
    meta.pop("format")
    save_arrays(path, meta, **{**arrays, "losses": arrays["losses"][:1]})
    with pytest.raises(CompLeakError, match="has 1 draws of losses, MR needs 2: run python quantization/qat.py"):
        mr._replaced(run, {"both": [PRUNED, INT8]}, Context(0, run.settings.choices), None)


def test_asking_again_keeps_what_is_current_and_a_sound_run_has_no_such_file(run):
    world, path = run.split.target, run.layout.file(PRUNED, "target", FILE)
    before = path.stat().st_mtime_ns
    saved = read_weights(run.layout.file(PRUNED, "target", "weights.pt"))
    asking = Asking(run.layout, run.settings, run.split, partial(load_data, run), torch.device("cpu"), "scored", False)
    answer(asking, PRUNED, world, saved)
    assert path.stat().st_mtime_ns == before
    path.unlink()
    answer(replace(asking, settings=replace(run.settings, protocol="sound")), PRUNED, world, saved)
    assert not path.exists()


def test_sound_answers_are_known_by_their_queries_alone(made_up_run):
    layout = made_up_run([], n=600)
    model = read_version(Run(layout), ORIGINAL).target
    assert model.crops is None and model.identity == model.queries.identity
    assert np.array_equal(losses_of([model, model], 3), np.tile(model.losses[:, None], (2, 3)))
    made = nr.ATTACKS["RMIA"].inputs({}, Context(0))
    assert made == {"seed": 0, "protocol": [], "options": {"rmia_a": 0.5}}
    assert nr.ATTACKS["RMIA"].inputs({}, Context(0, frozenset({AUGMENTED})))["revision"] == 2


def test_mr_with_plain_inputs_sees_both_columns_and_losses_as_they_are(monkeypatch):
    rng, member = np.random.default_rng(0), np.arange(40) % 2 == 0
    scored = tuple(Scored(rng.random(40), None, rng.random(40)) for _ in range(3))
    group = Group("three, with the original", 9 * rng.random((40, 3)), 9 * rng.random((40, 3)), scored, member, member)
    seen = []
    monkeypatch.setattr(mr_network, "train_network", lambda network, inputs, *args, **more: (
        seen.append(inputs.numpy()), network.eval())[1])
    found = mr_network.network_attack(group, Context(0, frozenset({"plain_inputs"})))
    columns = np.column_stack([part for one in scored for part in (1 - one.on_shadow, one.on_shadow)])
    assert np.allclose(seen[0], np.hstack([columns, group.shadow_losses])) and found.scores.shape == (40,)
    assert np.array_equal(both_columns(np.array([[0.25, 1.0]])), [[0.75, 0.25, 0.0, 1.0]])
    model = mr_network.train_multi(columns, group.shadow_losses, member, 0, "cpu", standardise=False)
    assert model.first[0].in_features == 6 and model.first[1].in_features == 3
    assert not model.loss_mean.any() and (model.loss_std == 1).all()


def test_samias_l2_term_is_the_gradient_of_half_the_squared_norm(monkeypatch):
    rng, member = np.random.default_rng(0), np.arange(60) % 2 == 0
    tokens = samia.tokens(rng.random((60, 4)), rng.random((60, 4)), rng.integers(4, size=60), "cpu")

    def with_term(network, inputs, targets):
        backward(network, inputs, targets)
        for parameter in network.parameters():
            parameter.grad += 100 * L2_TERM * parameter.detach()

    def trained(**more):
        torch.manual_seed(0)
        network = train_network(samia.Samia(4), tokens, member, 0.01, 0.2, 0, 3, **more)
        return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])

    by_decay, by_term, without = (trained(**more) for more in (
        {"weight_decay": WEIGHT_DECAY + 100 * L2_TERM}, {"backward": with_term}, {}))
    assert torch.allclose(by_decay, by_term, atol=1e-5) and not torch.allclose(by_term, without, atol=1e-4)


def test_samia_trains_with_the_term_where_the_choice_is_on(made_up_run, monkeypatch):
    decays, attacked = [], read_version(Run(made_up_run([], n=600)), ORIGINAL)
    monkeypatch.setattr(samia, "train_network", lambda network, *args: decays.append(args[-1]) or network.eval())
    for choices in (set(), {"samia_l2_term"}):
        nr.ATTACKS["SAMIA"].run(attacked, Context(0, frozenset(choices)))
    assert decays == [WEIGHT_DECAY, WEIGHT_DECAY + L2_TERM] and L2_TERM == 5e-5
