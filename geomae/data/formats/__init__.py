"""Parsers of file formats; each yields a structure, or the error that stands in its place."""
