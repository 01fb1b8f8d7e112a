"""What the learner sees of one, two or several versions, with and without references: `confidence`, `calibrated`.

`confidence` sees φ of the versions that a setting allows, `calibrated` also each version's reference r: how sure models
that did not train on the point are of its label (difficulty calibration). Learner and knowledge are the same in every
setting, so that only the published versions differ. Fixed views of one model (its mirror image, shifts by a pixel), as
k columns with k references, are the control for more queries: `features` of the views in the versions' place.
Source of the calibration: Watson et al., ICLR 2022, section 3; of several versions together: this project.
"""

import numpy as np

from common.errors import CompLeakError

WITH, WITHOUT = "with the original", "without the original"


def features(phi, reference=None):
    """One feature set: phi [n,k] of k versions (or views), reference [n,k] or None -> [n,k] or [n,2k] float64."""
    phi = np.asarray(phi, np.float64)
    if reference is None:
        return phi
    assert phi.shape == np.shape(reference), "a reference of each version for each point"
    return np.hstack([phi, reference])


def nr_sets(phi, reference=None):
    """NR: each version alone.

    Args: phi {version: [n]}, the attacked model's φ; reference {version: [n]}, `signals.reference_mean` of φ under the
        same version of the reference models (the original where they have none), or None for `confidence`.
    Returns: {version: [n,1], or [n,2] with references}.
    """
    return {version: _of(phi, reference, [version]) for version in phi}


def sr_sets(phi, original, reference=None):
    """SR: the original and one compressed version.

    Args: phi, reference as `nr_sets`; original, its key in `phi`.
    Returns: {compressed version: [n,2], or [n,4] with references}.
    Raises: CompLeakError where φ of the original is missing.
    """
    _need(phi, [original])
    return {version: _of(phi, reference, [original, version]) for version in phi if version != original}


def mr_sets(phi, original, groups, reference=None):
    """MR: several compressed versions, with and without the original.

    Args: phi, reference as `nr_sets`; original, its key in `phi`; groups {name: [version]}.
    Returns: {"name, with the original": [n,k+1] or [n,2k+2], "name, without the original": [n,k] or [n,2k]}.
    Raises: CompLeakError for a version of a group, or the original, without φ.
    """
    _need(phi, [original, *(version for versions in groups.values() for version in versions)])
    return {f"{name}, {setting}": _of(phi, reference, [*first, *versions])
            for name, versions in groups.items() for setting, first in ((WITH, [original]), (WITHOUT, []))}


def _need(phi, versions):
    lacking = [str(version) for version in versions if version not in phi]
    if lacking:
        raise CompLeakError(f"no answers of {', '.join(dict.fromkeys(lacking))} among {', '.join(map(str, phi))}")


def _of(phi, reference, versions):
    """Features of these versions, φ of all first, then r of all."""
    side_by_side = np.stack([phi[version] for version in versions], axis=1)
    if reference is None:
        return features(side_by_side)
    return features(side_by_side, np.stack([reference[version] for version in versions], axis=1))
