"""The pathway map: kernels by hand and by slow loops, names old and new, and files that are no sets."""

import copy
import gzip
import io
import json
import os
import urllib.request
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kit import InputError
from kit.io import locate
from kit.knowledge import Pathways, load_knowledge, load_pathways
from kit.screens.gene_names import GeneNames

NAMES = GeneNames(
    symbols={"AARS1", "KARS1", "CD46", "TP53", "MYC"},
    previous={"AARS": {"AARS1"}, "KARS": {"KARS1"}},
    alias={"MCP": {"CD46"}},
)
SETS = """first\tS-1\tAARS1\tKARS1\tTP53
second\tS-2\tKARS1\tTP53\tMYC\tMCP\tKARS
third\tS-3\tAARS1\tMYC
fourth\tS-4\tAARS\tMYC\tMCP\tE\tF
"""
EDGES = "AARS KARS1\nKARS1 AARS1\nKARS1 TP53\nTP53 TP53\nTP53 MYC\nMYC E\n"


@pytest.fixture
def files(tmp_path):
    (tmp_path / "sets.gmt").write_text(SETS)
    (tmp_path / "edges.tsv").write_text(EDGES)
    return tmp_path / "sets.gmt", tmp_path / "edges.tsv"


@pytest.fixture
def pathways(files):
    return load_pathways(*files, names=NAMES)


