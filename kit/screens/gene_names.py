"""One naming of genes: current symbols, Ensembl ids, previous symbols, aliases.

A name is trusted in this order: current symbol, Ensembl id, unique previous symbol, unique alias. A
previous symbol or alias of several genes is never mapped. Case is never folded (`C4orf36`) and
suffixes belong to a symbol: `C4orf36.1`, a second gene of that name, reaches `C4orf36.1` alone unless
its file's Ensembl id says otherwise, and clones (`AC025159.1`) are names like any other. Only Ensembl
ids lose their version; `join_numbered` takes off what a name got for standing twice in a file. Without
a table of names, exact symbols and Ensembl ids still work.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from ..io.files import InputError, quote_some
from .hgnc import bare_ensembl, find_table, read_table

RULES = ("symbol", "ensembl", "previous", "alias")  # the most trusted first
UNMAPPED = ("other", "ambiguous", "lost")
_TRUST = {rule: rank for rank, rule in enumerate(RULES)}
DATES = 40  # symbols of months and a number: MARCH1, SEPT2, DEC1
_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
# What spreadsheets make of MARCH1 and SEPT2: 1-Mar, Sep-02.
_DATE = re.compile(
    rf"\d{{1,2}}[-. ]{_MONTH}([-. ]\d{{2,4}})?|{_MONTH}-\d{{1,2}}|\d{{4}}-\d\d-\d\d( 00:00:00)?"
)
_DAY = re.compile(r"3[6-9]\d{3}|4\d{4}")  # a date as the days since 1900, of 1998 to 2036
# What make_unique of anndata and of R make of a name that stands twice: G-1, G.1.
_NUMBERED = re.compile(r"(.+)[-.]([1-9]\d*)")


@dataclass(frozen=True, eq=False)
class GeneNames:
    """Names of genes. Empty, it resolves exact symbols and the files' own Ensembl ids only.

    symbols: the current ones. ensembl, previous, alias: from an id or a name to the current symbols of
    all genes that have it. learned: Ensembl ids of names that the table lacks. source: the table read.
    """

    symbols: set[str] = frozenset()
    ensembl: Mapping[str, set[str]] = field(default_factory=dict)
    previous: Mapping[str, set[str]] = field(default_factory=dict)
    alias: Mapping[str, set[str]] = field(default_factory=dict)
    learned: Mapping[str, str] = field(default_factory=dict)
    source: Path | None = None

    def resolve(
        self, symbols: Iterable, ensembl: Iterable | None = None, *, wanted: Iterable[str]
    ) -> pd.DataFrame:
        """Find the wanted gene that each name of a source means.

        `symbols`: names as the source has them, missing ones allowed; `ensembl`: ids beside them, with
        or without version; `wanted`: names of the output side, themselves perhaps old. Returns a frame
        by position: `name`; `gene`, the wanted spelling or missing; `rule`, the less trusted of the two
        steps from the name to the gene and from the gene to the wanted spelling; `conflict`, whether
        the source's Ensembl id is that of another gene than its symbol says.

        The same spelling on both sides is rule `symbol`. Of several wanted names of one gene, other
        spellings reach the most trusted one. A symbol that one gene bears and another bore means the
        first, unless the source's Ensembl id is the other's. Unmapped names have the rule `other` (a
        known gene, not wanted), `ambiguous`, or `lost` (no known gene). Several names may reach one
        gene. Raises InputError where `ensembl` holds no Ensembl id at all.
        """
        names, ids = self._labels(symbols, ensembl)
        keys, spellings = self._wanted(wanted)
        rows = [
            (name, *self._match(name, identifier, keys, spellings))
            for name, identifier in zip(names, ids, strict=True)
        ]
        found = pd.DataFrame(rows, columns=["name", "gene", "rule", "conflict"])
        return found.astype({"gene": object, "conflict": bool})

    def current(self, names: Iterable) -> pd.Series:
        """Return the current symbol of each name, or the name where none is certain: a series by name."""
        labels, ids = self._labels(names, None)
        keys = (self._identify(*label)[0] for label in zip(labels, ids, strict=True))
        known = [
            key if key in self.symbols else name for key, name in zip(keys, labels, strict=True)
        ]
        return pd.Series(known, index=pd.Index(labels, dtype=object), name="symbol", dtype=object)

    def with_pairs(self, symbols: Iterable, ensembl: Iterable) -> "GeneNames":
        """Return these names and what follows from a file's symbols and Ensembl ids side by side.

        An id that the table lacks goes to the gene that its symbol means; a name that the table lacks
        gets its id. What the table says stands; pairs that contradict one another are left out.
        """
        genes, ids = defaultdict(set), defaultdict(set)
        for name, identifier in zip(*self._labels(symbols, ensembl), strict=True):
            if not name or identifier is None:
                continue
            key, _ = self._identify(name, None)
            if key is not None:
                genes[identifier].add(key)
            elif not self._knows(name):
                ids[name].add(identifier)
        learned = {name: _only(found) for name, found in ids.items() if len(found) == 1}
        return replace(self, ensembl={**genes, **self.ensembl}, learned={**learned, **self.learned})

    def _knows(self, name):
        return any(name in names for names in (self.symbols, self.previous, self.alias))

    def _labels(self, symbols, ensembl):
        """Names and bare Ensembl ids (None: unknown); a name may itself be an id."""
        names = _clean(symbols)
        given = [""] * len(names) if ensembl is None else _clean(ensembl)
        if len(given) != len(names):
            raise InputError(
                f"got {len(names)} symbols and {len(given)} Ensembl ids; want one each"
            )
        bare = [bare_ensembl(text) for text in given]
        if any(given) and not any(bare):
            example = next(filter(None, given))
            raise InputError(
                f"Ensembl ids look like `{example[:40]}`, want ENSG00000121410 or ENSG00000121410.12; "
                "name the column that holds them"
            )
        learned = self.learned.get
        ids = [
            known or bare_ensembl(name) or learned(name)
            for known, name in zip(bare, names, strict=True)
        ]
        return names, ids

    def _identify(self, name, identifier):
        """A gene's key (current symbol, else Ensembl id, else None) and the rule that found it."""
        by_id = _only(self.ensembl.get(identifier, ()))
        if name in self.symbols:
            bore = {*self.previous.get(name, ()), *self.alias.get(name, ())} - {name}
            return (by_id, "ensembl") if by_id in bore else (name, "symbol")
        if by_id is not None:
            return by_id, "ensembl"
        for rule, names in (("previous", self.previous), ("alias", self.alias)):
            if name in names:
                key = _only(names[name])
                return key, "ambiguous" if key is None else rule
        return identifier, "lost" if identifier is None else "ensembl"

    def _wanted(self, wanted):
        """Keys by wanted name; and by key the wanted spelling (None: several) and its rule."""
        names, ids = self._labels(dict.fromkeys(filter(None, _clean(wanted))), None)
        found = {
            name: self._identify(name, identifier)
            for name, identifier in zip(names, ids, strict=True)
        }
        spellings = {}
        for name, (key, rule) in found.items():
            if key is None:
                continue
            _, best = spellings.get(key, (None, None))
            if best is None or _TRUST[rule] < _TRUST[best]:
                spellings[key] = name, rule
            elif rule == best:
                spellings[key] = None, rule
        return {name: key for name, (key, _) in found.items()}, spellings

    def _match(self, name, identifier, keys, spellings):
        """Wanted gene or None, rule, conflict."""
        key, rule = self._identify(name, identifier)
        reused = rule == "ensembl" and name in self.symbols
        if identifier in spellings and (rule != "symbol" or key not in spellings):
            key, rule = identifier, "ensembl"  # an id that the table lacks, and a wanted gene's
        if name in keys and not reused:
            gene, rule, key = name, "symbol", keys[name]
        elif rule == "ambiguous":
            return None, rule, False
        elif key not in spellings:
            return None, "other" if key in self.symbols else "lost", False
        else:
            gene, second = spellings[key]
            if gene is None:
                return None, "ambiguous", False
            rule = max(rule, second, key=_TRUST.get)
        by_id = _only(self.ensembl.get(identifier, ()))
        return gene, rule, None not in (key, by_id) and by_id != key


