"""Every path: where each version of a model, each result and each table of a run lies."""
from dataclasses import dataclass
from pathlib import Path

from common.errors import UsageError

DEGREES = {"pruning": ("0.6", "0.7", "0.8", "0.9"), "quantization": ("int8",), "clustering": ("4", "8", "16")}


@dataclass(frozen=True)
class Version:
    """One published version of a model: the original, or a technique at a degree."""

    technique: str | None = None
    degree: str | None = None

    def __str__(self):
        return "original" if self.technique is None else f"{self.technique}_{self.degree}"

    @classmethod
    def parse(cls, technique, degree, flag="--compress_degree"):
        """A compressed version from its two flags; UsageError for a technique or degree that cannot exist."""
        if technique not in DEGREES:
            raise UsageError(f"--compress_name {technique}: choose one of {', '.join(DEGREES)}")
        return cls(technique, _degree(technique, degree, flag))


def _degree(technique, degree, flag):
    usual = ", ".join(DEGREES[technique])
    if technique == "pruning":
        try:
            if 0 < float(degree) < 1:
                return str(float(degree))
        except ValueError:
            pass
        raise UsageError(f"{flag} {degree}: for pruning choose a sparsity between 0 and 1, such as {usual}")
    possible = [str(2**bit) for bit in range(1, 9)] if technique == "clustering" else DEGREES[technique]
    if degree in possible:
        return degree
    raise UsageError(f"{flag} {degree}: for {technique} choose from {usual}")


ORIGINAL = Version()
ALL_VERSIONS = (ORIGINAL, *(Version(technique, degree) for technique, some in DEGREES.items() for degree in some))


@dataclass(frozen=True)
class Layout:
    """The folders of one run: results/, results_pruning/, … below run_dir (appendix A.3.1)."""

    run_dir: Path
    dataset: str
    model: str

    def root(self, version=ORIGINAL):
        """The folder that holds target/, shadow_0/, … and the scores of one version."""
        if version.technique is None:
            return Path(self.run_dir) / "results" / f"{self.dataset}_{self.model}"
        return Path(self.run_dir) / f"results_{version.technique}" / f"{self.dataset}_{self.model}_{version.degree}"

    def file(self, version, world, name):
        """A file of one model: weights.pt, config.json, log.jsonl, queries.npz, sensitivity.npz, progress.pt."""
        return self.root(version) / world / name

    def result(self, version, name):
        """A file beside the target's folder: split.json, NR.json, SR.json, MR.json, their scores."""
        return self.root(version) / name

    @property
    def is_own(self):
        """Whether the run holds answers of models made elsewhere (attacks/audit.py)."""
        return self.dataset == OWN.dataset

    @property
    def wanted(self):
        """The versions that a whole run has: the paper's, or those that were brought along."""
        return self.versions() if self.is_own else list(dict.fromkeys([*ALL_VERSIONS, *self.versions()]))

    @property
    def flags(self):
        """The flags that name this run on a command line."""
        where = "" if str(self.run_dir) == "." else f" --run_dir {self.run_dir}"
        return f"--dataset_name {self.dataset} --model_name {self.model}{where}"

    def command(self, version):
        """The command that trains one version's models, or reads them where they were made elsewhere."""
        if self.is_own:
            where = "" if str(self.run_dir) == "." else f" --run_dir {self.run_dir}"
            return f"python -m attacks.audit --outputs FOLDER{where}"
        if version.technique is None:
            return f"python train.py {self.flags}"
        if version.technique == "pruning":
            return f"python pruning/prune.py {self.flags} --prune_sparsity {version.degree}"
        if version.technique == "quantization":
            return f"python quantization/qat.py {self.flags} --degree int8"
        return f"python clustering/clustering.py {self.flags} --bit {int(version.degree).bit_length() - 1}"

    @property
    def tables(self):
        return self.root() / "tables"

    def versions(self):
        """The versions whose target has been trained here, original first, in the paper's order."""
        found = [version for version in ALL_VERSIONS if self.file(version, "target", "config.json").exists()]
        for technique in DEGREES:
            for folder in sorted((Path(self.run_dir) / f"results_{technique}").glob(f"{self.dataset}_{self.model}_*")):
                version = Version(technique, folder.name.rsplit("_", 1)[1])
                if version not in found and (folder / "target" / "config.json").exists():
                    found.append(version)
        return found


OWN = Layout(Path("."), "own", "model")
