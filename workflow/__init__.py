"""What the Snakefile needs: the stages' commands, GPU slots, and marks of finished work. No stage knows of it."""
