"""Molecules of the organic data set as SMILES: known ones, and others grown of pieces.

Molecule `m` depends on the seed and `m` alone, so any part of the set can be made on its own.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from random import Random

from fragments import GROUPS, LINKERS, RINGS, SMALL
from rdkit import Chem, RDConfig, RDLogger
from rdkit.Chem import BRICS

from geomae.errors import GeomaeError

RDLogger.DisableLog("rdApp.*")

ELEMENTS = {1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 35, 53}
FEW, TRAINED, LARGE = range(1, 5), range(5, 41), range(41, 51)
"""Heavy atoms of the molecules that are rare, of those that are evenly spread, and of those that
are never trained on."""

WIDEST_RING = 16
QM9_MOLECULES = 4000

CUT = 120
"""Known molecules of each size that are cut into pieces."""

POLAR = {7, 8, 9, 15, 16, 17, 35, 53}
"""Elements that pieces don't join to each other, because hardly any such bond is stable."""

CARRIERS = {(15, 7), (15, 8), (16, 7)}
"""Exceptions, where phosphorus or sulphur has its highest valence."""


def sizes(seed: int, number: int) -> tuple[int, int]:
    """Heavy atoms that molecule `number` should have, and how many before it had as many.

    Each cycle has every number from 5 to 40 once, one of 1 to 4 and one of 41 to 50.
    """
    cycle, place = divmod(number, len(TRAINED) + 2)
    if place < len(TRAINED):
        return TRAINED[place], cycle
    kind = FEW if place == len(TRAINED) else LARGE
    before, which = divmod(cycle, len(kind))
    return kind[which], before


def molecule(number: int, seed: int = 0) -> str | None:
    """Canonical SMILES of molecule `number`; None if there is none for it.

    Known molecules and grown ones take turns as long as there are known ones of the size.
    """
    size, before = sizes(seed, number)
    pool = known(seed).get(size, ())
    turn, grown_turn = divmod(before, 2)
    if size in FEW:
        return pool[before] if before < len(pool) else None
    if not grown_turn and turn < len(pool):
        return pool[turn]
    return grow(size, Random(f"{seed} {number}"), seed)


def grow(size: int, rng: Random, seed: int = 0) -> str | None:
    """A molecule of `size` heavy atoms made of pieces; None if its turns led nowhere."""
    pieces = cuttings(seed)
    mol = None
    for _ in range(8 * size):
        left = size - (mol.GetNumAtoms() if mol is not None else 0)
        if not left:
            break
        kind = rng.random()
        if kind < 0.35:
            piece = rng.choice(pieces)
        elif kind < 0.6:
            piece = rng.choice(RINGS)
        else:
            piece = rng.choice(LINKERS if kind < 0.8 else GROUPS)
        part = _parsed(piece)
        if part.GetNumAtoms() > left:
            continue
        mol = part if mol is None else joined(mol, part, rng) or mol
    if mol is None or mol.GetNumAtoms() != size:
        return None
    return standard(Chem.MolToSmiles(mol))


