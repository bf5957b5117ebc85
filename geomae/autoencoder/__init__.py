"""The autoencoder: encoder, latents, decoder, refinement."""

from geomae.autoencoder.codec import Codec as Codec
from geomae.autoencoder.config import AutoencoderConfig as AutoencoderConfig
from geomae.autoencoder.latents import Latents as Latents
from geomae.autoencoder.model import Autoencoder as Autoencoder
from geomae.autoencoder.zoo import home_source as home_source
from geomae.autoencoder.zoo import load as load
from geomae.autoencoder.zoo import released_models as released_models
