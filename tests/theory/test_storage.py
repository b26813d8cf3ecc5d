import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopfield import theory
from hopfield.errors import HopfieldError
from hopfield.theory import storage

few = settings(max_examples=50)
settings_of_theorem_3 = st.fixed_dictionaries(
    {
        "beta": st.floats(0.01, 100),
        "radius": st.floats(0.1, 10),
        "dim": st.integers(2, 500),
        "failure": st.floats(1e-6, 1),
    }
)
FIRST = {"beta": 1, "radius": 3, "dim": 20, "failure": 0.001}
SECOND = {"beta": 1, "radius": 1, "dim": 75, "failure": 0.001}


@pytest.mark.parametrize(
    ("example", "numbers"),
    [
        (FIRST, (-0.0076784, 3.6, 3.1546108, 7.41297, 2.39422)),
        (SECOND, (-0.0246093, 0.4, 1.3718778, 10.97325, 1.25128)),
    ],
)
def test_capacity_gives_the_examples_of_theorem_3(example, numbers):
    found = theory.capacity(**example)
    a, b, c, patterns, threshold = numbers
    assert found.a == pytest.approx(a, abs=5e-8)
    assert found.b == pytest.approx(b, abs=1e-12)
    assert found.c == pytest.approx(c, abs=5e-8)
    assert found.patterns == pytest.approx(patterns, abs=5e-6)
    assert found.log_patterns == pytest.approx(math.log(patterns), abs=1e-6)
    assert found.holds
    assert found.c >= threshold == pytest.approx((2 / math.sqrt(0.001)) ** (4 / (example["dim"] - 1)), abs=5e-6)


def test_capacity_says_where_the_theorem_does_not_apply():
    found = theory.capacity(beta=1, radius=1, dim=10, failure=0.001)
    assert not found.holds
    assert found.patterns < 2


@few
@given(settings_of_theorem_3)
def test_capacity_solves_its_equation(arguments):
    found = theory.capacity(**arguments)
    beta, radius, dim, failure = (arguments[name] for name in ("beta", "radius", "dim", "failure"))
    a = 2 / (dim - 1) * (1 + math.log(2 * beta * radius**2 * failure * (dim - 1)))
    assert found.a == pytest.approx(a, abs=1e-9)
    assert found.b == pytest.approx(2 * radius**2 * beta / 5)
    largest = max(abs(found.a * found.c), abs(found.c * math.log(found.c)), found.b)
    assert abs(found.a * found.c + found.c * math.log(found.c) - found.b) <= 1e-11 * largest
    assert found.log_patterns == pytest.approx(math.log(failure) / 2 + math.log(found.c) * (dim - 1) / 4, abs=1e-9)
    if found.log_patterns < 709:  # elsewhere it is too large for a float
        assert found.patterns == pytest.approx(math.exp(found.log_patterns))
    if abs(found.log_patterns - math.log(2)) > 1e-9:
        assert found.holds == (found.c >= (2 / math.sqrt(failure)) ** (4 / (dim - 1)))


@pytest.mark.parametrize(("example", "c"), [(FIRST, 3.144409), (SECOND, 1.258496)])
def test_capacity_corollary_gives_its_examples(example, c):
    assert theory.capacity_corollary(**example).c == pytest.approx(c, abs=5e-7)


@few
@given(settings_of_theorem_3)
def test_capacity_corollary_is_below_the_theorem_and_not_far(arguments):
    full, simple = theory.capacity(**arguments), theory.capacity_corollary(**arguments)
    assert (simple.a, simple.b) == (full.a, full.b)
    assert simple.c <= full.c * (1 + 1e-12)
    u = full.a + math.log(full.b)
    if -0.5 < u <= 0 or 0.7 < u < 3:  # near u = 0 and u = 1, where the bounds touch W₀
        assert simple.c >= 0.9 * full.c


def test_capacity_beyond_floats():
    huge = theory.capacity(beta=1, radius=3, dim=10**9, failure=0.001)
    assert huge.patterns == math.inf
    assert huge.holds
    # a vanishes, so that c ln c = b
    assert huge.c * math.log(huge.c) == pytest.approx(3.6, abs=1e-6)
    assert huge.log_patterns == pytest.approx(math.log(huge.c) * (10**9 - 1) / 4)
    wide = theory.capacity(beta=1, radius=1e200, dim=20, failure=0.001)
    assert (wide.b, wide.c) == (math.inf, math.inf)
    assert math.isfinite(wide.log_patterns)


