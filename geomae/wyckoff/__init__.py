"""Crystals on Wyckoff positions: the positions of space groups, and skeletons of them."""