def join_numbered(
    resolved: pd.DataFrame, wanted: Iterable[str], ensembl: Iterable | None = None
) -> pd.DataFrame:
    """Return what `resolve` found, with unknown names `G-1` and `G.1` of a file with `G` as G.

    That is what make_unique leaves of several columns of one name; they are summed, as if they still
    had it. A number counts only after all lower ones. Where `G-1` or `G.1` is itself a wanted gene, the
    other spelling is ambiguous; so is one whose Ensembl id (`ensembl`, by position) is not that of G.
    """
    ids = [
        bare_ensembl(text)
        for text in _clean([None] * len(resolved) if ensembl is None else ensembl)
    ]
    resolved, wanted = resolved.copy(), set(wanted)
    first = resolved.drop_duplicates("name")
    place = dict(zip(first["name"], first.index, strict=True))
    first = first.set_index("name")
    for row in resolved.index[resolved["rule"] == "lost"]:
        name = resolved.at[row, "name"]
        if not (found := _NUMBERED.fullmatch(name)) or found[1] not in first.index:
            continue
        stem = name.removesuffix(found[2])
        if not all(f"{stem}{number}" in first.index for number in range(1, int(found[2]))):
            continue
        gene, rule = first.loc[found[1], ["gene", "rule"]]
        apart = {ids[row], ids[place[found[1]]]} - {None}
        taken = (f"{found[1]}{mark}{found[2]}" for mark in "-.")
        if len(apart) > 1 or not wanted.isdisjoint(taken):
            gene, rule = None, "ambiguous"
        resolved.at[row, "gene"], resolved.at[row, "rule"] = gene, rule
    return resolved


