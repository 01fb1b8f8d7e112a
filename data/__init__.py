"""Images, membership splits and augmentation."""
import common  # noqa: F401  (before torch: see common/threads.py)
