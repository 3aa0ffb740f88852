"""The paper's tables beside ours: the decoded numbers, the remarks, and that every style shows the same cells."""

import csv
import json
import re
import subprocess
import sys

import pytest

from minisqx.errors import OptionError
from minisqx.paper import comparison as paper
from minisqx.paper import layers as paper_layers
from minisqx.spec import zoo

COMPARED = ("I", "II", "III", "IV", "V")
ALL = (*COMPARED, "VI")
ROWS = {"I": 8, "II": 7, "III": 13, "IV": 5, "V": 5, "VI": 39}

# Table, the row's number from 0 -> trainable parameters, bytes of float32 state; None where no network fits.
FITTING = {
    ("I", 0): (740_554, 2_962_216),
    ("I", 1): (727_626, 2_910_504),
    ("I", 2): (588_666, 2_400_872),
    ("I", 3): (786_426, 3_203_176),
    ("I", 4): (2_313_962, 9_348_264),
    ("I", 5): (3_096_554, 12_501_160),
    ("I", 6): (67_670, 278_648),
    ("I", 7): None,
    ("II", 0): (1_028_666, 4_146_536),
    ("II", 1): (1_028_666, 4_146_536),
    ("II", 2): None,
    ("II", 3): None,
    ("II", 4): None,
    ("II", 5): (67_670, 278_648),
    ("II", 6): None,
    ("III", 0): (5_081, 22_316),
    ("III", 1): (11_253, 48_092),
    ("III", 2): (22_323, 96_388),
    ("III", 3): (24_731, 103_604),
    ("III", 4): (74_789, 311_484),
    ("III", 5): (138_446, 572_312),
    ("III", 6): (94_516, 387_520),
    ("III", 7): (146_178, 597_704),
    ("III", 8): (167_063, 680_900),
    ("III", 9): (210_661, 856_884),
    ("III", 10): None,
    ("III", 11): (581_998, 2_351_896),
    ("III", 12): (1_028_666, 4_146_536),
    **{("IV", row): (43_073, 178_564) for row in range(5)},
    ("V", 0): (2_113_562, 8_528_360),
    ("V", 1): (371_036, 1_521_912),
    ("V", 2): (86_922, 356_744),
    ("V", 3): (43_073, 178_564),
    ("V", 4): (96_902, 399_800),
}
# The paper contradicts itself in these rows, or no network fits.
DOUBTFUL = {
    "I": (3, 4, 5, 6, 7),
    "II": (0, 1, 2, 3, 4, 5, 6),
    "III": (2, 10, 11, 12),
    "IV": (0, 1, 2, 3, 4),
    "V": (0, 1),
}
SIZE_COPIED = {("I", 3), ("I", 5)}
# Shares of the printed size, beyond its rounding. Table IV's files are 1.3 KB larger than Table V's of the same network, and
# both sizes of the 2x [1,1,1,1] network are smaller than all others make it.
TOLERANCE, TOLERANCE_TABLE_4, TOLERANCE_2X = 0.003, 0.005, 0.009


@pytest.fixture(scope="module")
def tables():
    return paper.tables()


def _cells(table, row):
    return dict(zip(table.header, table.rows[row]))


def written(table):
    """The rows as people read them."""
    return [[cell if isinstance(cell, str) else f"{cell:,}" for cell in row] for row in table.rows]


def test_every_row_of_the_paper_is_there(tables):
    assert {number: len(table.rows) for number, table in tables.items()} == ROWS
    assert set(FITTING) == {(number, row) for number in COMPARED for row in range(ROWS[number])}


@pytest.mark.parametrize("number, row", FITTING)
def test_a_row_has_the_decoded_parameters_and_bytes(tables, number, row):
    cells = _cells(tables[number], row)
    if FITTING[number, row] is None:
        assert cells["ours: model"] == "no match"
        assert tables[number].remarks[row]
        return
    parameters, state_bytes = FITTING[number, row]
    spec = zoo.network(cells["ours: model"])
    assert (spec.parameters, spec.state_bytes) == (parameters, state_bytes)
    assert cells["ours: parameters"] == parameters
    assert cells["ours: state KB"] == round(state_bytes / 1000, 1)
    assert float(cells["ours: MACs M"]) == pytest.approx(spec.macs / 1e6, rel=5e-3)  # three digits are printed


@pytest.mark.parametrize("number, row", [key for key in FITTING if FITTING[key] and key not in SIZE_COPIED])
def test_the_size_is_what_the_paper_prints(tables, number, row):
    cells = _cells(tables[number], row)
    printed = cells["paper: size MB"]
    rounding = 0.5 * 10 ** -len(printed.partition(".")[2])
    tolerance = TOLERANCE_TABLE_4 if number == "IV" else TOLERANCE_2X if "-2x" in cells["ours: model"] else TOLERANCE
    ours = paper.paper_bytes(zoo.network(cells["ours: model"])) / 1e6
    assert ours == pytest.approx(float(printed), abs=rounding + tolerance * float(printed))
    assert float(cells["ours: size MB"]) == pytest.approx(ours, rel=1e-3)  # four digits are printed


