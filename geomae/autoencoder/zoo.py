"""Released models, by name or path."""

import os
from pathlib import Path

import torch

from geomae.autoencoder.model import Autoencoder
from geomae.errors import GeomaeError


def models_folder() -> Path:
    """`$GEOMAE_MODELS`, or `models/` in the package, beside it, or in the working folder."""
    if named := os.environ.get("GEOMAE_MODELS"):
        return Path(named)
    package = Path(__file__).resolve().parents[1]
    folders = [package / "models", package.parent / "models", Path("models")]
    return next((folder for folder in folders if folder.is_dir()), folders[-1])


def released_models() -> dict[str, Path]:
    """Names of the released models and where their weights are."""
    return {p.parent.name: p for p in sorted(models_folder().glob("*/weights.safetensors"))}


def load(name_or_path: str | Path, *, device: torch.device | str = "cpu") -> Autoencoder:
    """A released model by its name, or one of a file or folder.

    Args:
        name_or_path: such as 'qm9', a folder with `weights.safetensors`, or a file.
        device: where to put it.

    Raises:
        GeomaeError: there is no such model; the message lists those that there are.
    """
    path = Path(name_or_path)
    if path.is_dir():
        path = path / "weights.safetensors"
    if not path.is_file():
        models = released_models()
        if str(name_or_path) not in models:
            known = ", ".join(models) or "none"
            raise GeomaeError(f"there is no model '{name_or_path}'; released models: {known}")
        path = models[str(name_or_path)]
    return Autoencoder.from_file(path, device=device)
