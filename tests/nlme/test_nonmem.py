"""NONMEM tables: read rightly, or refused by line."""

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covary import nlme

TABLES = Path(__file__).parents[1] / "data" / "tables"
MODEL = nlme.OneCompartmentOral()
numbers = st.floats(-5, 5)


def table(tmp_path, text, name="table.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def test_nonmem_round_trip(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text(
        '"ID","TIME","AMT","RATE","II","ADDL","EVID","CMT","DV","MDV","WT"\n'
        "7,0,100,0,12,2,1,1,.,1,70\n7,0,0,.,.,.,0,.,0.5,0,70\n7,12,.,.,.,.,0,.,2.5,0,70\n7,20,.,.,.,.,0,.,.,1,70\n"
        "\nK2,1,60,20,0,0,1,2,.,1,55.5\nK2,1.5,.,.,.,.,2,.,.,1,.\nK2,3,.,.,.,.,0,.,4.25,0,55.5\n"
    )
    records = nlme.read_nonmem(table)
    design = records.design
    assert design.subject_ids == ("7", "K2")
    np.testing.assert_array_equal(design.dose_time_h, [[0, 12, 24], [1, 0, 0]])
    np.testing.assert_array_equal(design.dose_duration_h, [[0, 0, 0], [3, 0, 0]])
    np.testing.assert_array_equal(design.doses_before, [[1, 2], [1, 0]])
    np.testing.assert_array_equal(records.present, [[True, True], [True, False]])
    np.testing.assert_array_equal(design.covariates["WT"], [70, 55.5])
    nlme.write_nonmem(tmp_path / "again.csv", records)
    again = nlme.read_nonmem(tmp_path / "again.csv")
    np.testing.assert_array_equal(again.observation, records.observation)
    for name in ("time_h", "observed", "dose_time_h", "dose_amount", "dose_duration_h", "doses_before"):
        np.testing.assert_array_equal(getattr(again.design, name), getattr(design, name), err_msg=name)


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=6, unique=True).map(sorted),
    st.floats(1e-3, 1e3),
    numbers,
)
def test_nonmem_keeps_every_digit(tmp_path_factory, times, dose, value):
    path = tmp_path_factory.mktemp("nonmem") / "table.csv"
    design = nlme.Design.regular(times, n_subjects=2, dose=dose)
    records = nlme.Records.of(design, np.full((2, len(times)), value))
    nlme.write_nonmem(path, records)
    again = nlme.read_nonmem(path)
    np.testing.assert_array_equal(again.observation, records.observation)
    np.testing.assert_array_equal(again.design.time_h, np.tile(times, (2, 1)))
    np.testing.assert_array_equal(again.design.dose_amount, np.full((2, 1), dose))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,0,.,0,abc,0", "line 2: DV must be a number or `.`, got 'abc'"),
        ("1,0,.,0,.,0", "line 2: DV must be a number in an observation"),
        ("1,2,.,0,1,0\n1,1,.,0,1,0", "line 3: TIME must not decrease within subject 1, got 1 after 2"),
        ("1,0,.,0,1,0\n2,0,.,0,1,0\n1,1,.,0,1,0", "line 4: the rows of subject 1 must follow one another"),
        ("1,0,.,0,1", "line 2: must have 6 fields, got 5"),
        ("1,0,0,1,.,1\n1,1,.,0,1,0", "line 2: AMT must be > 0 in a dose, got 0"),
        ("1,0,.,5,1,0", "line 2: EVID must be 0, 1, 2, 3 or 4, got 5"),
        ("1,0,0,4,1,1", "line 2: AMT must be > 0 in a dose, got 0"),
        ("1,0,5,0,1,0", "line 2: AMT must be 0 or missing unless EVID is 1 or 4, got 5 with EVID 0"),
        ("1,0,5,1,2,0", "line 2: a dose (EVID 1) is no observation; give DV 2 its own row"),
        ("1,0,.,0,1_0,0", "line 2: DV must be a number or `.`, got '1_0'"),
        ("1,0,.,0,1,3", "line 2: MDV must be 0 or 1, got 3"),
        ("1,.,.,0,1,0", "line 2: TIME must be a number, got a missing value"),
        ("1,0,5,1,.,1", "no subject has an observation"),
        ("1,inf,.,0,1,0", "line 2: TIME must be finite"),
    ],
)
def test_malformed_tables_are_reported_by_line(tmp_path, rows, message):
    (tmp_path / "bad.csv").write_text("ID,TIME,AMT,EVID,DV,MDV\n" + rows + "\n")
    with pytest.raises(ValueError) as error:
        nlme.read_nonmem(tmp_path / "bad.csv")
    assert message in str(error.value) and "bad.csv" in str(error.value)


