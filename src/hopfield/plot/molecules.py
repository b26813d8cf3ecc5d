"""Pictures of molecules. Needs RDKit: pip install "hopfield[chem]"."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hopfield.datasets.molecules import parsed
from hopfield.errors import HopfieldError
from hopfield.plot import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# of a drawing, in pixels, and of its place in the figure, in inches
_PIXELS = (560, 400)
_PLACE = (2.1, 1.5)
# for a caption of one line, in inches
_CAPTION = 0.22


def molecules(
    smiles: Sequence[str],
    *,
    weights: Sequence[float] | np.ndarray | None = None,
    labels: Sequence[Any] | np.ndarray | None = None,
    query: str | None = None,
    caption: str = "query",
    columns: int = 3,
) -> Figure:
    """Molecules in a grid: those behind a prediction, with how much each of them counts.

    Args:
        smiles: the molecules, in the order in which they are drawn.
        weights: a share for each, such as the association weights of its neighbours: written below as per cent.
        labels: what is known of each: written below.
        query: the molecule that was asked about; it comes first, in a frame.
        caption: what is written below the query, if there is one.
        columns: drawings in a row.

    Raises:
        HopfieldError: no molecules, some that RDKit cannot read, a weight or label missing, RDKit or matplotlib not
            installed.
    """
    if isinstance(smiles, str) or not hasattr(smiles, "__len__") or not len(smiles):
        raise HopfieldError(f"smiles must be a list of at least one molecule, got {smiles!r}")
    for name, given in (("weights", weights), ("labels", labels)):
        if given is not None and np.shape(given) != (len(smiles),):
            raise HopfieldError(f"{name} must be one for each of the {len(smiles)} molecules, got {np.shape(given)}")
    if isinstance(columns, bool) or not isinstance(columns, int) or columns < 1:
        raise HopfieldError(f"columns must be an integer of at least 1, got {columns!r}")
    shares = [""] * len(smiles) if weights is None else [_percent(weight) for weight in weights]
    known = [""] * len(smiles) if labels is None else [f"label {_short(label)}" for label in labels]
    captions = [", ".join(part for part in parts if part) for parts in zip(shares, known, strict=True)]
    drawn = list(zip(parsed(smiles), captions, strict=True))
    if query is not None:
        try:
            drawn.insert(0, (parsed([query])[0], caption))
        except HopfieldError as error:
            raise HopfieldError(f"the query: {error}") from error
    rows, wide = -(-len(drawn) // columns), min(columns, len(drawn))
    height = _PLACE[1] + _CAPTION
    figure = style.new_figure(rows * height, wide * _PLACE[0], arranged=False)
    for place, (molecule, below) in enumerate(drawn):
        row, column = divmod(place, columns)
        axis = style.cell(figure, column * _PLACE[0] + 0.04, row * height + 0.04, _PLACE[0] - 0.08, _PLACE[1] - 0.08)
        axis.imshow(_drawing(molecule))
        axis.set_xticks([])
        axis.set_yticks([])
        framed = query is not None and place == 0
        for spine in axis.spines.values():
            spine.set_color(style.VERMILION if framed else "#bbbbbb")
            spine.set_linewidth(2 if framed else 0.5)
        axis.set_xlabel(below, fontsize=style.SMALL, labelpad=2, parse_math=False)
    return figure


def _short(label: Any) -> str:
    """A label as it fits below a drawing: 1 for 1.0, "unknown" for NaN."""
    if isinstance(label, float | np.floating):
        return "unknown" if np.isnan(label) else f"{label:g}"
    text = str(label)
    return text if len(text) <= 14 else f"{text[:13]}…"


def _percent(share: Any) -> str:
    if not isinstance(share, int | float | np.number) or not share >= 0:
        raise HopfieldError(f"weights must be numbers of at least 0, got {share!r}")
    return f"{100 * share:.1f} %" if share >= 0.0095 else f"{100 * share:.2g} %"


def _drawing(molecule: Any) -> np.ndarray:
    """The picture of a molecule, (height, width, 4)."""
    from matplotlib.image import imread
    from rdkit.Chem.Draw.rdMolDraw2D import MolDraw2DCairo, PrepareAndDrawMolecule

    drawer = MolDraw2DCairo(*_PIXELS)
    PrepareAndDrawMolecule(drawer, molecule)
    drawer.FinishDrawing()
    image: np.ndarray = imread(io.BytesIO(drawer.GetDrawingText()), format="png")
    return image