def test_capacity_takes_no_account_of_disjoint_spheres():
    # 2 N² beta M² stays below 1, so that Eq. 305 fails for the promised number of patterns
    found = theory.capacity(beta=1e-200, radius=1e-200, dim=20, failure=1e-3)
    assert found.holds
    assert math.log(2 * 19) + 3 * math.log(1e-200) + 2 * found.log_patterns == pytest.approx(-1)


@few
@given(st.one_of(st.floats(-1e3, 1e3), st.floats(-1e12, 1e12), st.floats(0.9, 1.1)))
def test_lambert_solver_agrees_with_scipy(z):
    special = pytest.importorskip("scipy.special")
    y = storage.log_lambert_w(z)
    assert y + math.exp(y) == pytest.approx(z, rel=1e-14, abs=1e-14)
    assert math.exp(y) == pytest.approx(float(special.wrightomega(z)), rel=1e-13, abs=1e-300)
    if abs(z) < 700:
        assert math.exp(y) == pytest.approx(special.lambertw(math.exp(z)).real, rel=1e-12)


@few
@given(st.one_of(st.floats(1 + 1e-8, 2), st.floats(2, 700)))
def test_lower_branch_agrees_with_scipy(level):
    special = pytest.importorskip("scipy.special")
    s = storage._upper_root(level)
    assert s >= 1
    assert s - math.log(s) == pytest.approx(level, rel=1e-14)
    # the branch point s = 1 costs both of them up to half their digits
    assert s == pytest.approx(-special.lambertw(-math.exp(-level), -1).real, rel=1e-14 / math.sqrt(level - 1))


def test_lower_branch_at_its_end():
    assert storage._upper_root(1.0) == pytest.approx(1, abs=1e-7)


@few
@given(settings_of_theorem_3)
def test_dimension_is_the_inverse_of_capacity(arguments):
    dim = arguments.pop("dim")
    c = theory.capacity(dim=dim, **arguments).c
    if c <= 1:
        return
    found = theory.capacity_dimension(c=c, **arguments)
    rank = found.root - 1
    largest = max(abs(found.a * rank), abs(math.log(rank)), abs(found.b), 1)
    assert abs(found.a * rank + math.log(rank) + found.b) <= 1e-9 * largest
    if found.a > 1e-6:  # a single solution
        assert found.root == pytest.approx(dim, rel=1e-5)
    elif found.a < 0:  # the larger of two
        assert found.root >= dim * (1 - 1e-5)


@few
@given(settings_of_theorem_3, st.floats(1.01, 8))
def test_smallest_dimension_is_found_by_trying_all(arguments, c):
    del arguments["dim"]
    found = theory.capacity_dimension(c=c, **arguments)

    def fits(dim):
        apart = c >= (2 / math.sqrt(arguments["failure"])) ** (4 / (dim - 1))
        return apart and theory.capacity(dim=dim, **arguments).c >= c

    tried = next((dim for dim in range(2, 400) if fits(dim)), math.inf)
    assert found.smallest == tried if found.smallest < 400 else tried == math.inf


def test_example_of_theorem_a6_is_a_misprint():
    found = theory.capacity_dimension(beta=1, radius=3, c=2, failure=0.001)
    assert found.a == pytest.approx(-0.5534, abs=5e-5)
    assert found.b == pytest.approx(-3.0174, abs=5e-5)
    assert found.a * math.exp(-found.b) < -1 / math.e  # outside the domain of the Lambert function
    assert math.isnan(found.root)
    assert found.smallest == 25
    assert "d < 24" in theory.capacity_dimension.__doc__


def test_dimension_of_each_sign():
    zero = theory.capacity_dimension(beta=1, radius=math.sqrt(5 * math.log(2)), c=2, failure=0.01)
    assert zero.a == pytest.approx(0, abs=1e-15)
    assert zero.root == pytest.approx(1 + math.exp(-zero.b))
    # a base that no dimension gives
    assert theory.capacity_dimension(beta=1, radius=0.1, c=3, failure=0.01).smallest == math.inf
    # a gap: the first condition fails at the dimension the second asks for, and holds again later
    gap = theory.capacity_dimension(beta=1, radius=2.65, c=2.56, failure=1)
    assert gap.a < 0
    assert gap.smallest == math.ceil(gap.root) > 10


@pytest.mark.parametrize(("dim", "margin"), [(17, -1.49), (18, -1.10), (19, -0.69), (20, -0.28), (21, 0.13)])
def test_example_of_theorem_a7_is_a_misprint(dim, margin):
    assert theory.expected_separation_margin(beta=1, radius=3, dim=dim, c=2) == pytest.approx(margin, abs=6e-3)
    assert "first holds at d = 21" in theory.expected_separation_margin.__doc__


