"""Chemical symbols, atomic numbers and formulas."""

import re
from collections import Counter
from collections.abc import Iterable

_TABLE = """
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
    Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu
    Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr
    Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""

SYMBOLS = tuple(_TABLE.split())
"""Symbols in order of atomic number: `SYMBOLS[Z - 1]`."""

_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS, start=1)}


def number_of(label: str) -> int | None:
    """Atomic number of a species label: `Fe`, or `Fe1` where one element has several types; None if unknown."""
    symbol = re.match(r"[A-Z][a-z]?(?![a-z])", label)
    return _NUMBERS.get(symbol[0]) if symbol else None


def formula(numbers: Iterable[int]) -> str:
    """Formula with the elements in alphabetical order, a count of one left out: `Co4Cr4Fe4Ni4`, `H20O10`, `Al32`."""
    counts = Counter(SYMBOLS[number - 1] for number in numbers)
    return "".join(f"{symbol}{counts[symbol] if counts[symbol] > 1 else ''}" for symbol in sorted(counts))
