"""Screens: layouts recognised or declared by columns alone, and files of every encoding read the same."""

import json
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
from small_screen import draw_counts, labels, write_screen

from kit.io.files import InputError
from kit.io.hdf5 import read_column
from kit.screens.labels import read_screen
from kit.screens.layouts import LAYOUTS, Layout, load_layout, recognise

SYMBOLS = pd.DataFrame(index=["AAA", "BBB", "MT-ND1"])
ENSEMBL = pd.DataFrame(
    {"gene_name": ["AAA", "BBB", "MT-ND1"]}, index=["ENSG01", "ENSG02", "ENSG03"]
)


def screen(path, obs, var=SYMBOLS, **more):
    return write_screen(path / "screen.h5ad", obs, draw_counts(len(obs), len(var)), var, **more)


def columns(target, control="non-targeting", **more):
    obs = pd.DataFrame({target: [control, control, "AAA", "BBB"]})
    return obs.assign(**more)


SCREENS = {
    "competition": (columns("sgrna_symbol", sgrna_id="g", channel="ch_1"), SYMBOLS),
    "vcc": (columns("target_gene", guide_id="g", batch="b"), SYMBOLS),
    "replogle": (
        columns("gene", gem_group=3, UMI_count=1000.0, mitopercent=0.05, sgID_AB="g"),
        ENSEMBL,
    ),
    "jiang": (columns("gene", "NT", **{"cell_type": "A549", "percent.mito": 4.0}), SYMBOLS),
    "scperturb": (columns("perturbation", "control", nperts=1), SYMBOLS),
    "x-atlas": (columns("gene_target", "Non-Targeting", pass_guide_filter=1, sample="s"), SYMBOLS),
    "cd4": (
        columns(
            "perturbed_gene_name",
            "NTC",
            guide_type=["non-targeting"] * 2 + ["targeting"] * 2,
            guide_id="g",
            lane_id="l",
            low_quality=False,
        ),
        ENSEMBL.assign(gene_ids=ENSEMBL.index),
    ),
}


@pytest.mark.parametrize("name", SCREENS)
def test_each_screen_is_recognised_by_its_columns(name, tmp_path):
    obs, var = SCREENS[name]
    found = read_screen(screen(tmp_path, obs, var))
    assert found.layout.name == name
    assert found.obs["control"].tolist() == [True, True, False, False]
    assert found.obs["target"].tolist() == ["non-targeting"] * 2 + ["AAA", "BBB"]
    assert found.var["name"].tolist() == ["AAA", "BBB", "MT-ND1"]


def test_nadigs_files_have_the_layout_of_replogles_even_without_batches(tmp_path):
    found = read_screen(screen(tmp_path, columns("gene"), ENSEMBL))
    assert found.layout.name == "replogle"
    assert set(found.obs["batch"]) == {"none"}
    assert found.var["ensembl"].tolist() == ["ENSG01", "ENSG02", "ENSG03"]


def test_the_bulk_index_names_target_and_cells_fall_back_on_the_unfiltered(tmp_path):
    obs = pd.DataFrame(
        {"num_cells_filtered": [50.0, np.nan, 30.0], "num_cells_unfiltered": [60, 70, 40]},
        index=[
            "10747_non-targeting_non-targeting_non-targeting",
            "12_HLA-A_P1P2_ENSG00000206503",
            "13_AAA_P1_ENSG01",
        ],
    )
    import anndata

    path = tmp_path / "bulk.h5ad"
    anndata.AnnData(draw_counts(3, 3), obs, ENSEMBL).write_h5ad(path)
    found = read_screen(path)
    assert found.layout.kind == "bulk"
    assert found.obs["target"].tolist() == ["non-targeting", "HLA-A", "AAA"]
    assert found.obs["cells"].tolist() == [50, 70, 30]


def test_a_bulk_file_with_other_labels_is_refused(tmp_path):
    obs = {"num_cells_filtered": [1.0], "num_cells_unfiltered": [1.0]}
    with pytest.raises(InputError, match="no label in `index` looks like"):
        read_screen(screen(tmp_path, pd.DataFrame(obs), ENSEMBL))