def load_gene_names(
    path: Path | str | None = None, *, folder: Path | str | None = None, download: bool = True
) -> GeneNames:
    """Read HGNC's `hgnc_complete_set.txt`, or a smaller table with some of its columns.

    Looks where `hgnc.find_table` says: `path`, $ESG_HGNC, `folder` (the competition's), Kaggle mounts,
    `data/`, then HGNC itself. Where there is none it warns and returns empty names. Raises InputError
    for a file that cannot be used.
    """
    place = find_table(path, folder=folder, download=download)
    return GeneNames() if place is None else GeneNames(*read_table(place), source=place)


def coverage(resolved: pd.DataFrame, wanted: Iterable[str]) -> pd.Series:
    """Count what `resolve` found: a series of whole numbers, one column of a table of screens.

    `measured` names; mapped by each rule; unmapped as `other`, `ambiguous` or `lost`; `conflict`;
    `repeated`, wanted genes that several names reach; `wanted` and `covered` genes.
    """
    rules = resolved["rule"].value_counts()
    names = set(filter(None, _clean(wanted)))
    counts = {"measured": len(resolved), **rules.reindex([*RULES, *UNMAPPED], fill_value=0)}
    counts |= {"conflict": resolved["conflict"].sum(), "repeated": len(repeats(resolved))}
    counts |= {"wanted": len(names), "covered": len(names & set(resolved["gene"].dropna()))}
    return pd.Series(counts, name="genes", dtype=int)


def repeats(resolved: pd.DataFrame) -> pd.Series:
    """Return the wanted genes that several names of the source reach: lists of names by gene."""
    mapped = resolved[resolved["gene"].notna()]
    again = mapped[mapped["gene"].duplicated(keep=False)]
    return again.groupby("gene", sort=False)["name"].agg(list)


def remarks(resolved: pd.DataFrame) -> list[str]:
    """Return what a user should check, one line each, for the log of a merge."""
    name, rule = resolved["name"], resolved["rule"]
    several = repeats(resolved)
    found = {
        "spreadsheet dates instead of symbols, lost": spreadsheet_dates(
            name[resolved["gene"].isna()]
        ),
        "names of several genes, not mapped": name[rule == "ambiguous"],
        "symbols whose Ensembl id is another gene's, mapped by symbol": name[resolved["conflict"]],
        "genes that several names reach": [f"{g} ({', '.join(n)})" for g, n in several.items()],
    }
    return [
        f"{len(names)} {what}: {quote_some(names)}" for what, names in found.items() if len(names)
    ]


def spreadsheet_dates(names: Iterable[str]) -> list[str]:
    """Return the names that a spreadsheet made of symbols such as MARCH1 and SEPT2: 1-Mar, 44256."""
    names = list(names)
    days = [name for name in names if _DAY.fullmatch(name)]
    few = days if len(days) <= DATES else []  # more are ids of genes
    return [name for name in names if _DATE.fullmatch(name)] + few


def _clean(names):
    """Strings without blanks at their ends; missing names are empty."""
    return [
        name.strip() if isinstance(name, str) else "" if pd.isna(name) else str(name)
        for name in names
    ]


def _only(names):
    """The single member, or None where there are none or several."""
    return next(iter(names)) if len(names) == 1 else None
