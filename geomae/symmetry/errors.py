"""What can be wrong with groups, properties and tolerances."""

from geomae.errors import GeomaeError


class GroupError(GeomaeError):
    """A point group has no such name, or does not fit what it is to act on."""


class PropertyError(GeomaeError):
    """A property has no such name, or can't be asked of what is given."""


class ToleranceError(GeomaeError):
    """A tolerance is not a positive length, or so large that it merges atoms."""
