"""Membership inference attacks, as functions from arrays to scores."""
