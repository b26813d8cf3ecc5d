"""Layers: the general one, pooling, lookup, and what transformers are built of."""

from hopfield.nn.averaging import GaussianAveraging
from hopfield.nn.beta import LearnedBeta
from hopfield.nn.hopfield import Hopfield
from hopfield.nn.lookup import HopfieldLayer
from hopfield.nn.pooling import HopfieldPooling
from hopfield.nn.sequences import SequenceEmbedding
from hopfield.nn.transformer import HopfieldDecoderLayer, HopfieldEncoderLayer, causal_mask

__all__ = [
    "GaussianAveraging",
    "Hopfield",
    "HopfieldDecoderLayer",
    "HopfieldEncoderLayer",
    "HopfieldLayer",
    "HopfieldPooling",
    "LearnedBeta",
    "SequenceEmbedding",
    "causal_mask",
]
