import pytest

from tests.cli.runs import refused


def test_capacity_prints_the_papers_example(run):
    code, out, _ = run("capacity", "--beta", 1, "--dim", 20, "--radius", 3, "--failure", 0.001)
    assert code == 0
    assert "3.154611" in out
    assert "7.413" in out


@pytest.mark.parametrize(
    ("arguments", "word"), [(["--failure", "0"], "failure"), (["--dim", "1"], "dim"), (["--beta", "-1"], "beta")]
)
def test_bad_capacity_is_refused(run, arguments, word):
    refused(run("capacity", *arguments), word)
