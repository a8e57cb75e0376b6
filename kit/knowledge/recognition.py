"""What a file of prior knowledge is, and which columns hold it, by the columns' names, else by shape."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..io.files import InputError, check_known, check_unique, to_number
from .tables import WANT, Text

# Names of columns, in small letters and digits, the surest first; `{}` is one of two MARKS.
PAIRS = (
    "officialsymbolinteractor{}", "{}genesymbol", "genesymbol{}", "{}symbol", "symbol{}", "genename{}",
    "gene{}", "node{}", "protein{}", "participant{}", "interactor{}", "entity{}", "{}",
)  # fmt: skip
MARKS = (
    ("a", "b"), ("1", "2"), ("source", "target"), ("from", "to"), ("one", "other"), ("tf", "target"),
    ("regulator", "target"), ("query", "partner"), ("bait", "prey"), ("ligand", "receptor"),
)  # fmt: skip
WEIGHTS = ("combinedscore", "weight", "score", "confidencescore", "pint", "mor")
SET_NAMES = (
    "pathwayname", "pathway", "gsname", "genesetname", "geneset", "setname", "set", "termname", "term",
    "complexname", "complex", "goname", "goterm", "goid", "module", "celltype",
    "diseasename", "hponame", "family",
)  # fmt: skip
MEMBERS = (
    "genesymbol", "officialgenesymbol", "hgncsymbol", "symbol", "subunitsgenename", "genename",
    "genenames", "genes", "gene", "ensemblgene", "ensemblgeneid", "ensemblid", "subunits", "members",
)  # fmt: skip
SPECIES = (
    "species", "organism", "taxon", "taxid", "organisminteractora", "organisminteractorb",
    "organismidinteractora", "organismidinteractorb",
)  # fmt: skip
BLANK, MISSING = {"", "-"}, {"", "NA", "nan", "NaN"}
_COLUMN = re.compile(
    r".*(gene|protein|symbol|node|source|target|interact|partner).*|from|to|one|other", re.I
)


@dataclass(frozen=True)
class Layout:
    """What a file is and the columns of its two genes, or of set and gene."""

    kind: str  # gmt, sif, sets or edges
    places: Sequence[int] = ()
    header: bool = False
    weight: int | None = None
    species: Sequence[int] = ()
    negated: int | None = None  # the column in which GO writes NOT


def is_table(sample: Sequence[Sequence[str]]) -> bool:
    """Return whether lines hold labels in the first column, below a header, and numbers in all others."""
    first, *rest = sample
    header = not any(map(_is_number, first[1:])) or _plain(first[0]) in ("", *MEMBERS)
    return (
        (header or _counts(first[1:]))
        and rest != []
        and _are_numbers(rest, width=max(len(first), 2))
    )


def has_no_header(sample: Sequence[Sequence[str]]) -> bool:
    """Return whether all lines, the first too, hold a label and at least three numbers."""
    first = sample[0]
    return len(first) > 3 and any(map(_is_number, first[1:])) and _are_numbers(sample, len(first))


def _are_numbers(rows, width):
    return all(len(row) == width and all(map(_may_be_number, row[1:])) for row in rows)


def _counts(names):
    """Whether names of three or more columns count them, from 0 or 1, as pandas names columns."""
    counted = ([str(at + start) for at in range(len(names))] for start in (0, 1))
    return len(names) > 2 and names in counted


def _plain(name):
    return re.sub("[^a-z0-9]", "", name.lower())


def named_layout(columns: Sequence[str], text: Text) -> Layout:
    """Return the layout of columns that the user names, or counts where the file has no header."""
    known = text.sample[0]
    check_unique(columns, f"{text.path}: columns are named twice")
    header = any(name in known or not name.isdigit() for name in columns)
    known = known if header else [str(number) for number in range(1, len(known) + 1)]
    check_known(columns, known, f"{text.path} has no such column")
    if len(columns) not in (2, 3):
        raise InputError(f"got {len(columns)} columns of {text.path}; {WANT}")
    one, other, *weight = map(known.index, columns)
    return Layout("edges", (one, other), header, *weight)


def layout_by_names(sample: Sequence[Sequence[str]]) -> Layout | None:
    """Return the layout of a file whose header has known names, or None."""
    names = [*map(_plain, sample[0])]
    at = {name: place for place, name in reversed([*enumerate(names)])}
    species = [at[name] for name in SPECIES if name in at]
    for form in PAIRS:
        for pair in ([form.format(mark) for mark in marks] for marks in MARKS):
            if set(pair) <= set(at) and len(pair[0]) > 1:  # A and B are genes of an example
                places = [at[name] for name in pair]
                return Layout("edges", places, True, _weight(sample, at, places), species)
    first = [
        next((at[name] for name in known if name in at), None) for known in (SET_NAMES, MEMBERS)
    ]
    return None if None in first else Layout("sets", first, True, None, species)


def _weight(sample, at, places):
    """The column of weights, by its name or as the third of three: one with numbers and without gaps."""
    found = [at[name] for name in WEIGHTS if name in at]
    if len(at) == 3 and not found:
        found = set(at.values()) - set(places)
    for place in found:
        texts = [row[place] for row in sample[1:] if len(row) == len(sample[0])]
        if any(map(_may_be_number, texts)) and not BLANK & set(texts):
            return place
    return None


def layout_of(text: Text) -> Layout | None:
    """Return the layout of a file by the names of its columns, else by its shape, or None."""
    return layout_by_names(text.sample) or _by_shape(text)


def _by_shape(text):
    """The layout of a file whose columns have no known names, or None."""
    first, rest = text.sample[0], text.sample[1:] or text.sample
    width = Counter(map(len, text.sample)).most_common(1)[0][0]
    first = first + [""] * (width - len(first))
    even = [row for row in rest if len(row) == width]
    columns = list(zip(*even, strict=True))
    if ragged := len(even) < 0.9 * len(rest):
        sources, kinds = [row[0] for row in rest], [row[1] for row in rest if len(row) > 2]
        partners = [name for row in rest for name in row[2:]]
        again = len(set(sources)) < 0.9 * len(sources)
        if again and _are_kinds(kinds) and _overlap(sources, partners):
            return Layout("sif")
        if text.separator == "\t" and max(map(len, text.sample)) > 3:
            return Layout("gmt")
    if (
        text.separator == "\t"
        and width > 2
        and not any(map("".join, (row[1:2] for row in text.sample)))
    ):
        return Layout("gmt")  # sets without ids
    if width == 2 or ragged:
        return Layout("edges", (0, 1), all(map(_COLUMN.fullmatch, first[:2])))
    if width == 3 and any(_is_number(row[2]) for row in text.sample if len(row) == 3):
        return Layout("edges", (0, 1), not _is_number(first[2]), 2)
    if width == 6 and all("reactome.org/" in link for link in columns[2]):
        return Layout("sets", (3, 0), species=(5,))  # Ensembl2Reactome
    if width > 14 and all(name.startswith("GO:") for name in columns[4]):
        return Layout("sets", (4, 2), species=(12,), negated=3)  # GO's annotations, GAF
    plain = {at for at in range(1, width) if not _has_letters(columns[at])}
    notes = plain | {at for at in range(1, width) if _are_kinds(columns[at])}
    for other in range(1, min(width, 4)):
        beside = notes - {other} if width == 3 else notes - {1, other}
        if beside and other not in plain and _overlap(columns[0], columns[other]):
            header = (
                any(_has_letters([first[at]]) for at in plain)
                or any(first[at] not in columns[at] for at in beside - plain if len(even) > 99)
                or all(_COLUMN.fullmatch(first[at]) for at in (0, other))
            ) and not {first[0], first[other]} & {*columns[0], *columns[other]}
            return Layout("edges", (0, other), header)
    if all(map(_is_number, columns[0])):
        return None  # rows with a number, not sets with a name
    rare = {at for at in range(2, width) if len(even) > 7 and _are_kinds(columns[at], 20)}
    members = set(range(2, width))
    if text.separator == "\t" and width > 3 and (members <= plain or not members & (plain | rare)):
        return Layout("gmt")
    return None


def _are_kinds(texts, times=3):
    """Whether texts are few kinds of something, each repeated, on average so many times."""
    count = len(set(texts))
    return all(texts) and count < len(texts) and count <= max(2, len(texts) / times)


def _has_letters(texts):
    return any(sign.isalpha() for text in texts for sign in text)


def _overlap(names, others):
    one, other = set(names), set(others)
    return len(one & other) >= max(1, 0.05 * min(len(one), len(other)))


def _is_number(text):
    return not math.isnan(to_number(text))


def _may_be_number(text):
    return text in MISSING or _is_number(text.replace(",", "."))
