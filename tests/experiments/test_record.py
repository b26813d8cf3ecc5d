"""Experiments that can be stopped and started again."""

from dataclasses import dataclass

import pytest

from hopfield.errors import HopfieldError
from hopfield.experiments.record import digest, recorded, run_tasks


@dataclass(frozen=True)
class Outcome:
    name: str
    values: tuple[float, ...] = ()


def twice(name, count):
    return [Outcome(name, (float(i), 0.5)) for i in range(count)]


def test_outcomes_come_back_from_the_file(tmp_path):
    record = tmp_path / "outcomes.jsonl"
    assert recorded(record, Outcome) == []
    told = []
    options = {"jobs": 1, "backend": "sequential", "before": 3, "progress": lambda *now: told.append(now[1:])}
    found = run_tasks([(twice, ("a", 2)), (twice, ("b", 1)), (twice, ("c", 0))], record, **options)
    assert found == [*twice("a", 2), *twice("b", 1)]
    assert told == [(3, 6), (4, 6), (5, 6), (6, 6)]
    assert recorded(record, Outcome) == found
    run_tasks([(twice, ("d", 1))], record, jobs=1, backend="sequential")
    assert recorded(record, Outcome) == [*found, *twice("d", 1)]


def test_processes(tmp_path):
    found = run_tasks([(twice, (name, 1)) for name in "abc"], tmp_path / "outcomes.jsonl", jobs=2)
    assert sorted(outcome.name for outcome in found) == ["a", "b", "c"]


def test_a_line_that_was_cut_off_is_taken_away(tmp_path):
    record = tmp_path / "outcomes.jsonl"
    found = run_tasks([(twice, ("a", 2))], record, jobs=1, backend="sequential")
    whole = record.read_text()
    for cut in (whole[:15], whole.splitlines()[0], "{"):  # all but the end of the line may have been written
        record.write_text(whole + cut)
        assert recorded(record, Outcome) == found
        assert record.read_text() == whole


@pytest.mark.parametrize("content", [b"my notes", b"\xff\xfe\n"])
def test_other_files_are_left_alone(tmp_path, content):
    record = tmp_path / "outcomes.jsonl"
    record.write_bytes(content)
    with pytest.raises(HopfieldError, match=r"does not end with an outcome|cannot read the outcomes"):
        recorded(record, Outcome)
    assert record.read_bytes() == content


@pytest.mark.parametrize(
    "line", ["{", "[1, 2]", "7", '{"other": 1}', '{"name": {}}', '{"name": "a", "values": "x"}', '{"name": null}']
)
def test_a_foreign_record_is_refused(tmp_path, line):
    record = tmp_path / "outcomes.jsonl"
    record.write_text(f"{line}\n{line}\n")
    with pytest.raises(HopfieldError, match="line 1 is no outcome"):
        recorded(record, Outcome)


@pytest.mark.parametrize(("name", "text"), [("spark", "backend must be loky"), ("dask", "dask"), ("ray", "ray")])
def test_backends_that_are_not_there(name, text, tmp_path):
    with pytest.raises(HopfieldError, match=text):
        run_tasks([], tmp_path / "outcomes.jsonl", jobs=1, backend=name)


def test_digests_tell_settings_apart():
    assert digest({"a": 1, "b": (2.0,)}) == digest({"b": (2.0,), "a": 1})
    assert len({digest({"a": value}) for value in (1, 2, None, "1", (1,), 1.5)}) == 6
