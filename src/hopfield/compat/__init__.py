"""Other packages' names on top of hopfield, for code and checkpoints written for them."""
