"""Who is a member of which model: pools, members and evaluation rows, derived from one seed."""
import hashlib
import json
from dataclasses import dataclass, replace

import numpy as np

from common.errors import CompLeakError, UsageError
from common.files import checksum
from common.paths import TARGET
from common.seeds import derive_seed

FORMAT = 1
SCORED_AT_MOST = 10_000
DISJOINT, SHARED = POOLS = ("disjoint", "shared")


@dataclass(frozen=True)
class World:
    """One model's view of its pool: positions in the pooled data set.

    members [N] and non_members [P − N] fill the pool; the first `scored` of each are the evaluation rows.
    """

    name: str
    members: np.ndarray
    non_members: np.ndarray
    scored: int

    @property
    def evaluation(self):
        """The rows that attacks are fitted or scored on, members first: [2·scored] int64."""
        return np.concatenate([self.members[: self.scored], self.non_members[: self.scored]])


@dataclass(frozen=True)
class Split:
    """The target's and every shadow's world over one data set of n images (design: Data and splits).

    twins: rows of equal pictures that were kept together, a tuple for each content; empty where there are none, and in
    splits older than this care. pools: DISJOINT, target and shadows draw from two halves that never meet; SHARED, every
    model draws from everything, so that each row is a member of a share train_size / n of them.
    """

    n: int
    seed: int
    train_size: int
    data_digest: str
    target: World
    shadows: tuple
    twins: tuple = ()
    pools: str = DISJOINT

    @property
    def worlds(self):
        return (self.target, *self.shadows)

    def named(self, names=None):
        """The worlds of these names, in the split's order, or all of them; UsageError for one that is not there."""
        known = [world.name for world in self.worlds]
        for name in names or []:
            if name not in known:
                raise UsageError(f"--worlds {name}: this run has {', '.join(known)}")
        return tuple(world for world in self.worlds if not names or world.name in names)

    def attacking(self, name):
        """The same split with this world as the target and all others, in their order, as its shadows."""
        others = tuple(world for world in self.worlds if world.name != name)
        return replace(self, target=self.named([name])[0], shadows=others)

    def apart(self, shadow_num=None):
        """Whether the target's pool and those of its first shadow_num shadows never meet.

        Disjoint pools are the first target's and all others': where a shadow is attacked, only the first target's is.
        """
        names = [world.name for world in self.worlds[:None if shadow_num is None else 1 + shadow_num]]
        return self.pools == DISJOINT and (names[0] == TARGET or names[1:] == [TARGET])

    @property
    def digest(self):
        """Names the data, the pools and the target's members; one more shadow does not change it."""
        named = f"{self.data_digest} {self.n} {self.seed} {self.train_size}"
        digest = hashlib.sha256((named if self.pools == DISJOINT else f"{named} {self.pools}").encode())
        target, = self.named([TARGET])
        for rows in (target.members, target.non_members):
            digest.update(np.ascontiguousarray(rows, dtype="<i8").tobytes())
        return digest.hexdigest()[:16]


