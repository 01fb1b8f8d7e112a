"""Every path and every file: where results lie, atomic writing, loading of any variant's weights."""
import errno
import hashlib
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch

from models import codebook, int8, magnitude
from models.errors import CompLeakError, UsageError
from models.files import atomic, checksum, read_json, write_json  # noqa: F401, others take these from here
from models.resnet import build

FORMAT = 1
DEGREES = {"pruning": ("0.6", "0.7", "0.8", "0.9"), "quantization": ("int8",), "clustering": ("4", "8", "16")}


@dataclass(frozen=True)
class Variant:
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


ORIGINAL = Variant()
ALL_VARIANTS = (ORIGINAL, *(Variant(technique, degree) for technique, some in DEGREES.items() for degree in some))


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
        return self.variants() if self.is_own else list(dict.fromkeys([*ALL_VARIANTS, *self.variants()]))

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
        found = [variant for variant in ALL_VARIANTS if self.file(variant, "target", "config.json").exists()]
        for technique in DEGREES:
            for folder in sorted((Path(self.run_dir) / f"results_{technique}").glob(f"{self.dataset}_{self.model}_*")):
                variant = Variant(technique, folder.name.rsplit("_", 1)[1])
                if variant not in found and (folder / "target" / "config.json").exists():
                    found.append(variant)
        return found


OWN = Layout(Path("."), "own", "model")


def fingerprint(tensors):
    """16 hex digits that name a dictionary of tensors, values and types."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def save_weights(path, tensors, settings):
    """Save a packed model and the settings it was made with; returns the fingerprint of its tensors."""
    name = fingerprint(tensors)
    with atomic(path) as beside:
        text = json.dumps(settings)
        _save({"format": FORMAT, "fingerprint": name, "settings": text, "checksum": checksum(name, text),
               "tensors": tensors}, beside)
    return name


def _save(value, beside):
    try:
        torch.save(value, beside)
    except RuntimeError as error:  # a full disk, as torch words it
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def read_weights(path, made_by):
    """What `save_weights` wrote: {"tensors", "settings", "fingerprint"}.

    Raises CompLeakError for a missing, truncated or changed file; nothing in it can run code.
    """
    saved = read_tensors(path, made_by)
    if saved is None:
        raise CompLeakError(f"{path} is missing: run {made_by}")
    try:
        form = dict(saved)["format"]
        intact = form == FORMAT and fingerprint(saved["tensors"]) == saved["fingerprint"] and \
            checksum(saved["fingerprint"], saved["settings"]) == saved["checksum"]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise CompLeakError(f"{path} is damaged or not one of this project's: delete it and run {made_by}") from None
    if form != FORMAT:
        raise CompLeakError(f"{path} has format {form!r}, this version reads {FORMAT}: run {made_by}")
    if not intact:
        raise CompLeakError(f"{path} is damaged (its contents changed): delete it and run {made_by}")
    return {**saved, "settings": json.loads(saved["settings"])}


def read_tensors(path, made_by):
    """A file of tensors and plain values, or None where there is none; CompLeakError where it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums it writes
            if archive.testzip():
                raise ValueError("its contents changed")
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise
    except Exception as error:  # torch raises half a dozen types for a damaged archive
        first = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise CompLeakError(f"{path} is damaged or truncated ({first}): delete it and run {made_by}") from error


class Progress:
    """A stopped training's state beside its weights, used only while its settings are the same."""

    def __init__(self, path, settings):
        self.path, self.settings = Path(path), json.dumps(settings)

    def load(self):
        """The saved state, or None where there is none or it belongs to other settings."""
        try:
            state = read_tensors(self.path, "the command again")
        except CompLeakError as error:
            print(f"{error}; starting this model afresh")
            return None
        mine = isinstance(state, dict) and state.get("settings") == self.settings
        return state["state"] if mine else None

    def save(self, state):
        with atomic(self.path) as beside:
            _save({"settings": self.settings, "state": state}, beside)

    def remove(self):
        self.path.unlink(missing_ok=True)


def load_model(saved, device="cpu"):
    """The network, in evaluation mode and channels_last, of any variant that `read_weights` returned."""
    settings, tensors = saved["settings"], saved["tensors"]
    technique = settings["technique"]
    if technique == "quantization":
        return int8.load_int8(tensors).to(device)
    model = build(settings["model"], settings["num_cls"], seed=0)
    if technique == "pruning":
        tensors = magnitude.unpack(tensors)
    elif technique == "clustering":
        tensors = codebook.unpack(tensors, int(settings["degree"]).bit_length() - 1)
    model.load_state_dict(tensors)
    return model.to(device, memory_format=torch.channels_last).eval()