@pytest.fixture(scope="module")
def real(shared):
    sources = ("ReactomePathways.gmt", "GO_Biological_Process_2021.gmt", "ppi_edges.tsv.gz")
    return load_pathways(*(shared("real", "pathways", name) for name in sources))


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No place that is looked at has a file, and there is no network."""

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.delenv("ESG_PATHWAYS", raising=False)
    monkeypatch.setattr(locate, "ROOT", tmp_path / "project")
    monkeypatch.setattr(locate, "KAGGLE_INPUT", tmp_path / "input")
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return tmp_path


class Answer(io.BytesIO):
    """What a server sends."""

    def __init__(self, content):
        super().__init__(content)
        self.headers = {"Last-Modified": "today"}


def cosine(one, other):
    return one @ other / np.sqrt((one @ one) * (other @ other))


def test_one_hot_has_the_sets_within_the_size_rule_in_file_order(pathways):
    table = pathways.one_hot(["AARS", "MYC", "nothing"])
    assert list(table.columns) == ["sets: first", "sets: second", "sets: fourth"]
    assert table.to_numpy().tolist() == [[1, 0, 1], [0, 1, 1], [0, 0, 0]]
    assert list(table.index) == ["AARS", "MYC", "nothing"]
    assert set(table.dtypes) == {np.dtype("uint8")}
    # KARS1 and KARS are one gene: `second` has four, `fourth` five.
    assert list(pathways.one_hot([], largest=4).columns) == ["sets: first", "sets: second"]
    assert "sets: third" in pathways.one_hot([], smallest=2)


def test_columns_do_not_depend_on_the_perturbations(pathways):
    few, many = pathways.one_hot(["MYC"]), pathways.one_hot(["TP53", "MYC", "AARS"])
    pd.testing.assert_frame_equal(few, many.loc[["MYC"]])


def test_set_kernels_equal_a_plain_loop(pathways):
    genes = ["MYC", "AARS", "KARS1", "F"]
    members = {
        "first": "AARS KARS1 TP53",
        "second": "KARS1 TP53 MYC MCP",
        "fourth": "AARS MYC MCP E F",
    }
    rarity = {name: np.log(7 / len(own.split())) for name, own in members.items()}
    vectors = {
        gene: np.array([rarity[name] * (gene in own.split()) for name, own in members.items()])
        for gene in genes
    }
    kernel = pathways.kernels(genes)["sets"]
    for one in genes:
        for other in genes:
            assert kernel.at[one, other] == pytest.approx(
                cosine(vectors[one], vectors[other]), abs=1e-6
            )


def test_the_diffusion_kernel_equals_matrices_by_hand(pathways):
    edges = np.zeros((5, 5))  # AARS1, E, KARS1, MYC, TP53
    for one, other in ((0, 2), (2, 4), (4, 3), (3, 1)):
        edges[one, other] = edges[other, one] = 1
    root = np.diag(edges.sum(axis=1) ** -0.5)
    step = root @ edges @ root
    spread = step + step @ step
    wanted = [[cosine(a, b) for b in spread] for a in spread]
    # Also from genes that are not asked for: through TP53 and E.
    kernel = pathways.kernels(["AARS", "KARS", "MYC", "unknown"])["edges"].to_numpy()
    places = [0, 2, 3]
    np.testing.assert_allclose(kernel[:3, :3], np.array(wanted)[np.ix_(places, places)], atol=1e-6)
    assert not kernel[3].any()


def test_weights_of_edges_count_and_a_repeated_edge_counts_once(tmp_path):
    path = tmp_path / "edges.csv"
    path.write_text("gene_a,gene_b,score\nA,B,900\nB,A,100\nB,C,300\nC,D,0\nD,E,50\n")
    edges = load_pathways(path, names=GeneNames()).edges
    assert edges.to_numpy().tolist() == [
        ["A", "B", 900, "edges"],
        ["B", "C", 300, "edges"],
        ["D", "E", 50, "edges"],
    ]


def test_kernels_lie_between_zero_and_one_with_ones_where_a_gene_is_known(real):
    genes = ["AARS", "KARS", "PSMA1", "PSMB2", "FAM102B", "MRPL10"]
    for name, kernel in real.kernels(genes).items():
        values = kernel.to_numpy()
        assert values.dtype == np.float32, name
        assert ((values >= 0) & (values <= 1)).all()
        np.testing.assert_allclose(values, values.T, atol=1e-6)
        assert set(np.diag(values)) <= {0, 1}
        unknown = np.diag(values) == 0
        assert not values[unknown].any()


def test_a_kernel_averages_the_parts_that_know_both_genes(pathways):
    genes = ["AARS", "MYC", "E", "F", "MCP", "unknown"]
    parts = pathways.kernels(genes)
    wanted = np.zeros((6, 6))
    for row, one in enumerate(genes):
        for column, other in enumerate(genes):
            both = [
                k.at[one, other] for k in parts.values() if k.at[one, one] and k.at[other, other]
            ]
            wanted[row, column] = np.mean(both) if both else 0
    kernel = pathways.kernel(genes, genes)
    np.testing.assert_allclose(kernel, wanted, atol=1e-6)
    assert kernel.at["AARS", "AARS"] == pytest.approx(1)
    assert not kernel["unknown"].any()
    few = pathways.kernel(genes[::-1], ["E", "AARS"])
    np.testing.assert_allclose(few, kernel.loc[genes[::-1], ["E", "AARS"]], atol=1e-6)
    alone = pathways.kernel(genes, genes, parts=["edges"])
    np.testing.assert_allclose(alone, parts["edges"], atol=1e-6)
    with pytest.raises(
        InputError, match=r"kernel is named: GO \(1 of 1\); there are sets, sets, small, edges"
    ):
        pathways.kernel(genes, genes, parts=["GO"])


def test_old_and_new_symbols_meet_and_keep_the_callers_labels(pathways):
    old, new = ["AARS", "KARS"], ["AARS1", "KARS1"]
    for name, kernel in pathways.kernels(old).items():
        assert list(kernel.index) == list(kernel.columns) == old
        np.testing.assert_array_equal(kernel, pathways.kernels(new)[name])
    np.testing.assert_array_equal(pathways.one_hot(old), pathways.one_hot(new))
    np.testing.assert_array_equal(pathways.coverage(old), pathways.coverage(new))
    np.testing.assert_allclose(np.diag(pathways.kernel(old, new)), 1, atol=1e-6)
    assert pathways.shared("AARS", "KARS").to_dict() == {"sets: first": 3}


def test_an_alias_is_no_name(pathways):
    assert pathways.knows(["MCP", "CD46"]).tolist() == [True, False]


def test_the_order_of_genes_does_not_matter(real):
    genes = ["AARS", "KARS", "PSMA1", "PSMB2", "MRPL10", "MRPS5", "KRAS"]
    for name, kernel in real.kernels(genes).items():
        turned = real.kernels(genes[::-1])[name]
        np.testing.assert_allclose(turned.loc[genes, genes], kernel, atol=1e-6)


def test_real_complexes_are_nearer_than_strangers(real):
    proteasome = ["PSMA1", "PSMA3", "PSMB2", "PSMC4"]
    synthetases = ["AARS", "KARS", "VARS", "DARS"]
    for name, kernel in real.kernels(proteasome + synthetases).items():
        within = kernel.loc[proteasome, proteasome].to_numpy()[np.triu_indices(4, 1)].mean()
        assert within > 2 * kernel.loc[proteasome, synthetases].to_numpy().mean(), name
    first = real.shared("AARS", "DARS", top=1)
    assert first.index[0] == "ReactomePathways: Cytosolic tRNA aminoacylation"


def test_kernels_of_all_output_genes_take_seconds(shared, real):
    genes = shared("facts", "genes.txt").read_text().split()
    kernel = real.kernel(genes, genes)
    assert kernel.shape == (len(genes), len(genes))
    assert set(kernel.dtypes) == {np.dtype("float32")}


def test_the_graph_joins_genes_and_sets_and_is_normalised(pathways):
    genes, graph = pathways.graph
    sets = pathways.sets
    members = sets.groupby("pathway", sort=False)["gene"].apply(list)
    members = members[members.apply(len) >= 3]
    count = sets["gene"].nunique()
    wanted = np.zeros((len(genes) + len(members),) * 2)
    for place, inside in enumerate(members, start=len(genes)):
        for gene in inside:
            wanted[genes.get_loc(gene), place] = np.log(count / len(inside))
    for one, other in pathways.edges[["one", "other"]].to_numpy():  # all of weight 1
        wanted[genes.get_loc(one), genes.get_loc(other)] = 1
    wanted += wanted.T
    degree = wanted.sum(axis=1)
    root = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    np.testing.assert_allclose(graph.toarray(), root[:, None] * wanted * root, atol=1e-6)
    assert graph.dtype == np.float32


def test_coverage_counts_by_source_and_says_what_is_known(pathways):
    table = pd.DataFrame({"x": [1.0, 2.0, 4.0]}, ["MYC", "Z", "E"])
    coverage = pathways.with_knowledge(table, "GenePT").coverage(["AARS", "MYC", "Z", "nothing"])
    assert list(coverage.columns) == ["sets", "edges", "GenePT", "known"]
    assert coverage.to_numpy().tolist() == [
        [2, 1, False, True],
        [2, 2, True, True],
        [0, 0, True, True],
        [0, 0, False, False],
    ]


def test_a_gene_that_only_interacts_with_itself_is_not_known(tmp_path):
    (tmp_path / "edges.txt").write_text("A A\nB C\n")
    pathways = load_pathways(tmp_path / "edges.txt", names=GeneNames())
    assert pathways.knows(["A", "B"]).tolist() == [False, True]
    assert pathways.one_hot(["A"]).shape == (1, 0)


def test_a_table_gives_a_kernel_of_standardised_columns(pathways):
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(5, 3)), ["AARS", "MYC", "TP53", "E", "F"])
    more = pathways.with_knowledge(100 + 7 * table, "embedding")
    values = ((table - table.mean()) / table.std(ddof=0)).to_numpy()
    kernel = more.kernels(["AARS1", "MYC", "E", "G"])["embedding"].to_numpy()
    places = [0, 1, 3]
    wanted = [[max(cosine(values[a], values[b]), 0) for b in places] for a in places]
    np.testing.assert_allclose(kernel[:3, :3], wanted, atol=1e-5)
    assert not kernel[3].any()
    assert "embedding" not in pathways.parts
    with pytest.raises(InputError, match="`embedding` is known already: sets, "):
        more.with_knowledge(table, "embedding")


def test_pathways_are_shared_by_copies_of_a_model(pathways):
    assert copy.deepcopy(pathways) is pathways
    assert isinstance(pathways, Pathways)
    assert repr(pathways) == "Pathways(4 sets of sets, 4 edges of edges)"


def test_sets_of_one_name_are_told_apart_by_their_ids(tmp_path):
    (tmp_path / "s.gmt").write_text("one\tA-1\tA\tB\tC\none\tA-2\tC\tD\tE\n")
    table = load_pathways(tmp_path / "s.gmt", names=GeneNames()).one_hot(["C"])
    assert list(table.columns) == ["s: one (A-1)", "s: one (A-2)"]


@pytest.mark.parametrize("separator", [" ", "\t", ","])
@pytest.mark.parametrize("header", ["", "gene1{0}gene2\n", "from{0}to\n", "#node1{0}node2\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_edge_lists_are_recognised_by_content(tmp_path, separator, header, packed):
    text = header.format(separator) + f"A{separator}B\r\nB{separator}C\n\n"
    content = b"\xef\xbb\xbf" + text.encode()
    path = tmp_path / "anything.dat"
    path.write_bytes(gzip.compress(content) if packed else content)
    edges = load_pathways(path, names=GeneNames()).edges
    assert edges[["one", "other"]].to_numpy().tolist() == [["A", "B"], ["B", "C"]]


def test_sets_are_recognised_by_content(tmp_path):
    (tmp_path / "sets.txt").write_text("a set\tid\tA,1.0\tB,1.0\t\t\nlonely\t\tC\n")
    sets = load_pathways(tmp_path / "sets.txt", names=GeneNames()).sets
    assert sets.to_numpy().tolist() == [
        ["sets", "a set", "A"],
        ["sets", "a set", "B"],
        ["sets", "lonely", "C"],
    ]


BAD = {
    b"": "is empty",
    b"\n \n": "is empty",
    b"\x89HDF\r\n\x1a\n\0": "cannot be read as text",
    b"A\tB\0\n": "is no text but a binary file",
    b"TP53\nMYC\n": "has one column, it begins `TP53`",
    b"A\t" * 5_000_000: "line 1: 10,000,000 characters",
    gzip.compress(b"A B\n" * 999)[:30]: "cannot be read as text: Compressed file ended",
    b"A\tB\t1\nC\tD\thigh\n": "line 2: `C\\\\tD\\\\thigh` has no weight of 0 or 1e-30",
    b"A,B,-1\n": "line 1: `A,B,-1` has no weight of 0 or 1e-30",
    b"A B\nC\n": "line 2: `C` has 1 fields",
    b"A A\nB B\n": "no edge between two genes",
    b"gene1 gene2\n": "has a header but no rows",
    b"g,1,2,4\nh,1,2,3\n": "want a header line that names the columns",
    b"g\t-0.5\t1e-5\t2\nh\t1\t-2\t3\n": "want a header line that names the columns",
    b"one\tid\t-0.5\t1e-05\ntwo\tid\t+1.5\n": "has numbers for genes: -0.5, 1e-05",
    b"network\tv2\n" + b"A\tB\tC\t1\t2\nB\tA\tC\t3\t4\n" * 9: "2 as in the first line",
    b"set\tid\t7157\t4609\n": "has numbers for genes: 7157, 4609",
    b"set\tid\tA\tB\nrest\n": "line 2: `rest` is no set",
}


@pytest.mark.parametrize(("content", "fault"), BAD.items(), ids=range(len(BAD)))
def test_files_that_hold_no_knowledge_are_refused_in_one_line(tmp_path, content, fault):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(InputError, match=fault) as caught:
        load_pathways(path, names=GeneNames())
    assert "\n" not in str(caught.value)
    assert "file" in str(caught.value)


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(InputError, match="is a folder; want a GMT file"):
        load_pathways(tmp_path)
    with pytest.raises(InputError, match=r"none\.gmt does not exist; want a GMT file"):
        load_pathways(tmp_path / "none.gmt")


def test_all_places_are_read_in_order_and_equal_files_once(nowhere, monkeypatch, files):
    def found(**options):
        table = load_pathways(names=NAMES, download=False, **options).provenance
        return [Path(file).parent.name for file in table["file"]]

    with pytest.raises(InputError, match=r"project/data, and fetching it was not wanted"):
        found()
    for number, folder in enumerate(("input/attached", "project/data", "folder")):
        (nowhere / folder).mkdir(parents=True)
        (nowhere / folder / "a.gmt").write_text(f"{SETS}more {number}\tS\tA\tB\n")
    assert found() == ["data", "attached"]
    assert found(folder=nowhere / "folder") == ["folder", "data", "attached"]
    (nowhere / "input/attached/a.gmt").write_text(f"{SETS}more 1\tS\tA\tB\n")
    with pytest.warns(UserWarning, match="ignored: .*attached/a.gmt, because it equals .*data/a.g"):
        assert found() == ["data"]
    monkeypatch.setenv("ESG_PATHWAYS", os.pathsep.join(map(str, files)))
    named = load_pathways(names=NAMES, folder=nowhere / "folder").provenance["file"]
    assert list(named) == list(map(str, files))


def test_without_files_and_network_the_error_names_the_places(nowhere):
    with pytest.raises(InputError, match=r"fetching it failed: no network; fetch https://reactome"):
        load_pathways(folder=nowhere)


def test_a_download_is_kept_with_its_date_and_hash(nowhere, monkeypatch):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as box:
        box.writestr("ReactomePathways.gmt", SETS)

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Answer(packed.getvalue()))
    digest = load_pathways(names=NAMES).provenance.at["ReactomePathways", "sha256"]
    kept = nowhere / "project" / "data" / "ReactomePathways.gmt"
    record = json.loads(kept.with_suffix(".json").read_text())
    assert kept.read_text() == SETS
    assert digest == record["sha256"]
    assert record["date"].startswith("20")
    kept.write_text(
        SETS + "more\tS-5\tA\tB\n"
    )  # from now on it is found, whatever the network says
    assert load_pathways(names=NAMES).provenance["entries"].to_list() == [5]


def test_an_answer_that_is_no_archive_is_not_kept(nowhere, monkeypatch):
    monkeypatch.setattr(
        urllib.request, "urlopen", lambda *_, **__: Answer(b"<html>\n<p>log in first</p>")
    )
    with pytest.raises(InputError, match="fetching it failed: https://reactome"):
        load_pathways(names=NAMES)
    assert not (nowhere / "project").exists()


def test_names_beside_the_files_come_first(files):
    (files[0].parent / "hgnc_subset.tsv").write_text("symbol\tprev_symbol\nE1\tE\n")
    pathways = load_pathways(*files)
    assert pathways.names.source.name == "hgnc_subset.tsv"
    assert "E1" in set(pathways.sets["gene"])
    assert pathways.provenance["renamed"].to_list() == [1, 1]


def test_the_same_file_counts_once_and_files_of_one_name_are_told_apart(files):
    place = files[0].parent / "other"
    place.mkdir()
    (place / "copy.gmt").write_text(SETS)
    (place / "sets.gmt").write_text("new\tN-1\tA\tB\tC\n")
    found = load_pathways(files[0], place / "copy.gmt", place / "sets.gmt", names=NAMES)
    assert list(found.provenance.index) == ["sets", "sets 2"]


def test_the_twins_knowledge_is_read_from_its_folder(nowhere, twin):
    found = load_pathways(folder=twin, download=False)
    assert found.provenance["kind"].to_dict() == {"pathways": "sets", "interactions": "edges"}
    targets = pd.read_csv(twin / "pert_ids_all.csv")["pert"]
    assert 0.5 < found.knows(targets).mean() <= 1


@pytest.mark.parametrize("name", ["table.csv", "table.tsv", "table.csv.gz", "table.npz", "R.tsv"])
def test_knowledge_is_read_from_text_and_arrays(tmp_path, name):
    table = pd.DataFrame([[1.0, -2.5], [0.0, 3.0]], ["AARS", "MYC"], ["x", "y"])
    path = tmp_path / name
    if name.endswith("npz"):
        np.savez(path, genes=np.array(["AARS", "MYC"]), values=table.to_numpy())
    elif name == "R.tsv":  # R writes no name above the genes
        path.write_text("x\ty\nAARS\t1\t-2.5\nMYC\t0\t3\n")
    else:
        table.to_csv(path, sep="\t" if "tsv" in name else ",")
    read = load_knowledge(path, NAMES)
    assert list(read.index) == ["AARS1", "MYC"]
    assert read.to_numpy().tolist() == table.to_numpy().tolist()
    assert set(read.dtypes) == {np.dtype("float32")}


def test_repeated_and_unmeasured_genes_of_a_table_are_told(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("gene,x,y\nAARS,1,2\nAARS1,3,6\nMYC,,1\nTP53,5,5\n")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        read = load_knowledge(path, NAMES)
    assert read.to_dict("index") == {"AARS1": {"x": 2, "y": 4}, "TP53": {"x": 5, "y": 5}}
    assert [str(warning.message).partition(": ")[2] for warning in told] == [
        "1 of 4 genes have missing values and are left out: MYC",
        "1 genes are repeated, their mean is taken: AARS1",
    ]


BAD_TABLES = {
    "gene,x\nA,high\n": "column `x` holds `high`, want a number",
    "gene,x\nA,True\n": "column `x` holds `True`, want a number",
    "gene,x\nA,inf\n": "infinite values",
    "gene,x\nA,\n": "no gene without missing values",
    "gene\nA\n": "has no gene with a number",
    "gene,x\n": "has no gene with a number",
    "": "cannot be read: No columns",
    "gene,x\n1,2\n": "a row is named `1`, want gene symbols",
    "A,0.5,1.5\nB,1.0,2.0\n": "begins with numbers; want a header line",
    "gene,x\nA,1\nB,1,2\n": "cannot be read: .*Expected 2 fields in line 3, saw 3",
    "gene,x\nA,1,2,3\n": "rows have more fields than the header names",
    "A" * 10_000_000: "its first line has 2,000,000 characters or more",
    "\0\x01\x02": "has no gene with a number|cannot be read",
}


@pytest.mark.parametrize(("text", "fault"), BAD_TABLES.items(), ids=range(len(BAD_TABLES)))
def test_tables_that_are_no_knowledge_are_refused_in_one_line(tmp_path, text, fault):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=fault) as caught:
        load_knowledge(path)
    assert "\n" not in str(caught.value)


def test_arrays_that_are_no_knowledge_are_refused(tmp_path):
    path = tmp_path / "table.npz"
    np.savez(path, genes=np.array(["A", "B"], dtype=object), values=np.ones((2, 1)))
    with pytest.raises(InputError, match="cannot be read: Object arrays cannot be loaded"):
        load_knowledge(path)
    np.savez(path, genes=np.array(["A", "B"]), values=np.ones((3, 1)))
    with pytest.raises(InputError, match=r"genes have the shape \(2,\), values \(3, 1\)"):
        load_knowledge(path)
    np.savez(path, values=np.ones((3, 1)))
    with pytest.raises(InputError, match="has no array `genes`"):
        load_knowledge(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError):
        load_knowledge(path)
    with pytest.raises(InputError, match="is a folder"):
        load_knowledge(tmp_path)
    with pytest.raises(InputError, match=r"none\.csv does not exist"):
        load_knowledge(tmp_path / "none.csv")
