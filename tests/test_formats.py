"""Files of knowledge as public sources publish them: recognised by columns or shape, else refused."""

import gzip
import io
import os
import pickle
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from small_competition import write_small

from kit import InputError, load_competition
from kit.knowledge import gather, load_knowledge, load_pathways
from kit.knowledge.formats import read_source
from kit.screens.gene_names import GeneNames

GENES = [f"G{i}" for i in range(12)]
PAIRS = [(GENES[i], GENES[(i * step + 1) % 12]) for step in (2, 3) for i in range(1, 11)]
PAIRS = [(one, other) for one, other in PAIRS if one != other]
BIOGRID = [
    "#BioGRID Interaction ID", "Entrez Gene Interactor A", "Entrez Gene Interactor B",
    "Systematic Name Interactor A", "Systematic Name Interactor B", "Official Symbol Interactor A",
    "Official Symbol Interactor B", "Organism ID Interactor A", "Organism ID Interactor B", "Score",
]  # fmt: skip


def text(rows, separator="\t"):
    return "\n".join(separator.join(map(str, row)) for row in rows) + "\n"


def rows_of(kind):
    """Lines of an edge list as its source publishes it, and the weights that are read."""
    ones = [1.0] * len(PAIRS)
    scores = [100.0 + i for i in range(len(PAIRS))]
    scored = [(*pair, score) for pair, score in zip(PAIRS, scores, strict=True)]
    modes = ["Activation", "Repression"] * len(PAIRS)
    kinds = ["interacts-with", "in-complex-with"] * len(PAIRS)
    header = []
    if kind == "SIF":
        rows = [(one, kinds[i], other) for i, (one, other) in enumerate(PAIRS)]
    elif kind == "TRRUST":
        rows = [(*pair, modes[i], f"{i};{i + 9}") for i, pair in enumerate(PAIRS)]
    elif kind == "BioGRID":
        header = [BIOGRID]
        rows = [(i, 1, 2, "-", "-", *pair, 9606, 9606, "-") for i, pair in enumerate(PAIRS)]
    elif kind == "STRING":
        header = [("#node1", "node2", "node1_string_id", "node2_string_id", "combined_score")]
        rows = [(one, other, "9606.ENSP1", "9606.ENSP2", score) for one, other, score in scored]
    elif kind == "Reactome FI":
        header = [("Gene1", "Gene2", "Annotation", "Direction", "Score")]
        rows = [(one, other, "predicted", "-", score) for one, other, score in scored]
    elif kind == "OmniPath":
        header = [("source", "target", "source_genesymbol", "target_genesymbol", "is_directed")]
        rows = [("P1", "P2", *pair, 1) for pair in PAIRS]
    elif kind == "BioPlex":
        header = [("GeneA", "GeneB", "SymbolA", "SymbolB", "pW", "pInt")]
        rows = [(1, 2, one, other, 0.1, score) for one, other, score in scored]
    elif kind == "CollecTRI":
        header = [("source", "target", "weight")]
        rows = [(*pair, (-1) ** i) for i, pair in enumerate(PAIRS)]
    elif kind == "Pathway Commons":
        header = [("PARTICIPANT_A", "INTERACTION_TYPE", "PARTICIPANT_B", "INTERACTION_DATA_SOURCE")]
        rows = [(one, kinds[0], other, "KEGG") for one, other in PAIRS]
        rows += [("",), ("PARTICIPANT", "PARTICIPANT_TYPE"), ("G1", "ProteinReference")]
    elif kind == "unknown names":
        header = [("Fisher", "Fish", "Method", "n")]
        rows = [(*pair, "Y2H", i) for i, pair in enumerate(PAIRS)]
    weights = scores if kind in ("STRING", "Reactome FI", "BioPlex") else ones
    return header + rows, weights


EDGES = (
    "SIF", "TRRUST", "BioGRID", "STRING", "Reactome FI", "OmniPath", "BioPlex", "CollecTRI",
    "Pathway Commons", "unknown names",
)  # fmt: skip


