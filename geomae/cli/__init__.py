"""The command line: `geomae --help`."""

from geomae.cli.main import app as app
