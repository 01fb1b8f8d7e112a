"""The three compression techniques."""
