"""A run folder whose models' answers are drawn at random in a realistic shape: what the attacks' benchmarks read."""
import numpy as np

from common.files import save_arrays, write_json
from common.paths import ORIGINAL, Layout
from common.seeds import derive_seed
from data.splits import make_split, to_json
from models.queries import losses
from models.run import Settings

CLASSES = 10


def write_run(folder, versions, scored, shadow_num=1, sensitivity=False, seed=0, classes=CLASSES):
    """Layout of a run that scores `scored` members and as many non-members a world, at most 10,000 each.

    Every model's logits are its picture's difficulty, noise, and a margin for the true class that is larger for
    members; a compressed model's are its original's and noise, so the two resemble each other.
    """
    layout = Layout(folder, "cifar10", "resnet18")
    split = make_split(6 * scored, seed, shadow_num, data_digest="made up")
    settings = Settings(seed=seed, shadow_num=shadow_num, train_size=split.train_size, data_label="made up",
                        classes=tuple(str(c) for c in range(classes)))
    write_json(layout.result(ORIGINAL, "split.json"), {"run": settings.as_json(), **to_json(split)})
    rng = np.random.default_rng(derive_seed(seed, "made up"))
    labels, difficulty = rng.integers(classes, size=split.n), rng.normal(0, 2, split.n)
    for world in split.worlds:
        logits = original_logits(rng, labels, difficulty, np.isin(np.arange(split.n), world.members), classes)
        for version in [ORIGINAL, *(v for v in versions if v != ORIGINAL)]:
            noise = 0 if version == ORIGINAL else rng.normal(0, 0.7, logits.shape)
            write_model(layout, version, world, split, labels, (logits + noise).astype(np.float32),
                        0.05 if sensitivity else None, rng)
    return layout


def original_logits(rng, labels, difficulty, member, classes=CLASSES):
    """Logits [n, classes] float64 of a model that is surer of its members. labels [n], difficulty [n], member [n]."""
    n = len(labels)
    logits = rng.normal(0, 1.5, (n, classes))
    logits[np.arange(n), labels] += 5 - difficulty + np.where(member, 2 + rng.exponential(1.0, n), 0)
    return logits


def write_model(layout, version, world, split, labels, logits, sensitivity, rng):
    """queries.npz of one made-up model and, drawn at random with this mean, sensitivity.npz (none for None).

    logits [n, c] float32, labels [n] of every picture; rng: a NumPy Generator. Gives the name of its weights.
    """
    index, evaluation = np.arange(split.n), np.sort(world.evaluation)
    parent = None if version == ORIGINAL else f"{ORIGINAL} {world.name}"
    meta = {"variant": str(version), "world": world.name, "weights": f"{version} {world.name}", "parent": parent,
            "split": split.digest, "data": split.data_digest}
    save_arrays(layout.file(version, world.name, "queries.npz"), {**meta, "rows": "all"}, logits=logits,
                losses=losses(logits, labels), labels=labels, index=index, member=np.isin(index, world.members))
    if sensitivity:
        noise = rng.exponential(sensitivity, (len(evaluation), logits.shape[1])).astype(np.float32)
        save_arrays(layout.file(version, world.name, "sensitivity.npz"), {**meta, "seed": split.seed},
                    index=evaluation, sensitivity=noise)
    return meta["weights"]