def test_every_malformed_row_is_reported(tmp_path):
    (tmp_path / "bad.csv").write_text("ID,TIME,DV\n1,0,x\n1,1,2\n1,2,y\n")
    with pytest.raises(ValueError, match=r"line 2: (.|\n)*line 4: "):
        nlme.read_nonmem(tmp_path / "bad.csv")
    (tmp_path / "none.csv").write_text("ID,DV\n1,0\n")
    with pytest.raises(ValueError, match="must have the columns ID, TIME and DV, missing TIME"):
        nlme.read_nonmem(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "01-amount-evid0.csv",
            "line 2: AMT must be 0 or missing unless EVID is 1 or 4, got 100 with EVID 0",
        ),
        ("02-dose-column.csv", "line 2: no dose was found; .* there is no column AMT (rename DOSE to AMT"),
        ("03-amount-on-observation.csv", "line 2: AMT must be 0 or missing unless EVID is 1 or 4"),
    ],
)
def test_doses_are_never_lost(name, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        nlme.read_nonmem(TABLES / name)


def test_rows_that_nonmem_takes_for_comments_are_left_out_or_refused(tmp_path):
    text = "ID,TIME,DV\n1,0,1\n1,1,2\nC1,2,9\nC7,0,9\n#7,0,9\n2,0,3\n"
    path = table(tmp_path, text)
    with pytest.raises(
        ValueError, match=r"line 4: ID C1 among numbers is a comment to NONMEM; .*\n.*line 5: ID C7"
    ):
        nlme.read_nonmem(path)
    for ignore in ("C", "@", ["@", "TIME>5"]):
        records = nlme.read_nonmem(path, ignore=ignore)
        assert records.design.subject_ids == ("1", "2")
        np.testing.assert_array_equal(records.observation[records.present], [1, 2, 3])
    letters = table(tmp_path, "ID,TIME,DV\nC1,0,1\nC7,0,9\n", "letters.csv")
    assert nlme.read_nonmem(letters).design.subject_ids == ("C1", "C7")


def test_columns_that_look_like_events_but_are_none_are_named(tmp_path, caplog):
    text = "ID,TIME,AMT,RATEE,ADM,INFRATE,WT,DV\n1,0,1,2,1,2,70,.\n1,1,.,0,0,0,70,1\n"
    nlme.read_nonmem(table(tmp_path, text), covariates=["WT"])
    assert not caplog.messages
    nlme.read_nonmem(table(tmp_path, text))
    (line,) = caplog.messages
    assert "RATEE, ADM, INFRATE count as covariates only, not as doses or observations" in line


def test_a_dose_into_a_compartment_that_the_model_lacks_is_refused_by_line(tmp_path):
    path = table(tmp_path, "ID,TIME,AMT,CMT,EVID,DV\n1,0,5,1,1,.\n1,1,.,.,0,2\n1,2,5,3,1,.\n1,3,.,.,0,2\n")
    message = r"subject 1: doses must go to compartments 1 … 2 of .*, got 3 at 2 h \(line 4 of the table\)"
    with pytest.raises(ValueError, match=message):
        nlme.fit_population(MODEL, nlme.read_nonmem(path), MODEL.default_parameters())


@pytest.mark.parametrize("column", ["DVID", "YTYPE", "CMT"])
def test_a_column_says_which_output_is_observed(tmp_path, column):
    path = table(tmp_path, f"ID,TIME,DV,{column}\n1,0,1,2\n1,1,2,3\n")
    np.testing.assert_array_equal(nlme.read_nonmem(path).design.output, [[2, 3]])


@pytest.mark.parametrize("decimal", [".", ","])
def test_doses_in_another_column_are_found_whatever_the_decimal_mark(tmp_path, decimal):
    text = f"ID;TIME;DOSE;DV;MDV\n1;0;100{decimal}5;.;1\n1;1;.;2{decimal}1;0\n"
    with pytest.raises(ValueError, match=r"line 2: no dose was found; .* \(rename DOSE to AMT if it"):
        nlme.read_nonmem(table(tmp_path, text))


def test_a_column_of_texts_holds_no_doses(tmp_path, caplog):
    text = "ID,TIME,DOSE,DV,MDV\n1,0,low,.,1\n1,1,low,2,0\n"
    assert nlme.read_nonmem(table(tmp_path, text)).design.n_subjects == 1
    assert "no dose was found" in caplog.text


@pytest.mark.parametrize(
    ("name", "ids", "times", "values"),
    [
        ("06-never-observed.csv", ("1", "3"), [[1, 4], [1]], [[2.1, 1.4], [2.4]]),
        ("07-hash.csv", ("1",), [[1]], [[2.1]]),
        ("08-c-column.csv", ("1",), [[1, 4]], [[2.1, 1.4]]),
        ("09-at-header.csv", ("1",), [[1]], [[2.1]]),
        ("10-table.tab", ("1",), [[1]], [[2.1]]),
        ("11-blanks.dat", ("1",), [[1]], [[2.1]]),
        ("12-semicolon.csv", ("1",), [[1.5]], [[2.1]]),
        ("13-latin1.csv", ("1",), [[1]], [[2.1]]),
        ("14-varying.csv", ("1",), [[1, 25]], [[2.1, 1.2]]),
        ("15-text.csv", ("1",), [[1]], [[2.1]]),
        ("16-trailing-commas.csv", ("1",), [[1]], [[2.1]]),
        ("17-covariate-missing.csv", ("1", "2"), [[1], [1]], [[2.1], [2.5]]),
        ("18-one-and-one-point-zero.csv", ("1", "2"), [[1, 4], [1]], [[2.1, 1.4], [2.4]]),
    ],
)
def test_tables_of_every_shape_are_read(name, ids, times, values):
    records = nlme.read_nonmem(TABLES / name)
    assert records.design.subject_ids == ids
    for i, (time, value) in enumerate(zip(times, values, strict=True)):
        np.testing.assert_array_equal(records.design.time_h[i][records.present[i]], time)
        np.testing.assert_array_equal(records.observation[i][records.present[i]], value)
    np.testing.assert_array_equal(records.design.dose_amount, np.full((len(ids), 1), 100.0))
    np.testing.assert_array_equal(records.design.start_h, 0.0)


def test_what_a_model_does_not_use_is_left_out_in_one_line(tmp_path, caplog):
    rows = "".join(f"{i},0,1,1,.,F,x\n{i},1,0,0,2,F,x\n" for i in range(1000))
    records = nlme.read_nonmem(table(tmp_path, "ID,TIME,AMT,EVID,DV,SEX,COMMENT\n" + rows))
    assert records.design.n_subjects == 1000 and not records.design.covariates
    (line,) = caplog.messages
    assert line.endswith("not used as covariates: SEX, COMMENT")


def test_at_most_ten_lines_of_complaint(tmp_path):
    rows = "".join(f"1,{i},x\n" for i in range(500))
    with pytest.raises(ValueError) as error:
        nlme.read_nonmem(table(tmp_path, "ID,TIME,DV\n" + rows))
    lines = str(error.value).splitlines()
    assert len(lines) == 10 and "line 2" in lines[0] and "and 491 more lines" in lines[-1]


def test_a_covariate_is_demanded_only_where_it_is_used():
    path = TABLES / "17-covariate-missing.csv"
    assert list(nlme.read_nonmem(path).design.covariates) == ["WT"]
    assert list(nlme.read_nonmem(path, covariates=["wt"]).design.covariates) == ["WT"]
    with pytest.raises(ValueError, match="subject 2 has no value of the covariate CRCL"):
        nlme.read_nonmem(path, covariates=["WT", "CRCL"])

    class Renal(nlme.OneCompartmentOral):
        def individual(self, theta, eta, covariates):
            return super().individual(theta, eta, covariates) | {"crcl": covariates["CRCL"]}

    design = nlme.read_nonmem(path).design
    with pytest.raises(ValueError, match=r"Renal.individual needs 'CRCL'.* subject 2 has no value"):
        nlme.predictions(Renal(), MODEL.default_parameters(), np.zeros((2, 3)), design)
    with pytest.raises(ValueError, match="there is no column AGE in ID, TIME"):
        nlme.read_nonmem(path, covariates=["AGE"])


def test_a_dose_without_observations_is_left_out_with_one_warning(caplog):
    nlme.read_nonmem(TABLES / "06-never-observed.csv")
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert record.message.endswith("left out because they have no observations: subject 2")


@pytest.mark.parametrize("censoring", ["M1", "M3", "M4"])
def test_censored_observations(censoring):
    records = nlme.read_nonmem(TABLES / "04-censored-rows.csv", censoring=censoring)
    assert not records.design.covariates
    if censoring == "M1":
        assert records.present.tolist() == [[True, False], [True, True]] and records.bounds is None
        return
    low = -np.inf if censoring == "M3" else 0.0
    np.testing.assert_array_equal(records.bounds.low, [[np.nan, low], [np.nan, np.nan]])
    np.testing.assert_array_equal(records.bounds.high, [[np.nan, 0.05], [np.nan, np.nan]])
    np.testing.assert_array_equal(records.bounds.floor[1], low)
    second = nlme.read_nonmem(TABLES / "05-censored-subject.csv", censoring=censoring)
    np.testing.assert_array_equal(second.bounds.high[1], [0.05, 0.05])


def test_limits_count_with_m4_only(tmp_path, caplog):
    path = table(tmp_path, "ID,TIME,DV,CENS,LIMIT\n1,0,3,0,0.1\n1,1,0.5,1,0.1\n1,2,4,-1,.\n")
    bounds = nlme.read_nonmem(path, censoring="M4").bounds
    np.testing.assert_array_equal(bounds.low, [[np.nan, 0.1, 4.0]])
    np.testing.assert_array_equal(bounds.high, [[np.nan, 0.5, np.inf]])
    np.testing.assert_array_equal(bounds.floor, [[0.1, 0.1, 0.0]])
    assert not caplog.messages[1:] and "no dose" in caplog.text
    bounds = nlme.read_nonmem(path).bounds
    np.testing.assert_array_equal(bounds.low, [[np.nan, -np.inf, 4.0]])
    np.testing.assert_array_equal(bounds.floor, np.full((1, 3), -np.inf))
    assert "LIMIT does not count with censoring M3" in caplog.messages[-1]
    for row, message in (
        ("1,0,3,0,5", "DV must lie above its lower limit 5"),
        ("1,0,3,-1,5", "DV must lie above its lower limit 5"),
        ("1,0,3,1,5", "LIMIT must be below DV in a censored observation, got 5 and 3"),
    ):
        path = table(tmp_path, f"ID,TIME,DV,CENS,LIMIT\n{row}\n")
        with pytest.raises(ValueError, match=f"line 2: {message}"):
            nlme.read_nonmem(path, censoring="M4")


def test_the_value_below_a_limit_is_the_limit(tmp_path, caplog):
    def read(column, value, **choice):
        path = table(tmp_path, f"ID,TIME,DV,{column}\n1,0,3,0\n1,1,{value},1\n")
        return nlme.read_nonmem(path, **choice)

    caplog.set_level("CRITICAL")
    np.testing.assert_array_equal(read("BLQ", 0.5).bounds.high, [[np.nan, 0.5]])
    assert read("BLQ", 0, censoring="M1").present.sum() == 1
    with pytest.raises(
        ValueError, match=r"line 3: DV must be the limit of quantification where BLQ is 1, got 0"
    ):
        read("BLQ", 0)
    caplog.set_level("WARNING")
    np.testing.assert_array_equal(read("CENS", 0).bounds.high, [[np.nan, 0.0]])
    assert "censored observations with DV 0 are known to lie below 0" in caplog.text


def test_durations_of_infusions(tmp_path):
    for column, cell in (("RATE", 20), ("DUR", 3), ("TINF", 3)):
        path = table(tmp_path, f"ID,TIME,AMT,EVID,DV,{column}\n1,0,60,1,.,{cell}\n1,1,0,0,2,0\n")
        np.testing.assert_array_equal(nlme.read_nonmem(path).design.dose_duration_h, [[3.0]])
    both = table(tmp_path, "ID,TIME,AMT,EVID,DV,RATE,DUR\n1,0,60,1,.,20,3\n1,1,0,0,2,0,0\n")
    assert nlme.read_nonmem(both).design.dose_rate is None  # the duration stays, also with F ≠ 1
    path = table(tmp_path, "ID,TIME,AMT,EVID,DV,RATE,DUR\n1,0,60,1,.,20,4\n1,1,0,0,2,0,0\n")
    with pytest.raises(ValueError, match="line 2: DUR must be AMT / RATE = 3, got 4"):
        nlme.read_nonmem(path)


@pytest.mark.parametrize(
    ("header", "first", "second"),
    [
        ("TIME", "8:30", "10:00"),
        ("TIME", "2024-03-01 23:00", "2024-03-02T00:30:00"),
        ("DATE,TIME", "2/28/2024,23:00", "2/29/2024,0:30"),
        ("DAT1,TIME", "28/02/24,23:00", "29-02-24,0:30"),
        ("DAT2,TIME", "24-2-28,23", "24-2-29,0.5"),
        ("DAT3,TIME", "2024/28/2,23", "2024/29/2,0:30"),
        ("DATE,TIME", "2-27,23:00", "2-28,0:30"),
        ("DAT1,TIME", "27/2,23:00", "28/2,0:30"),
        ("DATE,TIME", "-1,23", "0,0.5"),
        ("DATE,TIME", "2024-02-28,23:00", "2024-02-29,0:30"),
        ("DATE,TIME", "3,23:00", "4,0:30"),
    ],
)
def test_clock_times_count_from_the_first_row(tmp_path, header, first, second):
    path = table(tmp_path, f"ID,{header},AMT,EVID,DV\n1,{first},100,1,.\n1,{second},0,0,2.5\n")
    design = nlme.read_nonmem(path).design
    np.testing.assert_allclose(design.time_h, [[1.5]], atol=1e-9)
    np.testing.assert_array_equal(design.dose_time_h, [[0.0]])


@pytest.mark.parametrize(
    ("header", "first", "said"),
    [
        ("DATE", "2/28/2024", "month/day/year"),
        ("DATE", "2024-02-28", "year/month/day"),
        ("DAT3", "2024-28-02", "year/day/month"),
        ("DATE", "2-28", "month/day"),
        ("DAT3", "28-2", "day/month"),
        ("DATE", "3", None),
    ],
)
def test_it_is_said_how_dates_are_read(tmp_path, caplog, header, first, said):
    nlme.read_nonmem(table(tmp_path, f"ID,{header},TIME,DV\n1,{first},23:00,1\n"))
    assert (f"{header} is read as {said}" in caplog.text) if said else ("is read as" not in caplog.text)


def test_dates_count_where_time_has_no_colon_as_in_the_example_of_nm_tran(tmp_path):
    rows = ["1,10-1-86,9:15", "1,10-1-86,14:40", "1,10-2-86,8:30", "2,10-12,8", "2,10-14,10"]
    path = table(tmp_path, "ID,DATE,TIME,DV\n" + "".join(f"{row},1\n" for row in rows))
    records = nlme.read_nonmem(path)
    found = records.design.time_h[records.present]
    np.testing.assert_allclose(found, [0, 5 + 25 / 60, 23.25, 0, 50])


def test_dates_beside_elapsed_hours_are_refused(tmp_path):
    path = table(tmp_path, "ID,DATE,TIME,DV\n1,3/1/2024,0,1\n1,3/2/2024,30,1\n")
    with pytest.raises(ValueError, match=r"line 3: TIME must be an hour of the day where DATE .*; .* rename"):
        nlme.read_nonmem(path)
    path = table(tmp_path, "ID,DATE,TIME,DV\n1,baseline,0,1\n")
    with pytest.raises(
        ValueError, match="line 2: DATE must be a date as month/day/year, or a day, got 'base"
    ):
        nlme.read_nonmem(path)


def test_days_may_have_decimal_commas(tmp_path):
    text = "ID;DATE;TIME;DV\n1;1,5;8:00;1\n1;2,5;9:00;2\n"
    np.testing.assert_allclose(nlme.read_nonmem(table(tmp_path, text)).design.time_h, [[0, 25]])


def test_wrong_clock_times(tmp_path):
    path = table(tmp_path, "ID,DATE,TIME,DV\n1,30/2/2024,8:00,1\n1,2/28/2024,25:00,2\n")
    with pytest.raises(ValueError) as error:
        nlme.read_nonmem(path)
    first, second = str(error.value).splitlines()
    assert "line 2: DATE must be a date as month/day/year, got '30/2/2024'" in first
    assert "line 3: TIME must be a time of day, got '25:00'" in second


@pytest.mark.parametrize(
    ("choice", "times"),
    [
        ({"ignore": "DV.EQ.0"}, [1, 2]),
        ({"ignore": "(DV==0, SEX.EQ.F)"}, [2]),
        ({"ignore": ["DV.EQN.0", "TIME>=2"]}, [1]),
        ({"accept": "SEX.EQ.F"}, [1]),
        ({"accept": "TIME.LT.2"}, [0, 1]),
    ],
)
def test_ignore_and_accept(tmp_path, choice, times):
    path = table(tmp_path, "ID,TIME,DV,SEX\n1,0,0,M\n1,1,4,F\n1,2,5,M\n")
    np.testing.assert_array_equal(nlme.read_nonmem(path, **choice).design.time_h, [times])


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"ignore": "DV"}, "ignore: a condition must look like `DV.EQ.0` or `WT>80`, got 'DV'"),
        ({"accept": "AGE>3"}, "accept: there is no column AGE"),
        ({"ignore": "SEX>F"}, "ignore: SEX can be compared with a number only, got 'F'"),
        ({"ignore": "DV=1", "accept": "DV=2"}, "give ignore or accept, not both"),
    ],
)
def test_wrong_conditions(tmp_path, choice, message):
    path = table(tmp_path, "ID,TIME,DV,SEX\n1,0,0,M\n")
    with pytest.raises(ValueError, match=message):
        nlme.read_nonmem(path, **choice)