def make_split(n, seed, shadow_num=1, train_size=None, data_digest="", twins=(), pools=DISJOINT, pool_size=None):
    """Who trains on what.

    DISJOINT: two pools of pool_size images (default n // 2); the target takes one, every shadow a random split of the
    other. SHARED: one pool (default all n images), of which every model, the target too, takes a random split,
    independent of the others'.

    train_size is N, the members of each model (default two thirds of a pool, and of n // 2 at most). twins
    (`Dataset.twins`): rows of equal pictures, of which no model has one as a member and another not, and no two lie in
    different pools. Raises UsageError when the numbers leave no members, no non-members or no shadow, or twins no split
    of these sizes.
    """
    most = n // 2 if pools == DISJOINT else n
    pool = most if pool_size is None else pool_size
    if pool_size is not None and not 2 < pool <= most:
        raise UsageError(f"--pool_size {pool}: the data have {n} images and pools are {pools}, choose 3 to {most}")
    train_size = 2 * min(pool, n // 2) // 3 if train_size is None else train_size
    if not 1 < train_size < pool:
        raise UsageError(f"--train_size {train_size}: a pool has {pool} images, choose 2 to {pool - 1}")
    if shadow_num < 1:
        raise UsageError(f"--shadow_num {shadow_num}: choose at least 1, attacks are fitted on shadows")
    sides = [train_size, pool - train_size]
    order = np.random.default_rng(derive_seed(seed, "pools")).permutation(n)
    if pools == SHARED:
        *target, _ = _fill(order, [*sides, n - pool], twins, [*sides, n - pool])
        others = np.sort(np.concatenate(target))
    else:
        most = [*sides, max(sides), n - 2 * pool]  # a content in the attacker's pool has to fit into a side of a shadow
        *target, others, _ = _fill(order, [*sides, pool, n - 2 * pool], twins, most)
    shadows = []
    for i in range(shadow_num):
        rows = np.random.default_rng(derive_seed(seed, "shadow", i)).permutation(others)
        shadows.append(make_world(f"shadow_{i}", np.concatenate(_fill(rows, sides, twins, sides)), train_size))
    split = Split(n, seed, train_size, data_digest, make_world("target", np.concatenate(target), train_size),
                  tuple(shadows), tuple(tuple(map(int, rows)) for rows in twins), pools)
    check_disjoint(split)
    check_together(split)
    return split


def _fill(order, sizes, twins, most):
    """Deal rows out in the order given to roles of exactly these sizes, twins to one role: a list of row arrays.

    order [n]: the rows, sizes adding up to n. most: how many twins a role can take. Without twins the order is cut into
    pieces. With them, the largest group first, a group goes to the role that its first row would have had; if it does
    not fit, to the role with most room. Single pictures fill up what is left.
    """
    place = np.full(order.max() + 1, -1)
    place[order] = np.arange(len(order))
    role, room = np.full(len(order), -1), np.array(sizes)
    alone = np.repeat(np.arange(len(sizes)), sizes)
    here = [place[list(rows)] for rows in twins if rows[0] < len(place) and place[rows[0]] >= 0]
    for places in sorted(here, key=lambda places: (-len(places), places[0])):
        fits = (room >= len(places)) & (np.array(most) >= len(places))
        if not fits.any():
            raise UsageError(f"{len(places)} equal pictures (row {order[places[0]]} of the data is one) fit into no "
                             f"part of the split: parts take {', '.join(map(str, most))} of one content and have room "
                             f"for {', '.join(map(str, room))}: remove repeated ones, or choose another --train_size")
        wanted = alone[places[0]]
        chosen = wanted if fits[wanted] else int(np.argmax(np.where(fits, room, -1)))
        role[places], room[chosen] = chosen, room[chosen] - len(places)
    role[role < 0] = np.repeat(np.arange(len(sizes)), room)
    return [order[role == number] for number in range(len(sizes))]


def make_world(name, rows, train_size):
    """The World of a pool [P], its first train_size rows the members."""
    scored = min(train_size, len(rows) - train_size, SCORED_AT_MOST)
    return World(name, rows[:train_size], rows[train_size:], scored)


def check_disjoint(split):
    """Raises CompLeakError when an image is a member and a non-member of one model, or in both disjoint pools."""
    pool = _pool(split.target)
    for world in split.worlds:
        rows = _pool(world)
        if len(np.unique(rows)) < len(rows) or rows.min() < 0 or rows.max() >= split.n:
            raise CompLeakError(f"split: {world.name} has an image twice, or one outside the {split.n} of the data")
        if split.pools == DISJOINT and world is not split.target and np.isin(rows, pool).any():
            raise CompLeakError(f"split: {world.name} shares images with the target's pool")


def _pool(world):
    return np.concatenate([world.members, world.non_members])


def check_together(split):
    """Raises CompLeakError when a model has one of some twins as a member and another not, or pools share a content."""
    if not split.twins:
        return
    role = np.zeros((1 + len(split.worlds), split.n), np.int8)
    for number, world in enumerate([split.target, *split.shadows[:1]], 1):
        role[0, _pool(world)] = number
    for number, world in enumerate(split.worlds, 1):
        role[number, world.members] = 1
    for rows in split.twins:
        if (role[:, list(rows)] != role[:, rows[:1]]).any():
            raise CompLeakError(f"split: rows {', '.join(map(str, rows[:4]))} hold equal pictures and lie in different "
                                "parts")


def to_json(split):
    """The split as plain JSON values."""
    worlds = {w.name: {"members": w.members.tolist(), "non_members": w.non_members.tolist()} for w in split.worlds}
    twins = [list(rows) for rows in split.twins]
    return {"format": FORMAT, "n": split.n, "seed": split.seed, "train_size": split.train_size,
            "data_fingerprint": split.data_digest, "fingerprint": split.digest, "worlds": worlds,
            **({"twins": twins} if twins else {}), **({"pools": split.pools} if split.pools != DISJOINT else {}),
            "checksum": _checksum(worlds, twins)}


def _checksum(worlds, twins):
    return checksum(json.dumps([worlds, twins] if twins else worlds))


def from_json(saved):
    """The split that `to_json` wrote, checked for disjointness and against its own digest."""
    if saved.get("format") != FORMAT:
        raise CompLeakError(f"split format {saved.get('format')!r}: this version reads format {FORMAT}")
    worlds = []
    for name, rows in saved["worlds"].items():
        members, non_members = (np.array(rows[key], dtype=np.int64) for key in ("members", "non_members"))
        worlds.append(make_world(name, np.concatenate([members, non_members]), len(members)))
    twins = saved.get("twins", [])
    split = Split(saved["n"], saved["seed"], saved["train_size"], saved["data_fingerprint"], worlds[0],
                  tuple(worlds[1:]), tuple(map(tuple, twins)), saved.get("pools", DISJOINT))
    check_disjoint(split)
    if split.digest != saved["fingerprint"] or _checksum(saved["worlds"], twins) != saved["checksum"]:
        raise CompLeakError("split: the file was changed after it was written (its digest does not match)")
    check_together(split)
    return split
