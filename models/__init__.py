"""Networks, their training, their three compressions, their files and their queries."""
