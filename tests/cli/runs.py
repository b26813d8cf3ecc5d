"""What comes of a command."""

Run = tuple[int, str, str]
"""Exit code, standard output, standard error."""


def refused(result: Run, *words: str) -> None:
    """One clear line with exit code 2, in which these words are."""
    code, out, err = result
    assert code == 2
    assert out == ""
    assert err.startswith("hopfield: ")
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
    for word in words:
        assert word in err
