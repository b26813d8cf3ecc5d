"""The theory of modern Hopfield networks as functions: separation, capacity, error bounds, kinds of fixed points."""

from hopfield.core.energy import jacobian
from hopfield.theory.bounds import (
    MarginBound,
    contraction_bound,
    jacobian_norm_bound,
    margin_bound,
    one_update_bound,
    residual_error_bound,
    retrieval_error_bound,
)
from hopfield.theory.fixed_points import (
    KINDS,
    FixedPointKind,
    GlobalFixedPoint,
    MetastableBounds,
    MetastableState,
    fixed_point_kind,
    global_fixed_point,
    metastable_bounds,
    metastable_state,
)
from hopfield.theory.separation import pattern_separation, required_separation, sphere_radius, well_separated
from hopfield.theory.storage import (
    Capacity,
    CapacityDimension,
    PlacedCapacity,
    capacity,
    capacity_corollary,
    capacity_dimension,
    expected_separation_margin,
    placed_capacity,
)

__all__ = [
    "KINDS",
    "Capacity",
    "CapacityDimension",
    "FixedPointKind",
    "GlobalFixedPoint",
    "MarginBound",
    "MetastableBounds",
    "MetastableState",
    "PlacedCapacity",
    "capacity",
    "capacity_corollary",
    "capacity_dimension",
    "contraction_bound",
    "expected_separation_margin",
    "fixed_point_kind",
    "global_fixed_point",
    "jacobian",
    "jacobian_norm_bound",
    "margin_bound",
    "metastable_bounds",
    "metastable_state",
    "one_update_bound",
    "pattern_separation",
    "placed_capacity",
    "required_separation",
    "residual_error_bound",
    "retrieval_error_bound",
    "sphere_radius",
    "well_separated",
]