@few
@given(settings_of_theorem_3, st.floats(1.1, 10))
def test_expected_separation_margin_is_the_inequality(arguments, c):
    beta, radius, dim = (arguments[name] for name in ("beta", "radius", "dim"))
    left = (dim - 1) * radius**2 / (5 * c) * (1 - math.log(dim - 1) / (dim - 1)) ** 2
    right = 2 / (beta * c ** ((dim - 1) / 4))
    right += math.log(2 * c ** ((dim - 1) / 2) * beta * (dim - 1) * radius**2) / beta
    found = theory.expected_separation_margin(beta=beta, radius=radius, dim=dim, c=c)
    assert found == pytest.approx(left - right, abs=1e-9 * (left + abs(right)))


@pytest.mark.parametrize(
    ("base", "radius", "dim", "margin"),
    [(4, 2, 4, 0.473), (4, 1.7, 50, 0.107), (8, 5, 3, 1.690), (8, 4, 13, 0.378)],
)
def test_placed_capacity_holds_where_theorems_a3_and_a4_say(base, radius, dim, margin):
    found = theory.placed_capacity(radius=radius, dim=dim, base=base)
    assert found.margin == pytest.approx(margin, abs=5e-4)
    assert found.holds
    assert found.patterns == pytest.approx(base ** (dim - 1))
    assert found.margin == found.separation - found.required


@pytest.mark.parametrize(
    ("base", "radius", "dim", "holds"), [(4, 2, 3, False), (8, 5, 2, False), (8, 4, 12, False), (4, 1.7, 49, True)]
)
def test_placed_capacity_just_below_the_stated_dimensions(base, radius, dim, holds):
    assert theory.placed_capacity(radius=radius, dim=dim, base=base).holds is holds


@pytest.mark.parametrize("base", [3, 4, 7])
def test_placed_capacity_is_exact_on_the_circle(base):
    angles = 2 * math.pi / base * torch.arange(base, dtype=torch.float64)
    patterns = 3 * torch.stack([angles.cos(), angles.sin()], dim=1)
    found = theory.placed_capacity(radius=3, dim=2, beta=2, base=base)
    assert found.patterns == pytest.approx(base)
    separations = theory.pattern_separation(patterns)
    torch.testing.assert_close(separations, torch.full_like(separations, found.separation))
    # the master inequality has N² in place of (N-1) N
    slack = found.required - float(theory.required_separation(patterns, 2))
    assert slack == pytest.approx(math.log(base / (base - 1)) / 2)


def test_placed_capacity_beyond_floats():
    found = theory.placed_capacity(radius=2, dim=1000)
    assert found.patterns == math.inf
    assert found.holds
    assert found.log_patterns == pytest.approx(999 * math.log(4))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"beta": 0}, r"beta must be positive and finite, got 0"),
        ({"beta": math.nan}, r"beta must be positive and finite, got nan"),
        ({"radius": -3}, r"radius must be positive and finite, got -3"),
        ({"radius": math.inf}, r"radius must be positive and finite, got inf"),
        ({"dim": 1}, r"dim must be an integer of at least 2, got 1"),
        ({"dim": 20.5}, r"dim must be an integer of at least 2, got 20.5"),
        ({"failure": 0}, r"failure must be a probability with 0 < failure ≤ 1, got 0"),
        ({"failure": 1.5}, r"failure must be .* got 1.5"),
        ({"failure": math.nan}, r"failure must be .* got nan"),
    ],
)
@pytest.mark.parametrize("function", [theory.capacity, theory.capacity_corollary])
def test_bad_arguments_of_capacity_are_refused(function, change, text):
    with pytest.raises(HopfieldError, match=text):
        function(**FIRST | change)


def test_bad_arguments_of_the_other_capacities_are_refused():
    with pytest.raises(HopfieldError, match=r"c must be larger than 1, .* got 1"):
        theory.capacity_dimension(beta=1, radius=3, c=1, failure=0.1)
    with pytest.raises(HopfieldError, match="c must be positive and finite, got nan"):
        theory.expected_separation_margin(beta=1, radius=3, dim=5, c=math.nan)
    with pytest.raises(HopfieldError, match=r"base must be at least 2, .* got 1.5"):
        theory.placed_capacity(radius=3, dim=5, base=1.5)
    with pytest.raises(HopfieldError, match="dim must be an integer of at least 2, got 1"):
        theory.placed_capacity(radius=3, dim=1)