def test_unknown_columns_are_listed_with_the_way_to_declare_them(tmp_path):
    path = screen(tmp_path, pd.DataFrame({"knocked": ["a"], "well": ["A1"]}))
    with pytest.raises(InputError, match=r"fits no known layout: obs has knocked, well.*--layout"):
        read_screen(path)


def test_columns_of_two_layouts_are_not_guessed(tmp_path):
    obs = columns("sgrna_symbol", sgrna_id="g").assign(gene_target="AAA", pass_guide_filter=1)
    with pytest.raises(InputError, match=r"fits several layouts \(competition, x-atlas\)"):
        read_screen(screen(tmp_path, obs))
    assert read_screen(tmp_path / "screen.h5ad", "competition").layout.name == "competition"


def test_recognition_looks_at_names_never_at_values():
    assert recognise("file", ["target_gene", "guide_id", "batch"], []).name == "vcc"


def test_every_layout_recognises_only_itself():
    for layout in LAYOUTS.values():
        assert recognise("file", layout.marks, layout.var_marks) is layout


def test_a_layout_is_declared_in_json(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(
        json.dumps(
            {
                "perturbation": "knocked",
                "controls": ["ctrl_*", "none"],
                "batch": "plate",
                "where": {"line": ["A549"]},
            }
        )
    )
    obs = pd.DataFrame(
        {
            "knocked": ["ctrl_1", "ctrl_22", "none", "AAA", "AAA", None],
            "plate": [1, 2, 1, 2, 1, 1],
            "line": ["A549"] * 4 + ["HT29", "A549"],
        }
    )
    found = read_screen(screen(tmp_path, obs), path)
    assert found.layout.name == "mine"
    assert found.obs["control"].tolist() == [True, True, True, False, False, False]
    assert found.obs["kept"].tolist() == [True, True, True, True, False, False]
    assert found.obs["batch"].tolist() == ["1", "2", "1", "2", "1", "1"]
    assert found.left_out == {"line is not A549": 1, "no target": 1}


def test_a_layout_may_begin_from_another(tmp_path):
    path = tmp_path / "a549.json"
    path.write_text('{"like": "jiang", "where": {"cell_type": "A549"}, "batch": null}')
    layout = load_layout(path)
    assert layout.controls == LAYOUTS["jiang"].controls
    assert (layout.where, layout.batch) == ((("cell_type", ("A549",)),), None)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"perturbatoin": "x"}', "unknown fields perturbatoin"),
        ('{"perturbation": 3}', "perturbation is 3, want text"),
        ('{"perturbation": "x", "controls": 3}', "controls is 3, want text or a list"),
        ('{"perturbation": "x", "where": "a == b"}', "want an object of columns and values"),
        (
            '{"perturbation": "x", "scale": "log"}',
            "scale is `log`, want one of counts, log1p_cp10k, log2_cp10k",
        ),
        ('{"controls": ["x"]}', "names no column `perturbation`"),
        ('{"like": "mine"}', "like is `mine`"),
        ("[1]", "holds no JSON object"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_a_wrong_layout_file_is_one_clear_line(text, fault, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(InputError, match=fault) as error:
        load_layout(path)
    assert "\n" not in str(error.value)


def test_an_unknown_layout_is_named_with_the_known_ones():
    with pytest.raises(InputError, match=r"`repogle` is unknown; want one of competition, vcc"):
        load_layout("repogle")


def test_one_file_of_several_cell_lines_is_several_datasets(tmp_path):
    obs = columns("gene", "NT", **{"percent.mito": 4.0})
    obs["cell_type"] = ["A549", "HT29", "A549", "HT29"]
    found = read_screen(screen(tmp_path, obs), dataset="IFNG")
    assert found.datasets == ["IFNG:A549", "IFNG:HT29"]
    assert found.obs["dataset"].tolist() == ["IFNG:A549", "IFNG:HT29"] * 2


def test_a_filtered_cell_line_is_no_dataset(tmp_path):
    obs = columns("gene", "NT", **{"percent.mito": 4.0})
    obs["cell_type"] = ["A549", "HT29", "A549", "HT29"]
    path = tmp_path / "a549.json"
    path.write_text('{"like": "jiang", "where": {"cell_type": "A549"}}')
    found = read_screen(screen(tmp_path, obs), path, dataset="IFNG")
    assert found.datasets == ["IFNG:A549"]
    assert found.left_out == {"cell_type is not A549": 2}


def test_cells_with_several_targets_are_left_out_and_counted(tmp_path):
    obs = {"perturbation": ["control", "AAA_BBB", "AAA", "BBB"]}
    found = read_screen(screen(tmp_path, pd.DataFrame(obs)))
    assert found.obs["kept"].tolist() == [True, False, True, True]
    assert found.left_out == {"several targets": 1}


def test_the_label_non_targeting_is_always_a_control(tmp_path):
    layout = Layout(perturbation="gene", controls=("NTC",))
    obs = {"gene": ["NTC", "non-targeting", "AAA"]}
    found = read_screen(screen(tmp_path, pd.DataFrame(obs)), layout)
    assert found.obs["control"].tolist() == [True, True, False]


def test_a_dataset_without_control_cells_is_refused_with_its_labels(tmp_path):
    obs = columns("gene", "NT", **{"percent.mito": 4.0})
    obs["cell_type"] = ["A549", "A549", "A549", "HT29"]
    match = r"no control cell in IFNG:HT29: no `gene` is NT or NTC.*the commonest are .*`controls`"
    with pytest.raises(InputError, match=match):
        read_screen(screen(tmp_path, obs), dataset="IFNG")


def test_a_filter_that_leaves_nothing_says_so(tmp_path):
    layout = Layout(perturbation="gene", where=(("line", ("A549",)),))
    path = screen(tmp_path, columns("gene", line="HT29"))
    with pytest.raises(InputError, match="no cell to use: 4 line is not A549"):
        read_screen(path, layout)


def test_mitochondrial_shares_come_in_one_unit(tmp_path):
    percent = read_screen(
        screen(tmp_path, columns("sgrna_symbol", sgrna_id="g", **{"percent.mt": 5.0}))
    )
    assert np.allclose(percent.obs["mito"], 0.05)
    fraction = read_screen(
        screen(tmp_path, columns("gene", gem_group=1, mitopercent=0.05), ENSEMBL)
    )
    assert np.allclose(fraction.obs["mito"], 0.05)


@pytest.mark.parametrize(
    ("layout", "fault"),
    [
        (
            Layout(perturbation="gene", batch="plate"),
            "no column plate, which layout `custom` wants",
        ),
        (Layout(perturbation="gene", where=(("line", ("x",)),)), "no column line"),
        (Layout(perturbation="gene", symbols="name"), "no column name"),
        (Layout(perturbation="gene", counts=("layers/counts",)), "has no layers/counts"),
        (Layout(perturbation="gene", total="word"), "column `word` holds text, want numbers"),
        (
            Layout(perturbation="gene", total="zero"),
            "`zero` goes from 0 to 0, want UMI by cell, above 0",
        ),
    ],
)
def test_a_column_that_a_layout_wants_must_be_there(layout, fault, tmp_path):
    path = screen(tmp_path, columns("gene", word="many", zero=0.0))
    with pytest.raises(InputError, match=fault) as error:
        read_screen(path, layout)
    assert str(path) in str(error.value)


def test_the_first_place_of_counts_that_exists_is_taken(tmp_path):
    obs = columns("gene", "NT", **{"cell_type": "A549", "percent.mito": 4.0})
    assert read_screen(screen(tmp_path, obs)).matrix.key == "X"
    path = screen(tmp_path, obs, layers={"counts": draw_counts(4, 3)})
    assert read_screen(path).matrix.key == "layers/counts"


@pytest.mark.parametrize("damage", ["missing", "text", "cut", "other"])
def test_a_damaged_file_is_one_clear_line(damage, tmp_path):
    path = screen(tmp_path, columns("sgrna_symbol", sgrna_id="g"))
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "text":
        path.write_text("gene,count\n")
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        with h5py.File(path, "w") as file:
            file["matrix"] = [1]
    with pytest.raises(InputError, match=r"screen\.h5ad") as error:
        read_screen(path)
    assert "\n" not in str(error.value)


def old_file(path, write_obs):
    """An h5ad with `obs` written by `write_obs(file)` and a var of the same age."""
    with h5py.File(path, "w") as file:
        file["X"] = draw_counts(4, 3)
        write_obs(file)
    return path


OLD = columns("sgrna_symbol", sgrna_id="g", channel=["a", "b", "a", "b"])


def write_before_0_8(file):
    """Columns as datasets; categories in `__categories`, each referred to by an attribute."""
    text = h5py.string_dtype()
    for name, table in (("obs", OLD.set_axis(list("wxyz"))), ("var", SYMBOLS)):
        group = file.create_group(name)
        group.attrs["_index"] = "index"
        group.attrs["column-order"] = np.array(
            list(table), dtype=text if len(table.columns) else "f8"
        )
        group.attrs["encoding-type"], group.attrs["encoding-version"] = "dataframe", "0.1.0"
        group.create_dataset("index", data=list(table.index), dtype=text)
        for column in table:
            values = pd.Categorical(table[column])
            group[column] = values.codes
            categories = group.create_dataset(
                f"__categories/{column}", data=list(values.categories), dtype=text
            )
            group[column].attrs["categories"] = categories.ref


def write_before_0_7(file):
    """obs and var as compound arrays, categories in uns."""
    records = np.zeros(
        4, dtype=[("index", "S8"), ("sgrna_symbol", "i1"), ("sgrna_id", "S4"), ("channel", "i1")]
    )
    records["index"], records["sgrna_id"] = list("wxyz"), b"g"
    for column in ("sgrna_symbol", "channel"):
        values = pd.Categorical(OLD[column])
        records[column] = values.codes
        file[f"uns/{column}_categories"] = np.array(list(values.categories), dtype="S16")
    file["obs"] = records
    file["var"] = np.array([(name,) for name in SYMBOLS.index], dtype=[("index", "S8")])


@pytest.mark.parametrize("write", [write_before_0_8, write_before_0_7])
def test_files_of_older_anndata_read_like_new_ones(write, tmp_path):
    old = read_screen(old_file(tmp_path / "old.h5ad", write))
    new = read_screen(screen(tmp_path, OLD), dataset="old")
    assert old.layout == new.layout
    for name in new.obs:
        assert old.obs[name].tolist() == new.obs[name].tolist(), name
    assert old.var["name"].tolist() == new.var["name"].tolist()


@pytest.mark.filterwarnings("ignore:Element .* without encoding metadata")
def test_an_old_file_reads_as_anndata_reads_it(tmp_path):
    import anndata

    path = old_file(tmp_path / "old.h5ad", write_before_0_8)
    expected = anndata.read_h5ad(path).obs
    with h5py.File(path) as file:
        for name in expected:
            assert list(read_column(file["obs"], name)) == expected[name].tolist()
        assert list(read_column(file["obs"], "index")) == list(expected.index)


def test_labels_are_trimmed_and_empty_ones_are_no_target(tmp_path):
    obs = pd.DataFrame({"gene": [*labels(control=1), " AAA", "AAA ", ""]})
    found = read_screen(screen(tmp_path, obs), Layout(perturbation="gene"))
    assert found.obs["target"].iloc[:3].tolist() == ["non-targeting", "AAA", "AAA"]
    assert found.left_out == {"no target": 1}


# counts in other places than X, and labels of cells that are no plain targets


def write_mudata(path, names_of_whole, counts, own=None):
    """A MuData file: counts of the cells a to f in `mod/rna`, targets in the obs of the whole."""
    from anndata.io import write_elem

    target = dict(zip("abcdef", labels(control=2, AAA=2, BBB=2), strict=True))
    whole = pd.DataFrame({"gene": [target.get(n, "CCC") for n in names_of_whole]}, names_of_whole)
    with h5py.File(path, "w") as file:
        write_elem(file, "obs", whole)
        write_elem(file, "var", SYMBOLS)
        write_elem(file, "mod/rna/obs", pd.DataFrame(own, index=list("abcdef")))
        write_elem(file, "mod/rna/var", SYMBOLS[::-1])
        write_elem(file, "mod/rna/X", counts)
    return path


@pytest.mark.parametrize("places", ["X", "mod/rna/X"])
def test_counts_of_a_mudata_file_have_the_labels_of_their_part_and_name(places, tmp_path):
    path = write_mudata(tmp_path / "m.h5mu", list("gfebdca"), draw_counts(6, 3))
    found = read_screen(path, Layout(perturbation="gene", counts=(places,)))
    assert found.matrix.key == "mod/rna/X"
    assert found.var["name"].tolist() == list(SYMBOLS.index[::-1])
    assert found.obs["target"].tolist() == labels(control=2, AAA=2, BBB=2)
    assert any("gene of obs is matched to mod/rna/obs" in line for line in found.remarks)


def test_a_parts_own_labels_come_before_those_of_the_whole(tmp_path):
    own = {"gene": labels(control=3, AAA=3)}
    path = write_mudata(tmp_path / "m.h5mu", list("fedcba"), draw_counts(6, 3), own)
    assert read_screen(path, Layout(perturbation="gene")).obs["target"].tolist() == own["gene"]


@pytest.mark.parametrize(
    ("names", "fault"),
    [("abcdex", "1 cells of /mod/rna/obs are not in obs.*: f"), ("abcdeff", "twice")],
)
def test_cells_that_cannot_be_matched_by_name_are_refused(names, fault, tmp_path):
    path = write_mudata(tmp_path / "m.h5mu", list(names), draw_counts(6, 3))
    with pytest.raises(InputError, match=fault):
        read_screen(path, Layout(perturbation="gene"))


@pytest.mark.parametrize("place", ["raw/", "raw."])
def test_counts_of_raw_have_the_genes_of_raw(place, tmp_path):
    from anndata.io import write_elem

    path = screen(tmp_path, columns("gene"))
    with h5py.File(path, "r+") as file:
        file.pop("raw", None)
        write_elem(file, f"{place}X", draw_counts(4, 3))
        write_elem(file, f"{place}var", SYMBOLS[::-1])
    layout = Layout(perturbation="gene", counts=("raw/X", "X"))
    found = read_screen(path, layout)
    assert found.matrix.key == f"{place}X"
    assert found.var["name"].tolist() == list(SYMBOLS.index[::-1])
    with h5py.File(path, "r+") as file:
        del file[f"{place}var"]
    with pytest.raises(InputError, match=rf"{place}X without {place}var"):
        read_screen(path, layout)


def test_counts_whose_labels_are_unknown_are_refused(tmp_path):
    path = screen(tmp_path, columns("gene"), obsm={"counts": draw_counts(4, 3)})
    with pytest.raises(InputError, match="which cells and genes obsm/counts holds is not known"):
        read_screen(path, Layout(perturbation="gene", counts=("obsm/counts",)))


def test_a_matrix_of_another_size_than_its_labels_is_refused(tmp_path):
    path = screen(tmp_path, columns("gene"))
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = draw_counts(5, 3)
    found = read_screen(path, Layout(perturbation="gene"))
    with pytest.raises(InputError, match=r"shape \(5, 3\), its labels are those of 4 cells and 3"):
        _ = found.matrix.header


@pytest.mark.parametrize(
    "label",
    ["ctrl+AAA", "AAA+ctrl", "NT_1|AAA", "non-targeting|AAA", "AAA|NTC", "mine+AAA", "AAA+ctrl+"],
)
@pytest.mark.parametrize("combination", [None, "+", "_"])
def test_a_target_beside_a_control_guide_is_a_single_perturbation(label, combination, tmp_path):
    obs = pd.DataFrame({"gene": ["mine", "mine", label, "BBB"]})
    layout = Layout(perturbation="gene", controls=("mine",), combination=combination)
    found = read_screen(screen(tmp_path, obs), layout)
    assert found.obs["target"].tolist() == ["non-targeting"] * 2 + ["AAA", "BBB"]
    assert found.obs["kept"].all()
    assert [line.split(":")[0] for line in found.remarks] == [
        "1 cells count as those of the only target in their label"
    ]


def test_other_labels_with_control_guides_are_what_they_were(tmp_path):
    names = ["control", "control+ctrl", "A_B", "A_B_control", "control_1", "A_A", "NT5E", "HLA-A"]
    obs = pd.DataFrame({"perturbation": names})
    found = read_screen(screen(tmp_path, obs))
    assert found.obs["control"].tolist() == [True, True, False, False, True, False, False, False]
    assert found.obs["kept"].tolist() == [True, True, False, False, True, True, True, True]
    assert found.obs["target"].iloc[5:].tolist() == ["A", "NT5E", "HLA-A"]
    assert found.left_out == {"several targets": 2}
    undeclared = read_screen(
        screen(tmp_path, obs.assign(gene=names)), Layout(perturbation="gene", controls=("control",))
    )
    assert undeclared.obs["target"].iloc[2:5].tolist() == ["A_B", "A_B_control", "non-targeting"]


@pytest.mark.parametrize(
    ("label", "plain", "underscore"),
    [
        ("non-targeting_sgRNA_1", ["non-targeting"], ["non-targeting"]),
        ("NT_chr1_1_2", ["non-targeting"], ["non-targeting"]),
        ("non-targeting_0001|non-targeting_0002", ["non-targeting"], ["non-targeting"]),
        ("NT_1_NT_2", [], ["non-targeting"]),
        ("non-targeting_A", [], ["A"]),
        ("A_ctrl", ["A_ctrl"], ["A"]),
        ("STAT1_NT_2", ["STAT1_NT_2"], ["STAT1"]),
        ("STAT1_2", ["STAT1_2"], ["STAT1"]),
        ("A_B", ["A_B"], ["A", "B"]),
        ("A_B|NTC", ["A_B"], ["A", "B"]),
        ("A+B+ctrl", ["A+B+ctrl"], ["A+B+ctrl"]),
        ("A|A", ["A"], ["A"]),
        ("ctrl+A", ["A"], ["A"]),
        ("A|NTC", ["A"], ["A"]),
    ],
)
def test_an_underscore_joins_targets_only_where_the_layout_says_so(label, plain, underscore):
    assert Layout(perturbation="gene").targets(label) == plain
    assert Layout(perturbation="gene", combination="_").targets(label) == underscore


def test_labels_that_name_no_perturbation_are_no_targets(tmp_path):
    names = [
        "NA",
        "None",
        "nan",
        "unassigned",
        "Unknown",
        "multiple",
        "doublet",
        "",
        None,
        "NTC",
        "none",
    ]
    obs = pd.DataFrame({"gene": ["non-targeting", "AAA", *names]})
    found = read_screen(screen(tmp_path, obs), Layout(perturbation="gene", controls=("NTC",)))
    assert found.obs["target"][found.obs["kept"]].tolist() == [
        "non-targeting",
        "AAA",
        "non-targeting",
    ]
    (reason,) = found.left_out
    assert reason.startswith("no target (NA, None, Unknown, doublet, multiple and 2 more")
    assert found.left_out[reason] == 10
    control = Layout(perturbation="gene", controls=("none", "NA"))
    assert read_screen(screen(tmp_path, obs), control).obs["control"].sum() == 3


@pytest.mark.parametrize(
    ("unit", "values", "share", "line"),
    [
        ("percent", [0.5, 20.0], 0.2, None),
        ("fraction", [0.01, 0.2], 0.2, None),
        ("fraction", [0.5, 20.0], 0.2, "as `percent`"),  # no fraction is above 1
        ("percent", [0.01, 0.2], 0.002, "declare mito_unit as `fraction`"),  # nuclei have so little
        ("either", [0.01, 0.2], 0.2, "as `fraction`"),
        ("either", [0.5, 20.0], 0.2, "as `percent`"),
    ],
)
def test_a_declared_unit_of_mitochondrial_shares_stands_where_it_can(
    unit, values, share, line, tmp_path
):
    obs = pd.DataFrame({"gene": labels(control=1, AAA=1), "mt": values})
    layout = Layout(perturbation="gene", mito="mt", mito_unit=unit)
    found = read_screen(screen(tmp_path, obs), layout)
    assert np.isclose(found.obs["mito"].iloc[1], share)
    assert len(found.remarks) == (line is not None)
    assert all(line in remark for remark in found.remarks)


def test_scperturb_has_either_unit_of_mitochondrial_shares(tmp_path):
    obs = pd.DataFrame({"perturbation": ["control", "AAA"], "percent_mito": [0.01, 0.2]})
    assert np.isclose(read_screen(screen(tmp_path, obs)).obs["mito"].iloc[1], 0.2)


def test_categories_as_r_packages_write_them_are_read(tmp_path):
    path = screen(tmp_path, columns("gene"))
    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        kept = obs["gene/codes"][()], obs["gene/categories"][()]
        del obs["gene"]
        obs["gene"], obs["__categories/gene"] = kept  # without the attribute that refers to them
        obs.attrs["_index"] = np.array([obs.attrs["_index"]], object)
    found = read_screen(path, Layout(perturbation="gene"))
    assert found.obs["target"].tolist() == ["non-targeting"] * 2 + ["AAA", "BBB"]


@pytest.mark.parametrize(
    ("places", "fault"),
    [
        ({"matrix/barcodes": [1]}, "10x matrix names no perturbations"),
        ({"meta.data/x": [1]}, "Seurat file is converted in R"),
        ({"row_attrs/x": [1]}, "loom file"),
    ],
)
def test_other_kinds_of_files_are_named_with_the_way_to_convert_them(places, fault, tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for place, values in places.items():
            file[place] = values
    with pytest.raises(InputError, match=f"has no obs, var, it has .*{fault}"):
        read_screen(tmp_path / "x.h5")


def write_packed(path, number):
    """The file's X packed by a filter that HDF5 does not know."""
    with h5py.File(path, "r+") as file:
        shape = file["X"].shape
        del file["X"]
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk(shape)
        settings.set_filter(number, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple(shape)
        packed = h5py.h5d.create(file.id, b"X", h5py.h5t.IEEE_F32LE, space, settings)
        packed.write_direct_chunk((0, 0), b"packed")


@pytest.mark.parametrize(
    ("number", "name", "remedy"),
    [
        (32015, "zstd 32015", "pip install hdf5plugin"),
        (32001, "blosc 32001", "pip install hdf5plugin"),
        (32004, "lz4 32004", "pip install hdf5plugin"),
        (40000, "number 40000", "write it with gzip"),
    ],
)
def test_a_filter_that_is_not_installed_is_named_with_the_remedy(
    number, name, remedy, tmp_path, monkeypatch
):
    path = screen(tmp_path, columns("gene"))
    write_packed(path, number)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "hdf5plugin.py").write_text("")  # is asked first
    monkeypatch.delitem(sys.modules, "hdf5plugin", raising=False)
    matrix = read_screen(path, Layout(perturbation="gene")).matrix
    assert "hdf5plugin" in sys.modules
    with pytest.raises(InputError, match=rf"X need the HDF5 filter {name}, .*{remedy}"):
        next(matrix.blocks(0, 4, 10**6))
    monkeypatch.delitem(sys.modules, "hdf5plugin")
