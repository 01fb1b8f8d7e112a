"""Networks, their training, their three compressions, their files and their queries."""
import common  # noqa: F401  (before torch: see common/threads.py)
