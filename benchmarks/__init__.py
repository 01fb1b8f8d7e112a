"""How fast the project is: one script for each row of the table (run as `python -m benchmarks.NAME`)."""
import common  # noqa: F401  (before torch: see common/threads.py)
