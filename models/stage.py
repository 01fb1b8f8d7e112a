"""A training stage as its command asks for it: the run it belongs to, its split, recipe and pictures."""
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from common.device import choose_device, use_bfloat16
from common.errors import CompLeakError, UsageError
from common.paths import ORIGINAL
from data import sets, splits
from models import training
from models.answering import Asking
from models.arguments import GIVEN, Request
from models.best_epoch import PATIENCE
from models.run import Run, Settings
from models.weights import read_weights


@dataclass(frozen=True)
class Stage:
    """What one command works on; given_data: the pictures, where they were loaded to make the split."""

    request: Request
    run: Run
    settings: Settings
    split: splits.Split
    recipe: training.Recipe
    device: torch.device
    given_data: sets.Dataset | None

    @cached_property
    def data(self):
        """The pictures, loaded when a model must be trained or queried; CompLeakError for others than the run's."""
        return self.given_data or load_data(self.run, self.request.data_dir, self.request.data_label, self.split,
                                            self.request.cache_dir)

    @property
    def asking(self):
        """How its models are asked."""
        return Asking(self.run.layout, self.settings, self.split, lambda: self.data, self.device,
                      self.request.query_rows, self.request.sensitivity, self.request.views)

    @property
    def worlds(self):
        return self.split.named(self.request.worlds)


def load_data(run, data_dir=None, data_label=None, split=None, cache_dir=None):
    """A run's pictures, from data_dir or where they were at first; CompLeakError where others lie there."""
    data = sets.load(run.layout.dataset, data_dir or run.settings.data_dir, data_label or run.settings.data_label,
                     run.settings.image_size, cache_dir, run.layout.run_dir)
    if data.digest != (split or run.split).data_digest:
        raise CompLeakError(f"{data.label} is not the data that {run.path} was made from: name the same --data_dir, or "
                            "train on this one in another --run_dir")
    return data


def open_stage(request, create=False):
    """The Stage of a Request; train.py creates the run's settings and split, other stages read them.

    A setting that contradicts the run in this folder raises UsageError, for train.py too once there is a model: a run
    folder has one seed, one split and one arithmetic, and hours of work are not replaced for a flag. Shadows may be
    added, and models queried anew by another protocol.
    """
    if request.layout.home != request.layout:
        raise UsageError(f"--run_dir {request.layout.run_dir}: this folder is for attacks on "
                         f"{request.layout.attacked}; models are made with --run_dir {request.layout.home.run_dir}")
    device, run = choose_device(request.device), Run(request.layout)
    begun = not create or (run.path.exists() and any(request.layout.root().glob("*/*.pt")))
    if begun:
        run.contradicted(request.given, set(GIVEN) - ({"shadow_num", "protocol"} if create else set()))
    settings = replace(run.settings if begun or run.path.exists() else Settings(), **request.given)
    if "augmented_members" in settings.choices and not settings.augment:
        raise UsageError(f"--protocol {settings.protocol}: members can be queried through the training's crops and "
                         "flips only where there are some: leave --no-augment out")
    settings = replace(settings, bfloat16=_arithmetic(request, run, settings, begun, create, device))
    data = None if begun else sets.load(request.layout.dataset, request.data_dir, request.data_label,
                                        settings.image_size, request.cache_dir, request.layout.run_dir)
    if data:
        settings = replace(settings, data_label=data.label, classes=data.classes,
                           data_dir=request.data_dir and str(Path(request.data_dir).resolve()))
    if request.num_cls not in (None, len(settings.classes)):
        raise UsageError(f"--num_cls {request.num_cls}: {settings.data_label} has {len(settings.classes)} classes")
    of = (len(data.labels), data.digest, data.twins) if data else (
        run.split.n, run.split.data_digest, run.split.twins)
    split = splits.make_split(of[0], settings.seed, settings.shadow_num, settings.train_size, *of[1:],
                              pools=settings.pools, pool_size=settings.pool_size)
    if begun and run.split.digest != split.digest:
        raise CompLeakError(f"{run.path} was changed after it was written: train in another --run_dir")
    settings, choices = replace(settings, train_size=split.train_size), settings.choices
    recipe = training.Recipe(epochs=request.epochs, lr=request.lr, batch_size=request.batch_size,
                             augment=settings.augment, bfloat16=settings.bfloat16, seed=settings.seed,
                             l2_term="l2_term" in choices, best_epoch=PATIENCE if "best_epoch" in choices else 0)
    return Stage(request, run, settings, split, recipe, device, data)


def _arithmetic(request, run, settings, begun, create, device):
    """Whether models train in bfloat16: as the run's first did, whatever this machine would choose."""
    chosen = use_bfloat16(request.amp, device, settings.image_size)
    known = settings.bfloat16
    if begun and known is None:  # runs of before the first of them was recorded
        weights = run.layout.file(ORIGINAL, "target", "weights.pt")
        known = read_weights(weights)["settings"]["bfloat16"] if weights.exists() else None
    if not begun or known is None or (create and request.retrain):
        return chosen
    if known and request.amp == "off":
        raise UsageError(f"--amp off: the run in {run.layout.root()} trains in bfloat16; leave the flag out, or choose "
                         "another --run_dir")
    return known
