"""Every path: where each version of a model, each result and each table of a run lies (appendix A.3.1)."""
import re
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Version:
    """One published version of a model: the original, or what a compression technique made of it at a degree."""

    technique: str | None = None
    degree: str | None = None

    def __str__(self):
        if self.technique is None:
            return "original"
        return f"{self.technique}_{self.degree}" if self.degree else self.technique

    @classmethod
    def named(cls, name):
        """The version that a name such as original or pruning_0.6 stands for."""
        technique, separator, degree = name.rpartition("_")
        if not separator:
            technique, degree = name, ""
        return ORIGINAL if name == "original" else cls(technique, degree)


ORIGINAL = Version()
TARGET = "target"  # the attacked world of a run, its shadows being shadow_0, shadow_1, …


@dataclass(frozen=True)
class Layout:
    """The folders of one run: results/, results_pruning/, … below run_dir.

    A run's own folder as_shadow_3 is the same run with shadow_3 attacked, every other world, the target too, being a
    shadow: it holds results alone, and the models are the run's.
    """

    run_dir: Path
    dataset: str
    model: str

    @property
    def attacked(self):
        """The name of the world that plays the target."""
        found = None if self.is_own else re.fullmatch(r"as_(shadow_\d+)", Path(self.run_dir).name)
        return found[1] if found else TARGET

    @property
    def home(self):
        """The Layout of the run that the models belong to."""
        return self if self.attacked == TARGET else replace(self, run_dir=Path(self.run_dir).parent)

    def root(self, version=ORIGINAL):
        """The folder that holds target/, shadow_0/, … and the scores of one version."""
        name = f"{self.dataset}_{self.model}"
        if version == ORIGINAL:
            return Path(self.run_dir) / "results" / name
        return Path(self.run_dir) / f"results_{version.technique}" / f"{name}_{version.degree}"

    def file(self, version, world, name):
        """One model's weights.pt, config.json, log.jsonl, progress.pt; queries.npz, crops.npz, sensitivity.npz."""
        return self.home.root(version) / world / name

    def result(self, version, name):
        """A file of the run (split.json) or of who is attacked in it: NR.json, SR.json, MR.json, their scores."""
        return self.root(version) / name

    @property
    def tables(self):
        return self.root() / "tables"

    @property
    def is_own(self):
        """Whether the run holds answers of models made elsewhere (attacks/audit.py)."""
        return self.dataset == OWN.dataset

    def present(self, world=TARGET):
        """The versions whose target, or model of another world, is described here, by name."""
        found = [ORIGINAL] if self.file(ORIGINAL, world, "config.json").exists() else []
        prefix = f"{self.dataset}_{self.model}_"
        for path in sorted(Path(self.home.run_dir).glob(f"results_*/{prefix}*/{world}/config.json")):
            technique = path.parts[-4].removeprefix("results_")
            degree = path.parts[-3].removeprefix(prefix)
            if "_" not in degree:  # else it is a version of a network with a longer name
                found.append(Version(technique, degree))
        return found


OWN = Layout(Path("."), "own", "model")