@pytest.mark.parametrize("separator", ["\t", ",", " "])
@pytest.mark.parametrize("kind", EDGES)
def test_edges_are_recognised_by_the_names_of_columns_or_by_shape(tmp_path, kind, separator):
    rows, weights = rows_of(kind)
    if separator == " " and any(" " in str(field) for row in rows for field in row):
        rows = [[str(field).replace(" ", "_") for field in row] for row in rows]
    (tmp_path / "anything").write_bytes(gzip.compress(text(rows, separator).encode()))
    found, edges, _ = read_source(tmp_path / "anything")
    assert found == "edges"
    assert list(zip(edges["one"], edges["other"], strict=True)) == PAIRS
    assert edges["weight"].to_list() == weights
    assert "column" in edges.attrs["read_as"]


def test_a_line_of_sif_may_name_several_partners(tmp_path):
    lines = ["A\tpp\tB\tC", "B\tpp\tC", "A\tpd\tD\tE\tB", "B\tpd\tE\tA", "A\tpp\tE"]
    (tmp_path / "net").write_text("\n".join(lines))
    found, edges, _ = read_source(tmp_path / "net")
    assert found == "edges"
    assert "".join(edges["one"] + edges["other"]) == "ABACBCADAEABBEBAAE"


LONG = {
    "long": (("gene", "pathway"), [("A", "one"), ("B", "one"), ("A", "two"), ("", "two")]),
    "msigdbr": (("gs_name", "gene_symbol"), [("one", "A"), ("one", "B"), ("two", "A")]),
    "CORUM": (
        ("complex_name", "organism", "subunits_gene_name"),
        [("one", "Human", "A;B"), ("two", "Human", "A"), ("of mice", "Mouse", "Psma1;Psma2")],
    ),
    "Ensembl2Reactome": (
        (),
        [
            (gene, f"R-HSA-{name}", f"https://reactome.org/R-HSA-{name}", name, "TAS", species)
            for gene, name, species in (
                ("A", "one", "Homo sapiens"),
                ("B", "one", "Homo sapiens"),
                ("A", "two", "Homo sapiens"),
                ("C", "two", "Mus musculus"),
            )
        ],
    ),
    "GAF": (
        ("!gaf-version: 2.2",),
        [
            ("UniProtKB", "P1", gene, qualifier, name, *"PCVF", "", "", "", taxon, "2020", "GOA")
            for gene, qualifier, name, taxon in (
                ("A", "involved_in", "GO:one", "taxon:9606"),
                ("B", "involved_in", "GO:one", "taxon:9606"),
                ("C", "NOT|involved_in", "GO:one", "taxon:9606"),
                ("A", "enables", "GO:two", "taxon:9606"),
                ("D", "enables", "GO:two", "taxon:10090"),
            )
        ],
    ),
}


@pytest.mark.parametrize("kind", LONG)
def test_tables_of_genes_and_sets_are_sets_of_one_species(tmp_path, kind):
    header, rows = LONG[kind]
    if kind == "Ensembl2Reactome":  # ids end in digits
        rows = [(row[0], f"R-HSA-{len(row[3])}", *row[2:]) for row in rows]
    (tmp_path / "anything").write_text(text([header] * bool(header) + rows))
    found, sets, _ = read_source(tmp_path / "anything")
    assert found == "sets"
    members = sets["pathway"].str.removeprefix("GO:") + " " + sets["gene"]
    assert members.to_list() == ["one A", "one B", "two A"]
    assert ("of other species" in sets.attrs["read_as"]) == (kind not in ("long", "msigdbr"))


def test_sets_of_one_gene_without_ids_are_sets(tmp_path):
    (tmp_path / "one.gmt").write_text(text([(f"module {i}", "", GENES[i]) for i in range(9)]))
    kind, frame, _ = read_source(tmp_path / "one.gmt")
    assert kind == "sets"
    assert list(frame["gene"]) == GENES[:9]


@pytest.mark.parametrize("count", [2, 40])
def test_numbered_rows_of_two_genes_are_no_sets(tmp_path, count):
    rows = [(i, GENES[i % 12], GENES[(i + 5) % 12], f"note {i}") for i in range(count)]
    (tmp_path / "odd.tsv").write_text(text([("id", "first gene", "other gene", "x"), *rows]))
    with pytest.raises(InputError, match="first gene"):
        read_source(tmp_path / "odd.tsv")
    kind, frame, _ = read_source(f"{tmp_path / 'odd.tsv'}:first gene,other gene")
    assert (kind, len(frame)) == ("edges", count)


