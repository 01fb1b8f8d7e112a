"""A model is asked: its answers to every picture of both pools, or to those that are scored, and its sensitivities."""
from dataclasses import dataclass

import numpy as np
import torch

from common.files import save_arrays
from common.paths import Layout
from data.splits import Split
from models import crops, protocol
from models.compression import paper_versions
from models.queries import is_current, load_queries, losses, pictures, query, query_views, sensitivity_of
from models.run import Settings
from models.weights import load_model


@dataclass(frozen=True)
class Asking:
    """How the models of a run are asked.

    load() → the data.sets.Dataset, called when something must be asked · rows: "all", "scored" or "auto" ·
    sensitivity: whether sensitivities are measured · views: how many fixed views are asked too.
    """

    layout: Layout
    settings: Settings
    split: Split
    load: object
    device: torch.device
    rows: str
    sensitivity: bool
    views: int = 0


def answer(asking, version, world, saved):
    """queries.npz of one model and, where they are asked for, sensitivity.npz, views.npz and crops.npz (members shown
    through crops), unless they are there and current; saved: its weights. Views are of scored pictures alone."""
    seed, (rows, index) = asking.settings.seed, query_index(asking.split, asking.rows)
    path, meta = asking.layout.file(version, world.name, "queries.npz"), _meta(asking, version, world, saved)
    if not is_current(path, meta, index):
        data, labels = asking.load(), asking.load().labels[index]
        logits = query(load_model(saved, asking.device), _shown(asking, data, version, world), data.statistics, index,
                       asking.device, f"{version} {world.name} queries")
        save_arrays(path, {**meta, "rows": rows}, logits=logits, losses=losses(logits, labels), labels=labels,
                    index=index, member=np.isin(index, world.members))
    path = asking.layout.file(version, world.name, "sensitivity.npz")
    if asking.sensitivity and not is_current(path, {**meta, "seed": seed}):
        data, index = asking.load(), np.sort(world.evaluation)
        take = pictures(_shown(asking, data, version, world), data.statistics, index, asking.device)
        values = sensitivity_of(load_model(saved, asking.device), take, index, seed,
                                f"{version} {world.name} sensitivity")
        save_arrays(path, {**meta, "seed": seed}, index=index, sensitivity=values)
    path = path.with_name("views.npz")
    _, scored = query_index(asking.split, "scored")
    if asking.views and not is_current(path, {**meta, "views": asking.views}, scored):
        data = asking.load()
        logits = query_views(load_model(saved, asking.device), _shown(asking, data, version, world), data.statistics,
                             scored, asking.device, asking.views, f"{version} {world.name} view")
        save_arrays(path, {**meta, "views": asking.views}, index=scored, logits=logits)
    if crops.AUGMENTED in asking.settings.choices:
        path, draws = asking.layout.file(version, world.name, crops.FILE), _draws(asking, version, world)
        meta |= {"worlds": [one.name for one in asking.split.worlds], "draws": draws}
        if not is_current(path, meta):
            save_arrays(path, meta, **_of_crops(asking, version, world, load_model(saved, asking.device), draws))


def _meta(asking, version, world, saved):
    """What a file of answers says of itself; files have called a version a variant since their first format."""
    meta = {"variant": str(version), "world": world.name, "weights": saved["digest"],
            "parent": saved["settings"].get("parent"), "split": asking.split.digest,
            "data": asking.split.data_digest}
    return meta | {choice: protocol.REVISION for choice in protocol.QUERIES if choice in asking.settings.choices}


def _shown(asking, data, version, world):
    """The pictures as this model is shown them: members cropped and flipped where the protocol says so."""
    if crops.AUGMENTED not in asking.settings.choices:
        return data.images
    return crops.shown(data.images, version, world, asking.settings.seed)


def _draws(asking, version, world):
    """In how many fresh draws losses are asked: one, or one for each version that the int8 shadow stands for."""
    stands = version == protocol.INT8 and world is not asking.split.target and "int8_shadow" in asking.settings.choices
    return max(len(paper_versions()), len(asking.layout.present())) - 1 if stands else 1


def _of_crops(asking, version, world, model, draws):
    """The arrays of crops.npz (`crops.Crops`)."""
    data, seed, own = asking.load(), asking.settings.seed, np.sort(world.evaluation)

    def ask(images, index, what):
        return query(model, images, data.statistics, index, asking.device, f"{version} {world.name} {what}")

    found = {other.name: ask(crops.shown(data.images, version, other, seed), np.sort(other.evaluation),
                             f"on {other.name}'s crops")
             for other in asking.split.worlds if other.name != world.name}
    logits, labels, member = load_queries(asking.layout.file(version, world.name, "queries.npz")).at(own)
    found["losses"] = np.tile(losses(logits, labels), (draws, 1))
    for number, row in enumerate(found["losses"]):
        images = crops.shown_afresh(data.images, version, world, seed, number)
        row[member] = losses(ask(images, own[member], f"fresh crops {number + 1}"), labels[member])
    return found


def query_index(split, rows):
    """("all" or "scored", positions [n] int64, ascending): pictures of both pools, or each world's evaluation rows.

    "auto" takes all, unless fewer than half of them are scored.
    """
    scored = np.unique(np.concatenate([world.evaluation for world in split.worlds]))
    every = np.unique(np.concatenate([part for world in (split.target, split.shadows[0])
                                      for part in (world.members, world.non_members)]))
    if rows == "auto":
        rows = "all" if 2 * len(scored) >= len(every) else "scored"
    return rows, every if rows == "all" else scored
