"""How cells were sorted, in the words of a sheet."""

from __future__ import annotations

import pytest

from carseq.calling import gate_of


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("bulk", "unsorted"), ("not enriched", "unsorted"), ("all cells", "unsorted"),
        ("CD3+ CAR+", "car_enriched"), ("live/CD45+/BCMA-CAR pos", "car_enriched"), ("CAR T depleted", "car_depleted"),
        ("CAR\N{MINUS SIGN}", "car_depleted"), ("CD3+CAR-", "car_depleted"),
        ("CAR+ and CAR-", "other"), ("CD8+", "other"), ("scar+", "other"), ("CAR T cells", "other"),
    ],
)  # fmt: skip
def test_a_gate_on_the_car_is_told_within_longer_words(words: str, code: str) -> None:
    """After "CD3+ CAR+" the purity of the sort was given as the CAR T fraction, and compared over time."""
    assert gate_of(words) == code


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("CART19+ sort", "car_enriched"), ("CAR-BCMA+", "car_enriched"), ("scFv+", "car_enriched"),
        ("protein L+", "car_enriched"), ("EGFRt+ (MACS)", "car_enriched"), ("BCMA-Fc-", "car_depleted"),
        ("CAR (pos)", "car_enriched"), ("CAR(-)", "car_depleted"), ("sorted CAR-T cells", "car_enriched"),
        ("enriched for CAR T", "car_enriched"), ("depleted of CAR T cells", "car_depleted"),
        ("non-CAR T cells", "car_depleted"), ("CD3+ (no CAR sort)", "t_enriched"), ("not sorted for CAR", "other"),
        ("unsorted CAR T cells", "unsorted"), ("CD8+-sorted CAR T cells", "other"), ("CAR-CD19+", "other"),
        ("EGFR+", "other"), ("BCMA+", "other"), ("GFP+", "other"), ("CD45+", "other"),
        ("CD3 MACS", "t_enriched"), ("CD45+ CD3+", "t_enriched"), ("T cells (EasySep)", "t_enriched"),
        ("CD3 depleted", "other"), ("CD45- sort", "cd45_depleted"), ("CD45neg", "cd45_depleted"),
    ],
)  # fmt: skip
def test_a_gate_is_told_by_what_binds_the_car_and_its_negation(words: str, code: str) -> None:
    """After "scFv+" or "EGFRt+" a purity was called a fraction; "CD3+ (no CAR sort)" was a sort by the CAR."""
    assert gate_of(words) == code


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("EGFRt MACS", "car_enriched"), ("tEGFR", "car_enriched"), ("EGFRt- fraction", "car_depleted"),
        ("CARcd19 negative fraction", "car_depleted"), ("Protein L-biotin positive", "car_enriched"),
        ("sorted with anti-FMC63 antibody", "car_enriched"), ("FMC63 AF647+", "car_enriched"),
        ("anti-idiotype", "car_enriched"), ("anti-Id positive", "car_enriched"), ("anti-G4S linker+", "car_enriched"),
        ("Whitlow linker-", "car_depleted"), ("Strep-tag II+", "car_enriched"), ("c-Myc+", "car_enriched"),
        ("HA-tag+", "car_enriched"), ("tCD34 beads", "car_enriched"), ("CD34 selected (RQR8)", "car_enriched"),
        ("QBEND10+", "car_enriched"), ("CD19t+", "car_enriched"), ("truncated EGFR positive", "car_enriched"),
        ("LNGFR depleted", "car_depleted"), ("cetuximab-biotin selection", "car_enriched"),
        ("biotinylated BCMA +", "car_enriched"), ("CD22-Fc+", "car_enriched"), ("rhBCMA+", "car_enriched"),
        ("CAR_sorted_negative", "car_depleted"), ("CAR sort, flow-through", "car_depleted"),
        ("flow-through of CAR selection", "car_depleted"), ("negative fraction of CAR MACS", "car_depleted"),
        ("depleted of CAR+ T cells", "car_depleted"), ("CAR+ depleted", "car_depleted"),
        ("CAR T cells removed", "car_depleted"),
        ("negative for CAR", "car_depleted"), ("positive for CAR", "car_enriched"), ("CAR low", "car_enriched"),
        ("FACS-sorted CAR-T", "car_enriched"), ("CAR- (CD3+)", "car_depleted"), ("depleted (CAR)", "car_depleted"),
        ("CAR positive and negative", "other"), ("CAR+/-", "other"), ("CAR T cells sorted on CD8", "other"),
        ("CD8+ sorted from CAR T infusion product", "other"), ("CAR-NK+", "other"), ("CD3-CD45+", "other"),
        ("FITC-CD19+", "other"), ("CD271+", "other"), ("before CAR enrichment", "other"),
    ],
)  # fmt: skip
def test_a_sort_by_the_car_is_told_however_laboratories_write_it(words: str, code: str) -> None:
    """What was left of a sort ("CAR sort, flow-through", "depleted of CAR+ T cells") was taken for the CAR+ cells."""
    assert gate_of(words) == code


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("unsorted PBMC", "unsorted"), ("bulk CAR T product", "unsorted"), ("CAR-T unsorted", "unsorted"),
        ("CAR T-cell infusion product, not sorted", "unsorted"), ("whole blood", "unsorted"),
        ("PBMCs (Ficoll)", "unsorted"), ("live cells", "unsorted"), ("DAPI-", "unsorted"), ("pre-sort", "unsorted"),
        ("MACS dead cell removal", "unsorted"), ("Live singlets", "unsorted"), ("red blood cell lysis", "unsorted"),
        ("without sorting", "unsorted"), ("none", "unsorted"), ("unsorted (no CAR selection)", "unsorted"),
        ("DAPI- CD3+", "t_enriched"), ("CD3+ T cells", "t_enriched"), ("pan-T negative selection", "t_enriched"),
        ("untouched T cells", "t_enriched"), ("7-AAD- CD45-", "cd45_depleted"),
        ("FACS sorted PBMC", "other"), ("sorted", "other"), ("MACS", "other"), ("T cell depleted", "other"),
        ("T cells negative", "other"), ("PBMC, CD3 depleted", "other"), ("DAPI+", "other"), ("live CD45+", "other"),
    ],
)  # fmt: skip
def test_taking_dead_cells_out_is_no_sort(words: str, code: str) -> None:
    """Blood as "PBMC" and urine after "dead cell removal" were compared with nothing; the page called them sorted."""
    assert gate_of(words) == code
