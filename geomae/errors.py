"""Exceptions that geomae raises at its boundary. All derive from ValueError through GeomaeError."""


class GeomaeError(ValueError):
    """Base of every error that geomae raises for bad input."""


class StructureError(GeomaeError):
    """A structure is unusable: says which one (index, file, line) and what is wrong with it.

    Args:
        fault: what was wrong and what was expected.
        index: position of the structure in the input, from 0.
        source: file or object that it came from, with the line where known (`"a.xyz:12"`).
    """

    def __init__(self, fault: str, *, index: int | None = None, source: str | None = None):
        self.fault, self.index, self.source = fault, index, source
        where = [f"structure {index}"] if index is not None else []
        where += [f"({source})"] if source else []
        super().__init__(f"{' '.join(where)}: {fault}" if where else fault)


class UnsupportedStructureError(StructureError):
    """A structure has an element or a size outside what a model was trained for."""


class CheckpointError(GeomaeError):
    """A checkpoint or latent file is damaged, foreign, or of a format that can't be read."""


class MissingExtraError(GeomaeError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""

    def __init__(self, package: str, extra: str):
        super().__init__(
            f"this needs the package '{package}', which is not installed: "
            f"pip install 'geomae[{extra}]'"
        )
