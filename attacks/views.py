"""Control for more queries: fixed views of one model, its answers to pictures mirrored or shifted by a pixel."""
import numpy as np

from attacks.inputs import Answers, Attacked, attacked_worlds, read_version
from common.errors import CompLeakError, FileError
from common.files import load_arrays
from common.paths import ORIGINAL, Version
from models import hints, protocol
from models.queries import Queries, losses


def read_views(run, attacked):
    """[Attacked] of the original as its fixed views show it, one a view as if it were a version; [] without views.npz.

    CompLeakError, naming the command, for views of other answers than queries.npz holds beside them.
    """
    paths = [run.layout.file(ORIGINAL, world.name, "views.npz") for world in run.split.worlds[: len(attacked.models)]]
    run.known["views", len(paths)] = []
    if not all(path.exists() for path in paths):
        return []
    of_models = [_views_of(run, path, model) for path, model in zip(paths, attacked.models, strict=True)]
    found = [Attacked(Version("view", str(1 + number)), models[0], models[1:], attacked.disjoint)
             for number, models in enumerate(zip(*of_models, strict=False))]
    run.known["views", len(paths)] = [view.identities.answers for view in found]
    return found


def _views_of(run, path, model):
    """One model's Answers for each view in its file."""
    with run.mending(ORIGINAL):
        arrays, meta = load_arrays(path, ("index", "logits"))
        index, views = arrays["index"], arrays["logits"]
        if views.ndim != 3 or views.shape[::2] != (len(index), model.logits.shape[1]) or not np.isfinite(views).all():
            raise FileError.damaged(path, f"logits must be finite and of shape [{len(index)}, views, "
                                          f"{model.logits.shape[1]}], they are {views.shape}")
    asked = [choice for choice in protocol.QUERIES if meta.get(choice)]
    if (meta.get("weights"), asked) != (model.weights, model.queries.asked) or \
            not np.isin(model.index, index).all() or not model.queries.holds(index):
        raise CompLeakError(f"{path} belongs to other answers than queries.npz beside it: delete it, or run "
                            f"{hints.training(run.layout)} --views {views.shape[1]}")
    at, found = model.queries.rows(index), []
    labels, scored = model.queries.labels[at], np.searchsorted(index, model.index)
    for logits in views.swapaxes(0, 1):
        queries = Queries(logits, losses(logits, labels), labels, index, model.queries.member[at], meta)
        found.append(Answers(model.index, model.labels, model.member, logits[scored], None, queries, None))
    return found


def identities_of_views(run, shadow_num=None):
    """Identities of the original's views, [those of all worlds] a view, read once in a run; [] without views."""
    key = "views", len(attacked_worlds(run, shadow_num))
    if key not in run.known:
        read_views(run, read_version(run, ORIGINAL, shadow_num))
    return run.known[key]
