"""The layers of the package `hflayers` 1.0.2 on top of `hopfield.nn`: same names, keywords, parameters and numbers.

`import hopfield.compat.hflayers as hflayers` is the only change to code; `load_state_dict` takes the original's
checkpoints. What the original gets wrong is put right; `docs/hflayers.md` lists it. `to_native()` turns a layer into
one of `hopfield.nn`. Here, and only here, masks say True for what is left out.
"""

from hopfield.compat.hflayers.layers import Hopfield, HopfieldLayer, HopfieldPooling

__all__ = ["Hopfield", "HopfieldLayer", "HopfieldPooling"]
__version__ = "1.0.2"
