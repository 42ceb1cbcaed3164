"""Extraction of highlights: scores of a match, selected sections, and the files that are made of them."""
