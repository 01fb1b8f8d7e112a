"""What the attacks read: each model's answers on the rows that are scored, and who may be compared with whom."""
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from attacks.features import softmax64
from attacks.signals import cross_entropy
from common.errors import CompLeakError, UsageError
from common.files import load_arrays
from common.paths import ORIGINAL, Version
from common.provenance import digest, identity
from models import hints, protocol
from models.crops import AUGMENTED, FILE, Crops, load_crops
from models.making import FREE
from models.queries import ASKED, Queries


@dataclass(frozen=True)
class Answers:
    """One model on its own world's evaluation rows, ascending by index, m rows of c classes.

    index [m] · labels [m] int64 · member [m] bool · logits [m, c] float32 ·
    sensitivity [m, c] float32, or None where the file is absent · queries: the model's answers to all rows ·
    moved: the sensitivities' identity · crops: the `models.crops.Crops` where members are shown through crops.
    """

    index: np.ndarray
    labels: np.ndarray
    member: np.ndarray
    logits: np.ndarray
    sensitivity: np.ndarray | None
    queries: Queries
    moved: str | None
    crops: Crops | None = None

    @cached_property
    def posteriors(self):
        """softmax(logits) in float64, [m, c]."""
        return softmax64(self.logits)

    @cached_property
    def losses(self):
        """Cross-entropy in nats, [m] float64, from the logits: a file's float32 losses tie where they still differ."""
        return cross_entropy(self.logits, self.labels)

    @property
    def weights(self):
        """The name of the model that gave the answers."""
        return self.queries.meta["weights"]

    @property
    def identity(self):
        """Names all answers but sensitivities."""
        return digest(self.queries.identity, self.crops.identity) if self.crops else self.queries.identity

    def at(self, index, shown=None):
        """(logits [n, c], labels [n], member [n]) of these pictures; errors as `Queries.rows`.

        shown: the Answers, of the same version, whose scored rows these are: where members are shown through crops,
        this model is then asked on the very crops that that one saw.
        """
        logits, labels, member = self.queries.at(index)
        if self.crops and shown is not None and shown is not self:
            assert np.array_equal(index, shown.index), "crops are known of the scored rows"
            logits = self.crops.others[shown.queries.meta["world"]]
        return logits, labels, member


class Identities(NamedTuple):
    """Identities of one version's answers and sensitivities (None where some are missing), the target's first."""

    answers: list
    sensitivities: list | None


@dataclass(frozen=True)
class Attacked:
    """One version as an attacker has it: the target's answers, and those of the shadows' same version.

    disjoint: whether the target's pool and the shadows' never meet.
    """

    version: Version
    target: Answers
    shadows: tuple
    disjoint: bool = True

    @property
    def models(self):
        return (self.target, *self.shadows)

    @cached_property
    def identities(self):
        """What names these answers."""
        return Identities([model.identity for model in self.models],
                          [model.moved for model in self.models] if self.has_sensitivities else None)

    @property
    def has_sensitivities(self):
        return all(model.sensitivity is not None for model in self.models)

    def stacked(self, name):
        """One array of the shadows, rows one after the other: [Σm, …]."""
        return np.concatenate([getattr(shadow, name) for shadow in self.shadows])

    @property
    def shadow_member(self):
        """Membership [Σm] of the shadows' rows, None without a shadow."""
        return self.stacked("member") if self.shadows else None

    @property
    def groups(self):
        """The shadow of each of its rows [Σm], or None where there is one shadow."""
        sizes = [len(shadow.index) for shadow in self.shadows]
        return np.repeat(np.arange(len(sizes)), sizes) if len(sizes) > 1 else None


def read_version(run, version, shadow_num=None):
    """The Attacked version.

    Raises CompLeakError, naming the file and the command that mends it, for answers that are missing, belong to
    another split, world or data set, or were asked otherwise than the run's protocol says; UsageError for more shadows
    than were trained.
    """
    worlds = attacked_worlds(run, shadow_num)
    models = [_read_model(run, version, world) for world in worlds]
    _check_alike(run, version, [_recipe(run, version, world, model)
                                for world, model in zip(worlds, models, strict=True)])
    found = Attacked(version, models[0], tuple(models[1:]), run.split.apart(shadow_num))
    run.known[version, shadow_num] = found.identities
    return found


def identities(run, version, shadow_num=None):
    """The Identities of a version, read once in a run; errors as `read_version`."""
    if (version, shadow_num) not in run.known:
        read_version(run, version, shadow_num)
    return run.known[version, shadow_num]


def attacked_worlds(run, shadow_num=None):
    """The target's world and those of the first shadow_num shadows, by default all."""
    shadows = run.split.shadows
    if shadow_num is not None and not 1 <= shadow_num <= len(shadows):
        raise UsageError(f"--shadow_num {shadow_num}: the run in {run.layout.root()} has {len(shadows)} shadow(s)")
    return run.split.worlds[: 1 + shadow_num] if shadow_num else run.split.worlds