@given(
    separator=st.sampled_from([",", ";", "\t", " "]),
    mark=st.sampled_from(["", "#", "@"]),
    ending=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
    title=st.booleans(),
    notation=st.sampled_from(["{:.1f}", "{:.4E}", "{:g}"]),
    case=st.sampled_from([str.upper, str.lower, str.capitalize]),
)
def test_one_table_in_many_dresses(
    tmp_path_factory, separator, mark, ending, encoding, title, notation, case
):
    rows = [(1, 0, 100, 1, "."), (1, 1.5, 0, 0, 2.5), (2, 0, 100, 1, "."), (2, 4, 0, 0, 1.25)]
    cells = [[c if c == "." else notation.format(c) for c in row] for row in rows]
    cells[-1][-1] = "1.25"
    if separator == ";":
        cells = [[c if c == "." else c.replace(".", ",") for c in row] for row in cells]
    lines = [list(map(case, ["ID", "TIME", "AMT", "EVID", "DV"])), *cells]
    text = ending.join(separator.join(line) for line in lines) + ending
    text = ("TABLE NO.  1" + ending if title else "") + mark + text
    path = table(tmp_path_factory.mktemp("t"), text, encoding=encoding)
    records = nlme.read_nonmem(path)
    assert records.design.subject_ids == ("1", "2")
    np.testing.assert_array_equal(records.design.time_h, [[1.5], [4.0]])
    np.testing.assert_array_equal(records.observation, [[2.5], [1.25]])
    np.testing.assert_array_equal(records.design.dose_amount, [[100.0], [100.0]])


