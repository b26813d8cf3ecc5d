"""The sets of molecules that are known: what they are, whom to cite, and where their files are."""

from __future__ import annotations

from dataclasses import dataclass

_COLLECTION = (
    "https://raw.githubusercontent.com/GLambard/Molecules_Dataset_Collection/beb35cd0b76db5adef6cb1fa55807e4cd309aaed/"
    "originals/"
)
_MOLECULENET = 'Wu et al., "MoleculeNet: a benchmark for molecular machine learning", Chemical Science 9, 2018'


@dataclass(frozen=True)
class Known:
    """What a set is and where its file is.

    Attributes:
        about: what the labels mean, and whom to cite.
        file: its name.
        targets: the columns of labels; None: all but that of the molecules.
        sha256: of the file.
    """

    about: str
    file: str
    targets: tuple[str, ...] | None
    sha256: str

    @property
    def url(self) -> str:
        """Where it can be downloaded."""
        return _COLLECTION + self.file


KNOWN = {
    "bace": Known(
        f"BACE: inhibitors of human beta-secretase 1; Subramanian et al. 2016, {_MOLECULENET}",
        "bace.csv",
        ("Class",),
        "d36f089649984f7bfaa4589ccc3ae907b831780a01ccfd065a5b604939e1a5df",
    ),
    "bbbp": Known(
        f"BBBP: passage of the blood-brain barrier; Martins et al. 2012, {_MOLECULENET}",
        "BBBP.csv",
        ("p_np",),
        "d07a38487aeac5cee5508413e468043ef3097451d2a112701c2d60be9ec6b662",
    ),
    "sider": Known(
        f"SIDER: side effects of drugs in 27 groups; Kuhn et al. 2016, {_MOLECULENET}",
        "sider.csv",
        None,
        "71efc6ac4ca82d6545bc512509863281be0f17234afd7adaf71a71899988302e",
    ),
    "hiv": Known(
        f"HIV: inhibition of the replication of HIV; DTP AIDS Antiviral Screen, {_MOLECULENET}",
        "HIV.csv",
        ("HIV_active",),
        "54713c3205055055ea4214e8c4b0d22d93af7e54ad2c48f4edc866e161e57262",
    ),
}