def test_comments_above_a_table_are_passed_over(tmp_path):
    for above in ("# made today\n", "# made today\n# by us\n#gene1\tgene2\n", "! no header\n"):
        (tmp_path / "file").write_text(f"{above}A\tB\nB\tC\n")
        _, edges, _ = read_source(tmp_path / "file")
        assert edges[["one", "other"]].to_numpy().tolist() == [["A", "B"], ["B", "C"]]


def test_quotes_semicolons_and_decimal_commas_of_spreadsheets_are_read(tmp_path):
    (tmp_path / "r.csv").write_text('"","gene1","gene2","score"\n"1","A","B",0.5\n"2","B","C",1\n')
    (tmp_path / "excel.csv").write_text("gene1;gene2;score\nA;B;0,5\nB;C;1\n")
    for name in ("r.csv", "excel.csv"):
        _, edges, _ = read_source(tmp_path / name)
        assert edges.to_numpy().tolist() == [["A", "B", 0.5], ["B", "C", 1]]


REFUSED = {
    "protein.info": (
        [("#string_protein_id", "preferred_name", "protein_size", "annotation")]
        + [(f"9606.ENSP{i}", gene, 100 + i, "kinase of sugars") for i, gene in enumerate(GENES)],
        "its columns string_protein_id, preferred_name, protein_size, annotation; want .*FILE:A,B",
    ),
    "aliases": (
        [("#string_protein_id", "alias", "source")]
        + [(f"9606.ENSP{i:011}", f"P{i}", "UniProt_AC") for i in range(30)],
        "its columns string_protein_id, alias, source; want .*FILE:A,B",
    ),
    "protein.links": (
        [("protein1", "protein2", "combined_score")]
        + [(f"9606.ENSP{i:011}", f"9606.ENSP{i + 1:011}", 900) for i in range(9)],
        "proteins .*9606.ENSP00000000000.*; want gene symbols or Ensembl genes",
    ),
    "Entrez sets": ([("a", "na", 1, 2, 3), ("b", "na", 3, 4)], "numbers for genes: 1, 2, 3, 4"),
    "text": (
        [("id", "who", "when", "what")]
        + [(f"x{i}", f"y{i}", f"day {i}", f"it did {i} things") for i in range(9)],
        "phrases for genes: day 0, it did 0 things",
    ),
    "competition": ([("pert_id", "A", "B"), ("pert_1", 0.5, 1), ("pert_2", 0.5, 1)], "competition"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_knowledge_is_refused_and_never_taken_for_sets(tmp_path, kind):
    rows, fault = REFUSED[kind]
    (tmp_path / "file").write_text(text(rows))
    with pytest.raises(InputError, match=fault) as caught:
        read_source(tmp_path / "file")
    assert str(caught.value).isprintable()


def test_proteins_get_the_symbols_of_strings_table_beside_them(tmp_path):
    rows = [(f"9606.ENSP{i}", f"9606.ENSP{i + 1}", 900) for i in range(9)]
    (tmp_path / "links.txt").write_text(
        text([("protein1", "protein2", "combined_score"), *rows], " ")
    )
    rows, _ = REFUSED["protein.info"]
    (tmp_path / "9606.protein.info.txt.gz").write_bytes(gzip.compress(text(rows).encode()))
    _, edges, _ = read_source(tmp_path / "links.txt")
    assert edges.iloc[[0, -1]].to_numpy().tolist() == [["G0", "G1", 900], ["G8", "G9", 900]]


def test_strings_channels_are_read_and_its_table_of_proteins_is_no_candidate(tmp_path):
    competition = load_competition(write_small(tmp_path / "data"))
    genes = [*competition.effects.index]
    channels = ("coexpression", "experimental", "textmining", "combined_score")
    rows = [(f"9606.ENSP{i}", f"9606.ENSP{i + 1}", 0, 100 * i, 7, 150 + i) for i in range(5)]
    links = tmp_path / "data" / "9606.protein.links.detailed.v12.0.txt.gz"
    lines = text([("protein1", "protein2", *channels), *rows], " ")
    links.write_bytes(gzip.compress(lines.encode()))
    infos = [(f"9606.ENSP{i}", gene, 300, f"{gene}; a") for i, gene in enumerate(genes)]
    head = ("#string_protein_id", "preferred_name", "protein_size", "annotation")
    proteins = gzip.compress(text([head, *infos]).encode())
    (tmp_path / "data" / "9606.protein.info.v12.0.txt.gz").write_bytes(proteins)
    remarks = gather(competition).remarks
    assert not [line for line in remarks if "ignored" in line]
    (line,) = [line for line in remarks if "protein.links" in line]
    assert "5 edges between 6 genes" in line
    assert "`combined_score`" in line
    found = gather(competition, pathways=[f"{links}:protein1,protein2,experimental"]).pathways
    assert list(found.edges["weight"]) == [100, 200, 300, 400]  # without the channel: no edge


def test_corums_file_of_all_complexes_is_sets_by_gene_name(tmp_path):
    head = (
        "ComplexID", "ComplexName", "Organism", "Synonyms", "subunits(UniProt IDs)",
        "subunits(Entrez IDs)", "GO ID", "GO description", "subunits(Gene name)", "PubMed ID",
    )  # fmt: skip
    rows = [
        (i, f"complex {i}", organism, "None", "P1;P2", "1;2", "GO:1;GO:2", "a;b", genes, 123)
        for i, (organism, genes) in enumerate(
            [("Human", "A;B"), ("Mouse", "C;D"), ("Human", "E;F")]
        )
    ]
    (tmp_path / "allComplexes.txt").write_text(text([head, *rows]))
    kind, sets, _ = read_source(tmp_path / "allComplexes.txt")
    assert kind == "sets"
    assert sets.to_numpy().tolist() == [
        ["complex 0", "A"], ["complex 0", "B"], ["complex 2", "E"], ["complex 2", "F"],
    ]  # fmt: skip


def test_annotations_of_go_are_named_so(tmp_path):
    header, rows = LONG["GAF"]
    (tmp_path / "goa_human.gaf").write_text(text([header, *rows]))
    assert "GAF" in read_source(tmp_path / "goa_human.gaf")[1].attrs["read_as"]


@pytest.mark.parametrize("name", ["GenePT.pickle", "ESM2.pt"])
def test_pickles_are_not_opened_and_the_step_is_named(tmp_path, name):
    content = pickle.dumps({"A": [0.5, 1.0]})
    (tmp_path / name).write_bytes(content)
    if name.endswith(".pt"):
        with zipfile.ZipFile(tmp_path / name, "w") as box:
            box.writestr("ESM2/data.pkl", content)
            box.writestr("ESM2/data/0", b"0000")
    for read in (read_source, load_knowledge):
        with pytest.raises(InputError, match=f"{name} is a pickle .* npz"):
            read(tmp_path / name)


@pytest.mark.parametrize("header", [True, False])
def test_the_user_names_columns(tmp_path, header):
    rows = [(i, one, "x", other, i / 10 + 1) for i, (one, other) in enumerate(PAIRS)]
    path = tmp_path / "odd.tsv"
    path.write_text(text([("n", "bait gene", "how", "fish", "trust")] * header + rows))
    columns = "bait gene,fish,trust" if header else "2,4,5"
    _, edges, _ = read_source(f"{path}:{columns}")
    assert edges.to_numpy().tolist() == [[one, other, weight] for _, one, _, other, weight in rows]
    _, edges, _ = read_source(f"{path}:{columns.rpartition(',')[0]}")
    assert set(edges["weight"]) == {1.0}
    with pytest.raises(InputError, match=r"no such column: Gene(, fish)? \(\d of 2\)"):
        read_source(f"{path}:Gene,fish")
    with pytest.raises(InputError, match="1 columns of"):
        read_source(f"{path}:{columns.partition(',')[0]}")
    one, *_, last = columns.split(",")
    for twice in (f"{one},{one}", f"{one},{last},{last}"):
        with pytest.raises(InputError, match="each may stand once"):
            read_source(f"{path}:{twice}")
    full = tmp_path / "a:b,c"
    full.write_text("A B\n")
    assert read_source(full)[1].to_numpy().tolist() == [["A", "B", 1]]


def test_columns_are_named_to_load_pathways_and_in_its_variable(tmp_path, monkeypatch):
    path = tmp_path / "odd.tsv"
    path.write_text(text([("x", "y", "z"), *((one, "-", other) for one, other in PAIRS)]))
    (tmp_path / "sets.gmt").write_text("a\tna\tG1\tG2\tG3\n")
    monkeypatch.setenv("ESG_PATHWAYS", os.pathsep.join([f"{path}:x,z", f"{tmp_path}/sets.gmt"]))
    for paths in ([], [f"{path}:x,z", f"{tmp_path}/sets.gmt"]):
        found = load_pathways(*paths, names=GeneNames())
        assert found.provenance["kind"].to_dict() == {"odd": "edges", "sets": "sets"}
        assert found.parts == ["sets", "sets, small", "odd"]


@pytest.mark.parametrize("kind", ["sets", "edges", "table"])
def test_genes_that_a_spreadsheet_made_dates_of_are_counted_in_one_line(tmp_path, kind):
    dates = ["1-Mar", "2-Sep", "Mar-01", "2021-09-01"]
    if kind == "sets":
        rows = [("a set", "na", *GENES, *dates, 44256), ("more", "na", "A", "B", "C")]
    elif kind == "edges":
        rows = [*PAIRS, *((name, "G1") for name in [*dates, 44256])]
    else:
        rows = [("gene", "x"), *((name, 0.5) for name in [*GENES, *dates])]
    (tmp_path / "file").write_text(text(rows))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_source(tmp_path / "file")[0] == kind
    (line,) = {str(warning.message) for warning in caught}
    assert f"{4 if kind == 'table' else 5} genes are dates" in line
    assert "1-Mar, 2-Sep, Mar-01, 2021-09-01" in line


DEPMAP = pd.DataFrame(
    np.arange(6.0).reshape(3, 2) / 4, ["AARS (16)", "MYC (4609)", "TP53 (7157)"],
    ["ACH-000001", "ACH-000002"],
)  # fmt: skip
NAMES = GeneNames(symbols={"AARS1", "MYC", "TP53"}, previous={"AARS": {"AARS1"}})


def as_csv(table):
    place = io.StringIO()
    table.to_csv(place)
    return place.getvalue()


@pytest.mark.parametrize("names", [None, NAMES])
@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("models", ["ACH", "lines"])
@pytest.mark.parametrize("turned", [True, False])
def test_depmap_is_read_either_way_round(tmp_path, names, ids, models, turned):
    table = DEPMAP if ids else DEPMAP.rename(lambda label: label.partition(" ")[0])
    table = table if models == "ACH" else table.set_axis(["A549", "K562"], axis=1)
    if names is None and not ids and models == "lines":
        pytest.skip("neither names nor ids nor models: the genes may be either")
    (tmp_path / "effect.csv").write_text(as_csv(table.T if turned else table))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read = load_knowledge(tmp_path / "effect.csv", names)
        found, same, _ = read_source(tmp_path / "effect.csv", names)
    assert list(read.index) == ["AARS1" if names else "AARS", "MYC", "TP53"]
    assert read.to_numpy().tolist() == DEPMAP.to_numpy().tolist()
    assert found == "table"
    pd.testing.assert_frame_equal(read, same)
    assert bool(caught) == (turned or ids)
    assert all("3 columns" in str(one.message) for one in caught) or not turned


def test_a_table_of_models_by_gene_is_gathered_with_what_it_knows(tmp_path):
    competition = load_competition(write_small(tmp_path / "data"))
    table = pd.DataFrame(np.eye(4), ["KRAS (3845)", "TFAM (7019)", "STAT1 (6772)", "SSBP1 (6742)"])
    (tmp_path / "effect.csv").write_text(as_csv(table.add_prefix("line ").T))
    with pytest.warns(UserWarning, match="genes are its 4 columns"):
        knowledge = gather(competition, pathways=[tmp_path / "effect.csv"])
    assert list(knowledge.pathways.tables["effect"].index) == ["KRAS", "TFAM", "STAT1", "SSBP1"]
    assert "2 of 6 training perturbations, 2 of 4 targets" in knowledge.remarks[0]
    table.set_axis(["3845", "7019", "6772", "6742"]).to_csv(tmp_path / "effect.csv")
    with pytest.raises(InputError, match="3845"):
        gather(competition, pathways=[tmp_path / "effect.csv"])


@pytest.mark.parametrize("separator", [";", "\t", " "])
def test_decimal_commas_are_read_with_a_word(tmp_path, separator):
    path = tmp_path / "table"
    path.write_text(text([("gene", "x", "y"), ("A", "0,5", "1,25"), ("B", "2", "3,5")], separator))
    for reader in (load_knowledge, lambda path: read_source(path)[1]):
        with pytest.warns(UserWarning, match="decimal commas are read as in `0,5`"):
            read = reader(path)
        assert read.to_dict("index") == {"A": {"x": 0.5, "y": 1.25}, "B": {"x": 2, "y": 3.5}}


TABLES = {
    "gene,x\nA,0,5\nB,1,25\n": "more fields than the header names; .*decimal commas",
    "gene;x\nA;0.5\nB;0,5\n": "column `x` holds `0[.,]5`, want a number",
    "gene,x\n7157,0.5\n4609,0.5\n": "named `7157`, want gene symbols or Ensembl ids .*Entrez",
}


@pytest.mark.parametrize("content", TABLES)
def test_tables_that_cannot_be_matched_are_refused(tmp_path, content):
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises(InputError, match=TABLES[content]):
        load_knowledge(tmp_path / "table.csv")


@pytest.mark.parametrize("separator", ["\t", ","])
@pytest.mark.parametrize("label", ["gene_symbol", "symbol", "Gene", "", "name"])
@pytest.mark.parametrize("start", [0, 1])
def test_embeddings_with_counted_columns_are_tables(tmp_path, separator, label, start):
    numbers = np.random.default_rng(0).normal(size=(20, 8)).round(3)
    table = pd.DataFrame(numbers, [f"G{i}" for i in range(20)], range(start, start + 8))
    table.rename_axis(label).to_csv(tmp_path / "embedding", sep=separator)
    kind, read, _ = read_source(tmp_path / "embedding")
    assert kind == "table"
    np.testing.assert_allclose(read, numbers, atol=1e-6)
    table.to_csv(tmp_path / "embedding", sep=separator, header=False)
    with pytest.raises(InputError, match="want a header line"):
        read_source(tmp_path / "embedding")


@pytest.mark.parametrize("width", [3, 4, 5, 6, 15])
@pytest.mark.parametrize("rows", [2, 150])
def test_a_title_above_a_table_is_no_traceback(tmp_path, width, rows):
    for fill in ("1.5", "GO:1", "reactome.org/", "kind"):
        lines = [[f"G{i}", *[fill] * (width - 2), f"G{i + 1}"] for i in range(rows)]
        for above in (["network", "v2"], ["G1", "x"], ["gene", "v2", "1"]):
            if len(above) in (
                width - 1,
                width,
            ):  # a header, perhaps without the name that R leaves out
                continue
            (tmp_path / "file").write_text(text([above, *lines], ","))
            with pytest.raises(InputError) as caught:
                read_source(tmp_path / "file")
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["competition", "protein.links"])
def test_what_is_of_no_use_is_refused_by_its_beginning(tmp_path, kind):
    rows, fault = REFUSED[kind]
    whole = text([*rows, *([rows[-1]] * 200_000)]).encode()
    half = gzip.compress(whole)[:-9]  # its end cannot be unpacked
    (tmp_path / "file.gz").write_bytes(half)
    with pytest.raises(InputError, match=fault):
        read_source(tmp_path / "file.gz")
    info, _ = REFUSED["protein.info"]
    (tmp_path / "9606.protein.info.txt").write_text(text(info))
    with pytest.raises(InputError, match=fault if kind == "competition" else "cannot be read"):
        read_source(tmp_path / "file.gz")
