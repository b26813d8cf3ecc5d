"""The data sets that are known: what they are, whom to cite, and where their files are."""

from __future__ import annotations

from dataclasses import dataclass

_MAGICS = (
    "https://raw.githubusercontent.com/MAGICS-LAB/NonparametricHopfield/13ce6a8d9bec319beb8cb7f21ce42fc5eae32489/"
    "datasets/mil_datasets/"
)
_ANDREWS = 'Andrews, Tsochantaridis and Hofmann, "Support vector machines for multiple-instance learning", NIPS 2002'
_DIETTERICH = (
    'Dietterich, Lathrop and Lozano-Pérez, "Solving the multiple instance problem with axis-parallel rectangles", '
    "Artificial Intelligence 89, 1997"
)
_KANDEMIR = (
    'Kandemir, Zhang and Hamprecht, "Empowering multiple instance histopathology cancer diagnosis by cell graphs", '
    "MICCAI 2014"
)


@dataclass(frozen=True)
class Known:
    """What a data set is and where its file is.

    `size` is (bags, instances), None where nobody counted; `sha256` and `bytes` are those of the file that is known.
    """

    about: str
    file: str
    features: int
    size: tuple[int, int] | None
    also: tuple[str, ...] = ()
    url: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    origin: str | None = None


def _corel(animal: str, instances: int, sha256: str, size: int) -> Known:
    file = f"{animal}_100x100_matlab.mat"
    about = f"{animal.capitalize()}: segments of Corel images, standardised over a larger pool; {_ANDREWS}"
    also = (f"{animal}_100x100.mat", f"{animal}.mat")
    return Known(about, file, 230, (200, instances), also, _MAGICS + file, sha256, size)


KNOWN = {
    "fox": _corel("fox", 1320, "9c550a12a4417f99eb81ad6fd16506ab1772a18dcb5fcb2e7a555a99f07c7ad2", 2288968),
    "tiger": _corel("tiger", 1220, "b37a443b25ed98089d86900db6dc3774ce4293e56c186337518e977ffff0b817", 2115672),
    "elephant": _corel("elephant", 1391, "b871820b5df11ef9050e0c0ec73e3d4d95b3e59b64bac237ec115548a5024a13", 2412040),
    "musk1": Known(
        f"Musk1: conformations of molecules; {_DIETTERICH}",
        "musk1norm_matlab.mat",
        166,
        (92, 476),
        ("clean1.data",),
        _MAGICS + "musk1norm_matlab.mat",
        "18de13dee710c0a7cbcaf2a5b6ab66dd74145c6b8bc5980d7d14c18cb19e7ea0",
        957688,
    ),
    "musk2": Known(
        f"Musk2: conformations of molecules; {_DIETTERICH}",
        "musk2_zscored.npz",
        166,
        (102, 6598),
        ("clean2.data",),
        origin="clean2.data from the UCI Machine Learning Repository "
        "(https://archive.ics.uci.edu/dataset/75/musk+version+2)",
    ),
    "ucsb": Known(
        f"UCSB breast cancer: patches of histopathological images; {_KANDEMIR}",
        "ucsb_breast_cancer.csv",
        708,
        None,
        origin="ucsb_breast_cancer.csv from the repository rosasalberto/mil on GitHub "
        "(mil/data/datasets/csv/ucsb_breast_cancer.csv)",
    ),
}
