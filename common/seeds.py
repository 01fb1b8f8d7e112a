"""Every random choice comes from one seed and the role it is drawn for."""
import hashlib
import json


def derive_seed(seed, *role):
    """A 63-bit seed for one role (words and numbers), the same in every process and on every machine."""
    digest = hashlib.sha256(json.dumps([int(seed), *role]).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