def test_a_design_without_observed_values(tmp_path):
    text = (
        "ID,TIME,AMT,EVID,CMT,WT\n1,0,100,1,1,70\n1,1,0,0,.,70\n1,4,0,0,.,70\n2,0,50,1,1,60\n2,2,0,0,.,60\n"
    )
    path = table(tmp_path, text)
    with pytest.raises(ValueError, match="must have the columns ID, TIME and DV, missing DV"):
        nlme.read_nonmem(path)
    design = nlme.read_design(path)
    rows = [line.split(",") for line in text.splitlines()]
    filled = "\n".join(
        ",".join([*row, "DV" if i == 0 else "1" if row[3] == "0" else "."]) for i, row in enumerate(rows)
    )
    same = nlme.read_nonmem(table(tmp_path, filled + "\n", "filled.csv")).design
    for name in ("time_h", "observed", "dose_time_h", "dose_amount", "doses_before"):
        np.testing.assert_array_equal(getattr(design, name), getattr(same, name))
    simulation = nlme.simulate(MODEL, MODEL.default_parameters(), np.zeros((2, 3)), design, 1)
    ka, cl, v = np.exp([0.45, 1.0, 3.45])
    k = cl / v
    after = {t: ka / (v * (ka - k)) * (np.exp(-k * t) - np.exp(-ka * t)) for t in (1, 2, 4)}
    np.testing.assert_allclose(
        simulation.prediction[design.observed], [100 * after[1], 100 * after[4], 50 * after[2]], rtol=1e-9
    )
    assert np.isfinite(simulation.observation[design.observed]).all()
    np.testing.assert_array_equal(design.covariates["WT"], [70, 60])
