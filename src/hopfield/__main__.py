"""`python -m hopfield` is the command line."""

from hopfield.cli import main

if __name__ == "__main__":
    main()
