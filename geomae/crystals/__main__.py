"""`python -m geomae.crystals CONFIG -o FOLDER`: train an autoencoder of crystals."""

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description="Train an autoencoder of crystals.")
    parser.add_argument("config", type=Path, help="YAML file")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--release", type=Path, help="file for the averaged weights")
    options = parser.parse_args()

    from geomae.crystals.training import read_run, release, train

    def report(step: int, row: dict[str, float]) -> None:
        print(step, *(f"{name} {value:.4g}" for name, value in row.items()), flush=True)

    trainer = train(read_run(options.config), options.output, report)
    if options.release:
        release(trainer, options.release)


if __name__ == "__main__":
    main()
