"""The experiments of the paper, one file for each, run by the commands of `hopfield`."""
