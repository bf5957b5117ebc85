"""`python -m geomae` is the command `geomae`."""

from geomae.cli.main import app

if __name__ == "__main__":
    app()
