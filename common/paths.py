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
        """A compressed variant from its two flags; UsageError for a technique or degree that cannot exist."""
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

    def root(self, variant=ORIGINAL):
        """The folder that holds target/, shadow_0/, … and the scores of one variant."""
        if variant.technique is None:
            return Path(self.run_dir) / "results" / f"{self.dataset}_{self.model}"
        return Path(self.run_dir) / f"results_{variant.technique}" / f"{self.dataset}_{self.model}_{variant.degree}"

    def file(self, variant, world, name):
        """A file of one model: weights.pt, config.json, log.jsonl, queries.npz, sensitivity.npz, progress.pt."""
        return self.root(variant) / world / name

    def result(self, variant, name):
        """A file beside the target's folder: split.json, NR.json, SR.json, MR.json, their scores."""
        return self.root(variant) / name

    @property
    def is_own(self):
        """Whether the run holds answers of models made elsewhere (attacks/audit.py)."""
        return self.dataset == OWN.dataset

    @property
    def wanted(self):
        """The variants that a whole run has: the paper's, or those that were brought along."""
        return self.variants() if self.is_own else list(dict.fromkeys([*ALL_VERSIONS, *self.variants()]))

    @property
    def flags(self):
        """The flags that name this run on a command line."""
        where = "" if str(self.run_dir) == "." else f" --run_dir {self.run_dir}"
        return f"--dataset_name {self.dataset} --model_name {self.model}{where}"

    def command(self, variant):
        """The command that trains one variant's models, or reads them where they were made elsewhere."""
        if self.is_own:
            where = "" if str(self.run_dir) == "." else f" --run_dir {self.run_dir}"
            return f"python -m attacks.audit --outputs FOLDER{where}"
        if variant.technique is None:
            return f"python train.py {self.flags}"
        if variant.technique == "pruning":
            return f"python pruning/prune.py {self.flags} --prune_sparsity {variant.degree}"
        if variant.technique == "quantization":
            return f"python quantization/qat.py {self.flags} --degree int8"
        return f"python clustering/clustering.py {self.flags} --bit {int(variant.degree).bit_length() - 1}"

    @property
    def tables(self):
        return self.root() / "tables"

    def variants(self):
        """The variants whose target has been trained here, original first, in the paper's order."""
        found = [variant for variant in ALL_VERSIONS if self.file(variant, "target", "config.json").exists()]
        for technique in DEGREES:
            for folder in sorted((Path(self.run_dir) / f"results_{technique}").glob(f"{self.dataset}_{self.model}_*")):
                variant = Version(technique, folder.name.rsplit("_", 1)[1])
                if variant not in found and (folder / "target" / "config.json").exists():
                    found.append(variant)
        return found


OWN = Layout(Path("."), "own", "model")
