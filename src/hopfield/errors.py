"""The one exception of the package. Its text says what was expected, what came, and what to do."""


class HopfieldError(ValueError, TypeError):
    """Bad input: a wrong size, type, name or file.

    It is both a ``ValueError`` and a ``TypeError``, so either ``except`` clause catches it.
    """
