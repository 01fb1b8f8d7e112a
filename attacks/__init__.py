"""Membership inference attacks, as functions from arrays to scores."""
import common  # noqa: F401  (before torch: see common/threads.py)