def _recipe(run, version, world, model):
    """What decided one model's weights but for its world, or None where nothing is known of it."""
    path = run.layout.file(version, world.name, "config.json")
    if not path.exists():
        return None
    config = run.config(version, world.name)
    if config["weights"] != model.weights:
        raise run.stale(path, version, "describes other weights than queries.npz beside it")
    for choice in protocol.TRAINING:
        if bool(config["settings"].get(choice)) != (choice in run.settings.choices):
            raise run.stale(path, version, f"does not fit the run's protocol, {run.settings.protocol}: {choice}")
    return {name: value for name, value in config["settings"].items() if name not in {"world", "parent", *FREE}}


def _check_alike(run, version, recipes):
    """Raises CompLeakError unless target and shadows were trained alike: not so where a new training was stopped."""
    for recipe in recipes[1:]:
        if recipe != recipes[0] and None not in (recipe, recipes[0]):
            differ = ", ".join(f"{name} {recipes[0].get(name)} and {recipe.get(name)}" for name in recipes[0] | recipe
                               if recipes[0].get(name) != recipe.get(name))
            raise CompLeakError(f"{run.layout.root(version)}: target and shadow were not trained alike ({differ}): run "
                                f"{hints.training(run.layout, version)} again, with the flags that both should have")


def _read_model(run, version, world):
    queries = run.queries(version, world.name)
    check_answers(run, version, world, queries)
    index = np.sort(world.evaluation)
    rows = queries.rows(index)
    if not np.array_equal(queries.member[rows], np.isin(index, world.members)):
        raise run.stale(run.layout.file(version, world.name, "queries.npz"), version,
                        "has other members than the split")
    values, moved = read_sensitivity(run, version, world, queries)
    return Answers(index, queries.labels[rows], queries.member[rows], queries.logits[rows], values, queries, moved,
                   read_crops(run, version, world, queries))


def check_answers(run, version, world, queries):
    """Raises CompLeakError for answers of another split, version or world, or asked under another protocol."""
    path = run.layout.file(version, world.name, "queries.npz")
    for name, expected in (("split", run.split.digest), ("variant", str(version)), ("world", world.name)):
        if queries.meta.get(name) != expected:
            raise run.stale(path, version, f"belongs to {name} {queries.meta.get(name)}, the run's is {expected}")
    asked, wanted = queries.asked, [choice for choice in protocol.QUERIES if choice in run.settings.choices]
    if asked != wanted:
        raise run.stale(path, version, f"was asked under {' and '.join(asked) or protocol.SOUND}, the run's protocol "
                                       f"is {run.settings.protocol}")


def read_sensitivity(run, version, world, queries):
    """(sensitivities [m, c] of a world's evaluation rows, their identity), or (None, None) without the file."""
    path, index = run.layout.file(version, world.name, "sensitivity.npz"), np.sort(world.evaluation)
    if not path.exists():
        return None, None
    with run.mending(version):
        arrays, meta = load_arrays(path, ("index", "sensitivity"))
    asked = [choice for choice in protocol.QUERIES if meta.get(choice)]
    if meta["weights"] != queries.meta["weights"] or asked != queries.asked or \
            not np.array_equal(arrays["index"], index):
        raise run.stale(path, version, "belongs to other answers than queries.npz beside it")
    return arrays["sensitivity"], identity(arrays, {**ASKED, "choices": asked, "seed": meta.get("seed")})


def read_crops(run, version, world, queries):
    """The Crops of one model, or None where the run's protocol shows members as they are."""
    if AUGMENTED not in run.settings.choices:
        return None
    path = run.layout.file(version, world.name, FILE)
    with run.mending(version):
        found, meta = load_crops(path)
    rows = {other.name: 2 * other.scored for other in run.split.worlds if other.name != world.name}
    if meta["weights"] != queries.meta["weights"] or found.losses.shape[1] != 2 * world.scored or \
            rows != {name: len(logits) for name, logits in found.others.items()}:
        raise run.stale(path, version, "belongs to other answers than queries.npz beside it, or to other shadows")
    return found


def need_shadows(run, shadows, setting):
    """Raises CompLeakError where there is no shadow to fit a setting on, which only audited models may lack."""
    if not shadows:
        raise CompLeakError(f"{setting} is fitted on shadow models and {run.layout.root()} holds none: add "
                            "shadow_0.npz beside each target.npz and audit the answers in another --run_dir")


def check_pair(run, original, compressed):
    """Raises CompLeakError unless a compressed version came from this original and answers the same rows."""
    for one, other in zip(original.models, compressed.models, strict=True):
        if other.queries.meta.get("parent") != one.weights:
            version = compressed.version
            raise CompLeakError(f"{run.layout.root(version)} was made from another original than "
                                f"{run.layout.root(ORIGINAL)} holds now: run {hints.training(run.layout, version)} "
                                "again")
        assert np.array_equal(one.index, other.index), "one split gives one order of rows"
