"""How fast the project is: one script for each row of the table (run as `python -m benchmarks.NAME`)."""
