"""LiRA as an attack, on one version (NR) and jointly on several (SR, MR): its games, and where the cut comes from."""
from functools import partial
from itertools import islice

import numpy as np

from attacks import lira
from attacks.attack import REFERENCE, Attack, Scored
from attacks.bayes_lira import bayes_score
from attacks.games import signals_of
from attacks.joint_lira import member_shift, offline_joint_score, online_joint_score
from attacks.metric_based import fit_threshold

OFFLINE, ONLINE = "offline", "online"
BAYES = f"{ONLINE} (Bayes)"
JOINT = {f"joint_LiRA_{kind}": kind for kind in (OFFLINE, ONLINE, BAYES)}


def _decided(scores, shadow_member):
    """The Scored of each game's scores, the target's first; shadow_member [Σm]. The cut is from the mirrored games."""
    on_shadow = np.concatenate(scores[1:])
    return Scored(scores[0], scores[0] >= fit_threshold(on_shadow, shadow_member), on_shadow)


def _online(score, game, *more):
    """score: (phi, phi of models, which of them did not train on the point, which did, …). Both kinds side by side: a
    point that lacks one has the other's models in its place, moved (`signals.completed`)."""
    none = np.zeros_like(game.out)
    return score(game.phi, np.concatenate([game.out_phi, game.in_phi], axis=1), np.hstack([game.out, none]),
                 np.hstack([none, game.inside]), *more)


def _bayes(game):
    """The score with a prior, from the models of each kind that a point has."""
    phi, out_phi, in_phi = (part if game.phi.ndim == 2 else part[..., None]
                            for part in (game.phi, game.out_phi, game.in_phi))
    return bayes_score(phi, np.where(game.trained[..., None], in_phi, out_phi), game.out & ~game.trained,
                       game.inside & game.trained)


def _with_prior(attacked, context):
    return _decided([_bayes(one) for one in signals_of(attacked, context.seed).games], attacked.shadow_member)


def _attack(kind, variance):
    name = f"LiRA_{kind}" + (f" ({variance})" if variance != "example" else "")

    def run(attacked, context):
        games = signals_of(attacked, context.seed).games
        scores = [_online(lira.online_score, one, variance) if kind == ONLINE else
                  lira.offline_score(one.phi, one.out_phi, one.out, variance) for one in games]
        return _decided(scores, attacked.shadow_member)

    return Attack(name, run, REFERENCE, short=name.replace("_", " "))


# Offline, a pooled and a global variance give the same order, so one of them is a row.
ATTACKS = (*(_attack(OFFLINE, variance) for variance in ("example", "pooled")),
           *(_attack(ONLINE, variance) for variance in lira.VARIANCES),
           Attack(f"LiRA_{BAYES}", _with_prior, REFERENCE, short=f"LiRA {BAYES}"))


def joint(name, signals, shadow_member):
    """The Scored of joint LiRA on several versions.

    Offline the member shift is the mean of the shadows'; for a shadow's own rows, which only choose and cut, that of
    the other shadows.

    Args: name, a key of JOINT; signals, the versions' `games.Signals`; shadow_member [Σm] bool, one shadow after the
        other.
    """
    if JOINT[name] == BAYES:
        return _decided(list(map(_bayes, _of_versions(signals))), shadow_member)
    if JOINT[name] == ONLINE:
        # not a loop, whose variable would hold one game while the next is formed
        return _decided(list(map(partial(_online, online_joint_score), _of_versions(signals))), shadow_member)
    members = np.split(shadow_member, np.cumsum([len(rows) for rows in signals[0].games.rows[1:]])[:-1])
    each = np.array([member_shift(one.phi, one.out_phi, one.out, member)
                     for one, member in zip(islice(_of_versions(signals), 1, None), members, strict=True)])
    shifts = [each.mean(0), *(np.delete(each, place, axis=0).mean(0) for place in range(len(each)))]
    return _decided([offline_joint_score(one.phi, one.out_phi, one.out, shift)
                     for one, shift in zip(_of_versions(signals), shifts, strict=True)], shadow_member)


def _of_versions(signals):
    """Each world's Game of all versions together, one after the other; who trained on what is the same in all."""
    for player in range(len(signals[0].games.rows)):
        yield _joined([one.games[player] for one in signals])


def _joined(games):
    """k Games of one version each, of one world, as one of k versions."""
    phi, out_phi, in_phi = (None if parts[0] is None else np.stack(parts, axis=-1) for parts in zip(
        *((one.phi, one.out_phi, one.in_phi) for one in games), strict=True))
    return games[0]._replace(phi=phi, out_phi=out_phi, in_phi=in_phi)
