"""What an attack is to the rest: one object, entered in the list of its setting (attacks/nr.py, sr.py, mr.py)."""
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from common.metrics import interpolated_tpr
from common.provenance import digest
from models import protocol

NONE, FITTED, REFERENCE = "none", "fitted", "reference"  # what an attacker knows beside the target's answers


@dataclass(frozen=True)
class Options:
    """What an attacker chooses, none of it from the target's membership."""

    batch_size: int = 128
    rmia_a: float | str = 0.5


@dataclass(frozen=True)
class Context:
    """What every attack on a run has in common: seed, the released protocol's choices, options, device."""

    seed: int
    choices: frozenset = frozenset()
    options: Options = field(default_factory=Options)
    device: object = "cpu"


class Scored(NamedTuple):
    """An attack's scores, float64, high for members, and its decisions.

    scores [m] and decisions [m] bool (None where no shadow gave a threshold) on the target's evaluation rows;
    on_shadow [Σm]: scores of the shadows' rows from fits that did not see the row, None where there are none;
    in_sample [Σm]: those that the fits gave to the very rows they were fitted on, for the released protocol;
    notes: what the attack chose, plain values, for the result.
    """

    scores: np.ndarray
    decisions: np.ndarray | None = None
    on_shadow: np.ndarray | None = None
    in_sample: np.ndarray | None = None
    notes: dict | None = None


@dataclass(frozen=True)
class Attack:
    """A method of one setting.

    run: the answers it sees and a Context → Scored · knowledge: NONE, FITTED (a shadow to fit on) or REFERENCE (shadows
    answer the scored points too) · family: the NR attack that is the same without the second model, of SR's · short:
    its name in narrow tables · label: whether it uses the true label · choices: those of the released protocol that
    move it, the ones of `PROTOCOL_MOVES_ALL` apart · options: fields of Options that it depends on · sensitive: whether
    it needs sensitivities · edition: goes up when its definition changes, which puts earlier results out of date ·
    released_tpr: (scores, member, fpr) → TPR as the released protocol reads it.
    """

    name: str
    run: object
    knowledge: str
    family: str | None = None
    short: str = ""
    label: bool = True
    choices: tuple = ()
    options: tuple = ()
    sensitive: bool = False
    edition: int = 1
    released_tpr: object = interpolated_tpr

    def inputs(self, made_from, context):
        """Everything that decides the result, plain values; made_from: identities of what the attack is given."""
        moved = [choice for choice in protocol.CHOICES
                 if choice in context.choices and choice in (*PROTOCOL_MOVES_ALL, *self.choices)]
        found = {**made_from, "seed": context.seed, "protocol": moved}
        if moved:
            found["revision"] = protocol.REVISION
        if self.edition > 1:
            found["edition"] = self.edition
        if self.options:
            found["options"] = {name: getattr(context.options, name) for name in self.options}
        return found


PROTOCOL_MOVES_ALL = ("augmented_members", "interpolated_tpr")


def digest_of(scored):
    """Names an attack's arrays, so that a result and the scores beside it are known to belong together."""
    return digest(*(np.asarray(part) if part is not None else None for part in scored[:-1]))
