"""Released models, by name or path."""

import os
from pathlib import Path

import torch
import yaml

from geomae.autoencoder.codec import Codec
from geomae.autoencoder.model import Autoencoder
from geomae.checkpoint import checkpoint_kind
from geomae.errors import CheckpointError, GeomaeError


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


def load(name_or_path: str | Path, *, device: torch.device | str = "cpu") -> Codec:
    """A released model by its name, or one of a file or folder; of molecules or of crystals.

    Args:
        name_or_path: such as 'qm9' or 'perov5', a folder with `weights.safetensors`, or a file.
        device: where to put it.

    Returns:
        An `Autoencoder` or a `CrystalAutoencoder`, as the file says.

    Raises:
        GeomaeError: there is no such model; the message lists those that there are.
        CheckpointError: the file can't be read, or holds no autoencoder.
    """
    path = weights_of(name_or_path)
    kind = checkpoint_kind(path)
    if kind == "crystals":
        from geomae.crystals.model import CrystalAutoencoder

        return CrystalAutoencoder.from_file(path, device=device)
    if kind == "flow":
        raise CheckpointError(
            f"'{name_or_path}' is a flow, which makes latents; geomae.generation.load_flow loads it"
        )
    if kind == "inversion":
        raise CheckpointError(
            f"'{name_or_path}' draws atoms from invariants; geomae.inversion.load_inverter loads it"
        )
    if kind == "inventories":
        raise CheckpointError(
            f"'{name_or_path}' draws what molecules are made of; "
            "geomae.generation.load_inventories loads it"
        )
    return Autoencoder.from_file(path, device=device)


def weights_of(name_or_path: str | Path) -> Path:
    """Where the weights of a model are.

    Raises:
        GeomaeError: there is no such model; the message lists those that there are.
    """
    path = Path(name_or_path)
    if path.is_dir():
        path = path / "weights.safetensors"
    if path.is_file():
        return path
    models = released_models()
    if str(name_or_path) not in models:
        known = ", ".join(models) or "none"
        raise GeomaeError(f"there is no model '{name_or_path}'; released models: {known}")
    return models[str(name_or_path)]


def home_source(name_or_path: str | Path) -> str | None:
    """The data set that a model was made for: what `config.yaml` beside its weights says.

    None if there is no such file, or it names no data.
    """
    path = weights_of(name_or_path).with_name("config.yaml")
    if not path.is_file():
        return None
    data = (yaml.safe_load(path.read_text()) or {}).get("data") or {}
    name = data.get("test") or data.get("source")
    return None if name is None else str(name).partition("/")[0]