@pytest.mark.parametrize("number", COMPARED)
def test_exactly_the_doubtful_rows_have_a_remark(tables, number):
    doubts = [remark.removesuffix(paper.NOT_TRAINED) for remark in tables[number].remarks]
    assert tuple(row for row, doubt in enumerate(doubts) if doubt) == DOUBTFUL[number]


@pytest.mark.parametrize("number", COMPARED)
def test_a_row_whose_name_has_another_width_says_so(tables, number):
    for row, remark in enumerate(tables[number].remarks):
        cells = _cells(tables[number], row)
        said, is_ = (re.search(r"-([\d.]+)x", cells[f"{whose}: model"]) for whose in ("paper", "ours"))
        if said and is_ and float(said[1]) != float(is_[1]):
            assert remark.removesuffix(paper.NOT_TRAINED)


def test_no_ten_blocks_of_width_1_are_as_small_as_the_paper_prints():
    shapes = [(a, b, c, 10 - a - b - c) for a in range(1, 8) for b in range(1, 9 - a) for c in range(1, 10 - a - b)]
    assert min(paper.paper_bytes(zoo.network("shallow", width=1.0, blocks=blocks)) for blocks in shapes) > 1_200_000


def test_table_6_adds_up_to_the_papers_three_totals(tables):
    table = tables["VI"]
    count, where = table.header.index("parameters"), table.header.index("paper's row")
    numbers = [(row[where], row[count]) for row in table.rows if row[count] != "-"]
    everything = sum(number for _, number in numbers)
    assert everything - sum(number for name, number in numbers if name == paper_layers.OMITTED) == 482_050
    assert everything == 527_586
    assert all(total in table.notes[0] for total in ("482,050", "514,818", "527,586", "536,850"))


def test_table_6_marks_what_is_left_out_and_what_is_misprinted(tables):
    table = tables["VI"]
    names, where, count = (table.header.index(column) for column in ("layer", "paper's row", "parameters"))
    left_out = [row[names] for row in table.rows if row[where] == paper_layers.OMITTED]
    assert left_out == [f"stage{stage}.block1.shortcut" for stage in (1, 2, 3, 4)]
    remarked = {row[where]: remark for row, remark in zip(table.rows, table.remarks) if remark}
    misprinted = ["32", "39", "40", "62", "64", "65", "69", "70", "102", "106", "dropout", "pool"]
    assert list(remarked) == misprinted
    assert "65,792" in remarked["106"] and "4x4x256" in remarked["106"]
    assert [row[count] for row in table.rows if row[where] == "106"] == [33_024]


@pytest.mark.parametrize("number", ALL)
def test_csv_has_the_cells_of_the_table(tables, number):
    header, *rows = csv.reader(paper.run(number, "csv"))
    assert tuple(header) == (*tables[number].header, "remark")
    expected = [["" if cell == "-" else str(cell) for cell in row] for row in tables[number].rows]
    assert [(cells, remark) for *cells, remark in rows] == list(zip(expected, tables[number].remarks))


FIGURES = ("accuracy %", "s/epoch", "size MB", "parameters", "MACs M", "state KB", "epochs", "times")


@pytest.mark.parametrize("number", ALL)
def test_every_figure_in_the_csv_is_a_number_to_a_program(number):
    figures = [
        (column, cell)
        for row in csv.DictReader(paper.run(number, "csv"))
        for column, cell in row.items()
        if column.rpartition(": ")[2] in FIGURES and cell
    ]
    assert len({column for column, _ in figures}) >= 2
    for column, cell in figures:
        assert float(cell) > 0, column  # a comma between its digits would raise here


@pytest.mark.parametrize("number", ALL)
def test_markdown_has_the_cells_of_the_table(tables, number):
    lines = list(paper.run(number, "markdown"))
    header, rule, *rows = ([cell.strip() for cell in line[1:-1].split("|")] for line in lines if line.startswith("|"))
    assert tuple(header) == (*tables[number].header, "remark")
    assert len(rule) == len(header)
    assert [(cells, remark) for *cells, remark in rows] == list(zip(written(tables[number]), tables[number].remarks))
    assert lines[-1] == tables[number].notes[-1]


