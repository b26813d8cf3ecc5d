import itertools
import json

import pytest
import torch

from hopfield.datasets.images import ImageSet
from hopfield.errors import HopfieldError
from hopfield.experiments.tour import EXPERIMENTS, FULL, TOUR, essentials, run
from tests.experiments.tours import TINY, blocks, tiny


def test_numbers_are_json_and_say_where_they_come_from() -> None:
    numbers = tiny().numbers()
    again = json.loads(json.dumps(numbers, allow_nan=False))
    assert again["seed"] == 0
    assert again["full"] is False
    assert again["seconds"] > 0
    assert {"hopfield", "python", "torch", "numpy"} <= set(again["versions"])
    assert {"processor", "cores", "system", "threads"} <= set(again["machine"])
    assert again["images"] == {"name": "blocks", "source": "made for <tests>", "count": 16, "height": 8, "width": 6}
    assert set(again["results"]) == {
        "recovery",
        "betas",
        "networks",
        "networks_on_images",
        "networks_at_random",
        "spurious",
        "error",
        "trade",
    }


def test_parameters_are_recorded_with_their_defaults() -> None:
    parameters = tiny().origin.parameters
    assert parameters["recovery"] == {"stored": 12, "noise": 0.5, "flipped": 0.1, "show": 4}
    assert parameters["networks"]["flipped"] == 3
    for sizes in (TOUR, FULL):
        assert set(sizes) == set(EXPERIMENTS)


def test_the_same_seed_gives_the_same_numbers() -> None:
    first, second = tiny().numbers(), run(blocks(), seed=0, parameters=TINY).numbers()
    assert first["results"] == second["results"]
    assert first["results"] != tiny(1).numbers()["results"]


def test_progress_goes_from_nothing_to_all_and_never_back() -> None:
    seen: list[tuple[str, int, int]] = []
    run(blocks(), parameters=TINY, progress=lambda what, done, total: seen.append((what, done, total)))
    done = [entry[1] for entry in seen]
    assert done[0] == 0
    assert done[-1] == seen[-1][2]
    assert all(before <= after for before, after in itertools.pairwise(done))
    assert all(what for what, _, _ in seen)


def test_essentials_are_eight_to_ten_lines_made_from_the_numbers() -> None:
    lines = essentials(tiny())
    assert 8 <= len(lines) <= 10
    assert all(line.endswith(".") and "\n" not in line for line in lines)
    assert "blocks" in lines[0]
    assert f"{tiny().recovery.stored}" in lines[0]


def test_the_threads_of_torch_are_as_before() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run(blocks(), parameters=TINY)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("images", [torch.zeros(5, 4, 4), torch.rand(2, 4, 4)])
def test_too_few_different_images_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(HopfieldError, match="expected at least 3 images that differ"):
        run(ImageSet("few", images, None, ""), parameters=TINY)
