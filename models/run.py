"""A run: the settings and the split that all its stages share, as train.py saved them, and its files."""
from dataclasses import asdict, dataclass, fields
from functools import cached_property

from common.errors import CompLeakError, FileError, UsageError
from common.files import read_json
from common.paths import ORIGINAL, TARGET, Layout
from data import splits
from data.names import path_to_text, text_to_path
from models import hints, protocol
from models.compression import ordered, paper_versions
from models.queries import load_queries


@dataclass(frozen=True)
class Settings:
    """What every stage of a run has in common.

    image_size in pixels a side; train_size: members of each model; augment: random crop and flip in training;
    pools, pool_size: those of the split, None for all that there is; bfloat16: arithmetic of training, None where no
    model was trained; outputs: of an audit, which answers were read.
    """

    seed: int = 0
    shadow_num: int = 1
    train_size: int | None = None
    image_size: int | None = 32
    augment: bool | None = True
    protocol: str = protocol.SOUND
    pools: str = splits.DISJOINT
    pool_size: int | None = None
    bfloat16: bool | None = None
    data_label: str = ""
    classes: tuple = ()
    data_dir: str | None = None
    outputs: dict | None = None

    @property
    def choices(self):
        """Choices of the released protocol that are switched on."""
        return protocol.parse(self.protocol)

    @property
    def unusual(self):
        """What a title adds where models were asked, or drew their members, otherwise: ", protocol x, pools shared"."""
        usual = {"protocol": protocol.SOUND, "pools": splits.DISJOINT}
        return "".join(f", {name} {getattr(self, name)}" for name in usual if getattr(self, name) != usual[name])

    def as_json(self):
        """Plain values; what is unknown is not mentioned."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
                  if value is not None or name in ("train_size", "image_size", "augment")}
        return {**values, **({"data_dir": path_to_text(self.data_dir)} if self.data_dir else {})}

    @classmethod
    def of_json(cls, values):
        """The settings that `as_json` gave; CompLeakError for values that are none."""
        needed = {"seed", "shadow_num", "train_size", "image_size", "augment", "data_label", "classes"}
        if not isinstance(values, dict) or not needed <= values.keys():
            raise CompLeakError("it lacks the run's settings")
        known = {field.name for field in fields(cls)}
        data_dir = values.get("data_dir") and text_to_path(values["data_dir"])
        return cls(**{**{name: value for name, value in values.items() if name in known},
                      "classes": tuple(values["classes"]), "data_dir": data_dir})


# Settings that have flags.
GIVEN = ("seed", "shadow_num", "train_size", "image_size", "augment", "protocol", "pools", "pool_size")


class Run:
    """One run's folder; what it reads is read once."""

    def __init__(self, layout: Layout):
        self.layout, self.known = layout, {}  # known: identities of answers that were read

    @property
    def name(self):
        """Its seed, and who is attacked where that is not the target: 0, or 0 (shadow_3)."""
        attacked = self.layout.attacked
        return f"{self.settings.seed}" + (f" ({attacked})" if attacked != TARGET else "")

    @property
    def path(self):
        """Where settings and split lie."""
        return self.layout.home.result(ORIGINAL, "split.json")

    @cached_property
    def _saved(self):
        return read_json(self.path)

    def _parsed(self, parse):
        """parse(what is saved in `path`); FileError, which says how to mend it, where that is missing or damaged."""
        with hints.mending(lambda: hints.training(self.layout)):
            saved = self._saved
            try:
                return parse(saved)
            except CompLeakError as error:
                raise FileError.damaged(self.path, error) from error
            except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
                raise FileError.damaged(self.path, repr(error)) from error

    @cached_property
    def settings(self):
        """The Settings; FileError where they are missing or damaged."""
        return self._parsed(lambda saved: Settings.of_json(saved.get("run")))

    @cached_property
    def split(self):
        """The Split as whoever attacks this folder's target sees it, checked for disjointness.

        FileError where it is missing or damaged, UsageError where there is no such world.
        """
        saved, name = self._whole_split, self.layout.attacked
        if name not in [world.name for world in saved.worlds]:
            raise UsageError(f"--run_dir {self.layout.run_dir}: this run has "
                             f"{', '.join(world.name for world in saved.worlds)}, so choose as_{saved.worlds[-1].name}")
        return saved.attacking(name)

    @cached_property
    def _whole_split(self):
        return self._parsed(splits.from_json)

    def contradicted(self, given, fixed):
        """Raises UsageError for a given setting, one of `fixed`, that is not the run's."""
        for name, value in given.items():
            if name in fixed and value != getattr(self.settings, name):
                raise UsageError(f"--{name} {value}: the run in {self.layout.root()} has {name} "
                                 f"{getattr(self.settings, name)}; leave the flag out, or "
                                 f"{'audit' if self.layout.is_own else 'train'} with it in another --run_dir")

    def versions(self):
        """The versions whose target is here, original first, in the paper's order."""
        return ordered(self.layout.present())

    def wanted(self):
        """The versions that a whole run has: the paper's and all others here, or those that an audit brought along."""
        return self.versions() if self.layout.is_own else ordered({*paper_versions(), *self.layout.present()})

    def allows(self, setting):
        """Whether SR or MR can be had: not where models made elsewhere lack the original, shadows or compressed ones.

        What a run of this project lacks can be trained.
        """
        versions, fewest = self.versions(), {"NR": 1, "SR": 2, "MR": 3}[setting]
        return not self.layout.is_own or setting == "NR" or (
            ORIGINAL in versions and bool(self.split.shadows) and len(versions) >= fewest)

    def config(self, version, world=None):
        """What is recorded of one model, by default of the attacked one: settings, accuracy, size."""
        with self.mending(version):
            return read_json(self.layout.file(version, world or self.layout.attacked, "config.json"))

    def queries(self, version, world):
        """The Queries of one model."""
        with self.mending(version):
            return load_queries(self.layout.file(version, world, "queries.npz"))

    def mending(self, version):
        """Names the training command of a version in the message of a file that cannot be used."""
        return hints.mending(lambda: hints.training(self.layout, version))

    def stale(self, path, version, why):
        """A CompLeakError: a file of one model that does not fit the run's others; why: what is wrong with it."""
        return CompLeakError(f"{path} {why}: run {hints.training(self.layout, version)} again")