def joined(mol: Chem.Mol, part: Chem.Mol, rng: Random) -> Chem.Mol | None:
    """Two molecules with a single bond between atoms that give up a hydrogen each for it."""
    for _ in range(6):
        first, second = _site(mol, rng), _site(part, rng)
        if first is None or second is None:
            return None
        if not _may_join(first, second):
            continue
        both = Chem.RWMol(Chem.CombineMols(mol, part))
        ends = first.GetIdx(), mol.GetNumAtoms() + second.GetIdx()
        both.AddBond(*ends, Chem.BondType.SINGLE)
        for end in map(both.GetAtomWithIdx, ends):
            if end.GetNumExplicitHs():
                end.SetNumExplicitHs(end.GetNumExplicitHs() - 1)
        if Chem.SanitizeMol(both, catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE:
            return both.GetMol()
    return None


def _site(mol: Chem.Mol, rng: Random) -> Chem.Atom | None:
    """An atom with a hydrogen; of boron, silicon, phosphorus and sulphur rather than carbon."""
    own = [atom for atom in mol.GetAtoms() if atom.GetTotalNumHs()]
    weights = [4 if atom.GetAtomicNum() in (5, 14, 15, 16) else 1 for atom in own]
    return rng.choices(own, weights)[0] if own else None


def _may_join(first: Chem.Atom, second: Chem.Atom) -> bool:
    pair = first.GetAtomicNum(), second.GetAtomicNum()
    if not (pair[0] in POLAR and pair[1] in POLAR):
        return True
    for (own, other), atom in ((pair, first), (pair[::-1], second)):
        if (own, other) in CARRIERS and atom.GetTotalValence() > (3 if own == 15 else 2):
            return True
    return False


@lru_cache(maxsize=100_000)
def _parsed(smiles: str) -> Chem.Mol:
    return Chem.MolFromSmiles(smiles)


def standard(smiles: str) -> str | None:
    """Canonical SMILES of the largest piece, without isotopes; None if it is nothing to take.

    It must be neutral, closed-shell, of the elements, of 1 to 50 heavy atoms and without bonds of
    other kinds.
    """
    mol = Chem.MolFromSmiles(max(smiles.split("."), key=len))
    if mol is None or not 1 <= mol.GetNumHeavyAtoms() <= LARGE[-1]:
        return None
    for atom in mol.GetAtoms():
        atom.SetIsotope(0)
        atom.SetAtomMapNum(0)
        if atom.GetAtomicNum() not in ELEMENTS or atom.GetNumRadicalElectrons():
            return None
    kinds = {bond.GetBondType() for bond in mol.GetBonds()}
    dative = kinds & {Chem.BondType.DATIVE, Chem.BondType.ZERO}
    wide = any(len(ring) > WIDEST_RING for ring in mol.GetRingInfo().AtomRings())
    if Chem.GetFormalCharge(mol) or dative or wide:
        return None
    return Chem.MolToSmiles(mol)


def read_all() -> Iterator[str]:
    """SMILES of the files that come with RDKit, and some of QM9's training split."""
    data, contrib = Path(RDConfig.RDDataDir), Path(RDConfig.RDContribDir)
    lists = {
        data / "NCI" / "first_5K.smi": lambda row: row[:1],
        data / "Pains" / "test_data" / "wehi_mols.csv": lambda row: row[:1],
        contrib / "NIBRSubstructureFilters" / "SubstructureFilter_HitTriaging_wPubChemExamples.csv":
            lambda row: row[13::2],
    }  # fmt: skip
    for path, columns in lists.items():
        if not path.is_file():
            raise GeomaeError(f"this RDKit lacks {path}, of which the data set is made")
        with open(path, newline="") as file:
            for row in csv.reader(file, delimiter="\t" if path.suffix == ".smi" else ","):
                yield from (
                    cell for cell in columns(row) if not re.search(r"[^\w#()\[\]=+@/\\.%-]", cell)
                )
    from geomae.data.sources.qm9 import load_qm9, split_indices

    qm9 = load_qm9().smiles
    yield from (qm9[i] for i in split_indices("train")[:QM9_MOLECULES].tolist())


@lru_cache(maxsize=4)
def known(seed: int) -> dict[int, tuple[str, ...]]:
    """Distinct known molecules by their number of heavy atoms, in an order of the seed's."""
    groups: dict[int, dict[str, None]] = {}
    for smiles in distinct(standard(smiles) for smiles in [*SMALL, *read_all()]):
        size = Chem.MolFromSmiles(smiles).GetNumHeavyAtoms()
        groups.setdefault(size, {})[smiles] = None
    shuffled = {}
    for size, own in sorted(groups.items()):
        order = list(own)
        Random(f"{seed} known {size}").shuffle(order)
        shuffled[size] = tuple(order)
    return shuffled


def distinct(smiles: Iterable[str | None]) -> Iterator[str]:
    """Each that is not None once, in their order."""
    yield from dict.fromkeys(own for own in smiles if own)


@lru_cache(maxsize=4)
def cuttings(seed: int) -> tuple[str, ...]:
    """Distinct pieces of 2 to 14 heavy atoms that BRICS's rules cut known molecules into."""
    found = []
    for size, own in known(seed).items():
        if size in TRAINED:
            for smiles in own[:CUT]:
                found += _cut(Chem.MolFromSmiles(smiles))
    return tuple(distinct(found))


def _cut(mol: Chem.Mol) -> Iterator[str]:
    """Pieces between the bonds that BRICS breaks, hydrogens where the bonds were."""
    for piece in Chem.GetMolFrags(BRICS.BreakBRICSBonds(mol), asMols=True, sanitizeFrags=False):
        for atom in piece.GetAtoms():
            if not atom.GetAtomicNum():
                atom.SetAtomicNum(1)
                atom.SetIsotope(0)
        try:
            smiles = standard(Chem.MolToSmiles(Chem.RemoveHs(piece)))
        except ValueError:
            continue
        if smiles and 2 <= _parsed(smiles).GetNumHeavyAtoms() <= 14:
            yield smiles
