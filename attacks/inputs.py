"""What the attacks read: each model's answers on the rows that are scored, and who may be compared with whom."""
from dataclasses import dataclass

import numpy as np

from attacks.features import softmax64
from common.errors import CompLeakError, UsageError
from common.files import load_arrays, read_json
from common.paths import ORIGINAL
from models.queries import Queries, load_queries
from models.run import load_split


@dataclass(frozen=True)
class Answers:
    """One model on its own world's evaluation rows, ascending by index, m rows of c classes.

    index [m] · labels [m] int64 · member [m] bool · logits [m, c] float32 · losses [m] float32 in nats ·
    sensitivity [m, c] float32, or None where the file is absent · queries: the model's answers to all rows.
    """

    index: np.ndarray
    labels: np.ndarray
    member: np.ndarray
    logits: np.ndarray
    losses: np.ndarray
    sensitivity: np.ndarray | None
    queries: Queries

    @property
    def posteriors(self):
        """softmax(logits) in float64, [m, c]."""
        return softmax64(self.logits)

    @property
    def weights(self):
        """Fingerprint of the model that gave the answers."""
        return self.queries.meta["weights"]


def read_version(layout, version, shadow_num=None):
    """(target Answers, [shadow Answers]) of one version.

    Raises CompLeakError, naming the file and the command that mends it, for answers that are missing or belong to
    another split, world or data set; UsageError for more shadows than were trained.
    """
    split = load_split(layout)
    made_by = layout.command(version)
    if shadow_num is not None and not 1 <= shadow_num <= len(split.shadows):
        raise UsageError(f"--shadow_num {shadow_num}: the run in {layout.root()} has {len(split.shadows)} shadow(s)")
    worlds = split.worlds[: 1 + shadow_num] if shadow_num else split.worlds
    models = [_read_model(layout, version, world, split, made_by) for world in worlds]
    _check_alike([_recipe(layout, version, world, model, made_by) for world, model in zip(worlds, models, strict=True)],
                 layout.root(version), made_by)
    return models[0], models[1:]


def _recipe(layout, version, world, model, made_by):
    """What decided one model's weights but for its world, or None where nothing is known of it."""
    path = layout.file(version, world.name, "config.json")
    if not path.exists():
        return None
    config = read_json(path, made_by)
    if config["weights"] != model.weights:
        raise CompLeakError(f"{path} describes other weights than queries.npz beside it: run {made_by} again")
    return {name: value for name, value in config["settings"].items() if name not in ("world", "parent", "data_label")}


def _check_alike(recipes, folder, made_by):
    """Raises CompLeakError unless target and shadows were trained alike: not so where a new training was stopped."""
    for recipe in recipes[1:]:
        if recipe != recipes[0] and None not in (recipe, recipes[0]):
            differ = ", ".join(f"{name} {recipes[0].get(name)} and {recipe.get(name)}" for name in recipes[0] | recipe
                               if recipes[0].get(name) != recipe.get(name))
            raise CompLeakError(f"{folder}: target and shadow were not trained alike ({differ}): run {made_by} again, "
                                "with the flags that both should have")


def _read_model(layout, version, world, split, made_by):
    path = layout.file(version, world.name, "queries.npz")
    queries = load_queries(path, made_by)
    for name, expected in (("split", split.fingerprint), ("variant", str(version)), ("world", world.name)):
        if queries.meta.get(name) != expected:
            raise CompLeakError(f"{path} belongs to {name} {queries.meta.get(name)}, the run's is {expected}: run "
                                f"{made_by} again")
    index = np.sort(world.evaluation)
    rows = queries.rows(index)
    if not np.array_equal(queries.member[rows], np.isin(index, world.members)):
        raise CompLeakError(f"{path}: its members are not those of the split: run {made_by} again")
    return Answers(index, queries.labels[rows], queries.member[rows], queries.logits[rows], queries.losses[rows],
                   _read_sensitivity(layout, version, world, queries, index, made_by), queries)


def _read_sensitivity(layout, version, world, queries, index, made_by):
    path = layout.file(version, world.name, "sensitivity.npz")
    if not path.exists():
        return None
    arrays, meta = load_arrays(path, ("index", "sensitivity"), made_by)
    if meta["weights"] != queries.meta["weights"] or not np.array_equal(arrays["index"], index):
        raise CompLeakError(f"{path} belongs to other weights than queries.npz beside it: run {made_by} again")
    return arrays["sensitivity"]


def need_shadows(layout, shadows, setting):
    """Raises CompLeakError where there is no shadow to fit a setting on, which only audited models may lack."""
    if not shadows:
        raise CompLeakError(f"{setting} is fitted on shadow models and {layout.root()} holds none: add shadow_0.npz "
                            f"beside each target.npz and run {layout.command(ORIGINAL)} in another --run_dir")


def check_pair(original, compressed, layout, version):
    """Raises CompLeakError unless a compressed model came from this original and answers the same rows."""
    if compressed.queries.meta.get("parent") != original.weights:
        raise CompLeakError(f"{layout.root(version)} was made from another original than {layout.root(ORIGINAL)} holds "
                            f"now: run {layout.command(version)} again")
    assert np.array_equal(original.index, compressed.index), "one split gives one order of rows"


def stacked(answers, name):
    """One array of several models, rows one after the other: [Σm, …]."""
    return np.concatenate([getattr(one, name) for one in answers])


def true_posterior(queries, index):
    """Posterior of the true label [m] float64 on these pictures."""
    rows = queries.rows(index)
    return softmax64(queries.logits[rows])[np.arange(len(rows)), queries.labels[rows]]


def reference_game(model, index, references):
    """RMIA's three inputs for one model on these pictures: p [m], p_references [m, r], usable [m, r] bool."""
    p = true_posterior(model.queries, index)
    p_references = np.stack([true_posterior(reference.queries, index) for reference in references], axis=1)
    usable = np.stack([~reference.queries.member[reference.queries.rows(index)] for reference in references], axis=1)
    return p, p_references, usable
