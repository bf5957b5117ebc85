"""What a folder of shards holds, so that work on it can only go on as it began."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geomae.data.cache import replacing
from geomae.errors import GeomaeError

if TYPE_CHECKING:
    from geomae.autoencoder import Codec
    from geomae.bulk.entries import Inputs

PLAN, INDEX = "plan.json", "index.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Plan:
    """What decides the content of every shard.

    Attributes:
        inputs: description of what is encoded.
        model: name of the model, for people.
        weights: digest of its configuration and weights.
        lmax, channels, dtype: of the latents.
        form: 'safetensors' or 'parquet'.
        shard_size: entries of a shard; the last may have fewer.
        batch_size: structures encoded together.
    """

    inputs: dict
    model: str
    weights: str
    lmax: int
    channels: int
    dtype: str
    form: str
    shard_size: int
    batch_size: int
    format_version: int = FORMAT_VERSION

    def digest(self) -> str:
        """Short name of all but the model's name, which may be written in several ways."""
        content = asdict(self) | {"model": None}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def shard_name(self, number: int) -> str:
        return f"shard-{number:06d}.{self.form}"


def make_plan(
    model: "Codec", name: str, inputs: "Inputs", form: str, shard_size: int, batch_size: int
) -> Plan:
    """The plan of encoding inputs with a model."""
    components, channels = model.encoder.latent_shape
    return Plan(
        inputs.description(),
        name,
        weights_digest(model),
        round(components**0.5) - 1,
        channels,
        str(model.dtype).removeprefix("torch."),
        form,
        shard_size,
        batch_size,
    )


def weights_digest(model: "Codec") -> str:
    """Digest of a model's configuration and weights."""
    total = hashlib.sha256(model.config.model_dump_json().encode())
    for name, parameter in sorted(model.named_parameters()):
        total.update(name.encode())
        total.update(parameter.detach().cpu().numpy().tobytes())
    return total.hexdigest()


def settle_plan(folder: Path, plan: Plan) -> None:
    """Write the plan, or see that the folder's is the same.

    Raises:
        GeomaeError: the folder was begun with another plan, or holds something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PLAN
    if path.exists():
        known = read_plan(folder)
        if known.digest() != plan.digest():
            raise GeomaeError(
                f"{folder} was begun with other {_differences(known, plan)}; go on as it was "
                "begun, or take another folder"
            )
        return
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(asdict(plan), indent=1) + "\n")


def read_plan(folder: Path) -> Plan:
    """The plan of a folder.

    Raises:
        GeomaeError: the folder holds no shards, or those of a newer format.
    """
    try:
        content = json.loads((folder / PLAN).read_text())
    except FileNotFoundError as error:
        raise GeomaeError(f"{folder} holds no shards of latents: it has no {PLAN}") from error
    except json.JSONDecodeError as error:
        raise GeomaeError(f"{folder / PLAN} is damaged: {error}") from error
    if content.get("format_version") != FORMAT_VERSION:
        raise GeomaeError(
            f"{folder} has format version {content.get('format_version')}; this geomae reads "
            f"{FORMAT_VERSION}"
        )
    return Plan(**content)


def _differences(known: Plan, plan: Plan) -> str:
    ours, theirs = asdict(plan), asdict(known)
    names = [name for name in ours if ours[name] != theirs[name] and name != "model"]
    return ", ".join(name.replace("_", " ") for name in names)