@pytest.mark.parametrize("number", ALL)
def test_text_fits_the_terminal_and_cuts_nothing_off(tables, number):
    lines = list(paper.run(number))
    assert max(map(len, lines)) <= 100
    words = " ".join(lines).split()
    head = " ".join(lines[: lines.index("-" * 100)]).split()
    columns = tables[number].header[tables[number].second : len(tables[number].header) - tables[number].noted]
    assert set(" ".join(columns).replace("ours: ", "").split()) <= set(head)
    for row, remark in zip(written(tables[number]), tables[number].remarks):
        assert set(" ".join((*row, remark)).split()) <= set(words)


def test_all_tables_come_in_order_and_a_shared_note_only_once(tables):
    lines = list(paper.run())
    assert [line for line in lines if line.startswith("Table ")] == [table.title for table in tables.values()]
    assert sum(line.startswith("Seconds per epoch cover") for line in lines) == 1
    titles = [row[0] for row in csv.reader(paper.run(style="csv")) if len(row) == 1]
    assert titles == [table.title for table in tables.values()]


def test_a_table_is_found_in_small_letters_and_by_our_numbers():
    assert list(paper.run("iv")) == list(paper.run("IV")) == list(paper.run("4")) == list(paper.run(4))


@pytest.mark.parametrize(
    "table, style, what",
    [
        ("VII", "text", "table 'VII'"),
        ("", "csv", "table ''"),
        ("0", "text", "table '0'"),
        ("7", "text", "I, II, III, IV, V, VI, or 1 to 6"),
        ("I", "html", "'html'"),
    ],
)
def test_an_unknown_table_or_style_is_refused_in_one_line(table, style, what):
    with pytest.raises(OptionError) as refusal:
        paper.run(table, style)  # refused before the first line is asked for
    line = str(refusal.value)
    assert what in line and "expected one of" in line and "\n" not in line


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Writes `measured.json` where the tables look for it."""
    monkeypatch.setattr(paper, "files", lambda package: tmp_path)
    return lambda figures: (tmp_path / "measured.json").write_text(json.dumps(figures), encoding="utf-8")


def test_what_was_measured_stands_beside_the_paper(measured):
    figures = {"accuracy": 80.5, "epochs": 7, "recipe": "some recipe", "seconds_per_epoch": 3.25, "machine": "a machine"}
    measured({"shallow-06-0.3x": figures, "shallow-06-0.4x dropout 0.3": {**figures, "seconds_per_epoch": None}})
    tables = paper.tables()
    cells = _cells(tables["III"], 3)
    assert (cells["ours: accuracy %"], cells["ours: s/epoch"]) == ("80.50", "3.25")
    assert cells["ours: epochs"] == 7
    assert tables["III"].notes[-1] == "Our shallow-06-0.3x: 7 epochs, some recipe, on a machine."
    ours = [(cells["ours: accuracy %"], cells["ours: s/epoch"]) for cells in (_cells(tables["IV"], row) for row in range(5))]
    assert ours == [("80.50" if row == 2 else "-", "-") for row in range(5)]
    assert [remark.endswith(paper.NOT_TRAINED) for remark in tables["IV"].remarks] == [row != 2 for row in range(5)]


def test_what_was_not_measured_is_an_empty_cell_of_the_csv(measured):
    measured({})
    first = next(csv.DictReader(paper.run("III", "csv")))
    assert (first["ours: parameters"], first["ours: accuracy %"]) == ("5081", "")


def test_models_says_after_how_many_epochs_our_accuracy_was_measured(measured):
    measured({"shallow-06-0.3x": {"accuracy": 80.5, "epochs": 7}})
    header, *lines = paper.models()
    rows = {line.split()[0]: line.split() for line in lines if line}
    assert "ours  epochs" in header and rows["shallow-06-0.3x"][-3:-1] == ["80.50", "7"]
    assert rows["shallow-06-0.4x"][-4:-1] == ["not", "trained", "-"]
    assert "paper trains for 200 epochs" in " ".join(lines)


def test_without_measurements_each_row_with_a_network_says_so(measured):
    for table in map(paper.tables().get, COMPARED):
        assert {row[table.header.index("ours: accuracy %")] for row in table.rows} == {"-"}
        models = [row[table.header.index("ours: model")] for row in table.rows]
        assert [paper.NOT_TRAINED in remark for remark in table.remarks] == [model != "no match" for model in models]


def test_the_shipped_measurements_are_of_networks_that_the_tables_have(tables):
    known = {_cells(tables[number], row)["ours: model"] for number in COMPARED for row in range(ROWS[number])}
    assert {name.partition(" dropout ")[0] for name in paper._measured()} <= known


def test_the_tables_need_no_heavy_package():
    script = "import sys; from minisqx.paper import comparison; list(comparison.run())"
    script += "; print({'numba', 'h5py', 'PIL'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "set()"
