"""construct: the derived construct is written once and read back as it was."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from carseq.construct import load_construct, read_construct, write_construct
from carseq.construct.library import NAMES
from carseq.construct.parts import parts, sequences
from carseq.data import path as data_path
from carseq.errors import CarseqError


@pytest.mark.parametrize("name", NAMES)
def test_a_construct_is_read_back_equal(tmp_path, name):
    found = load_construct(data_path(f"constructs/{name}.gb"), name=name)
    write_construct(found, tmp_path, [])
    again = read_construct(tmp_path / "construct.json")
    assert again == found
    assert again.protein == found.protein
    pd.testing.assert_frame_equal(again.domains, found.domains)
    # The domains are the file's: they are not looked for again.
    assert "domain_rows" in vars(again)


def test_internal_transcripts_and_partial_constructs_are_kept(tmp_path):
    part, frame = parts(), sequences("orfs.fa")["ide-cel"]
    ltr = part["MoMuLV_U3"] + part["MoMuLV_R"] + part["MoMuLV_U5"]
    both = ltr + part["MoMuLV_psi"] + part["CMV_promoter"] + "GCCACC" + frame + ltr
    path = tmp_path / "v.fa"
    path.write_text(f">v\n{both}\n")
    found = load_construct(path)
    assert [t.name for t in found.transcripts] == ["unspliced", "spliced", "internal"]
    assert type(found).from_json(found.to_json()) == found
    path.write_text(f">v\n{frame[64:801]}\n")
    scfv = load_construct(path, form="partial")
    assert type(scfv).from_json(scfv.to_json()) == scfv


def test_another_layout_or_a_broken_file_is_told(tmp_path, surrogate):
    content = json.loads(surrogate.to_json())
    path = tmp_path / "construct.json"
    path.write_text(json.dumps({**content, "layout": 0}))
    with pytest.raises(CarseqError, match="another version"):
        read_construct(path)
    path.write_text(json.dumps({k: v for k, v in content.items() if k != "orf"}))
    with pytest.raises(CarseqError, match="cannot be read"):
        read_construct(path)
    with pytest.raises(CarseqError, match="cannot read"):
        read_construct(tmp_path / "none.json")


def test_a_construct_made_by_hand_needs_no_ends(surrogate):
    bare = replace(surrogate, five=None, three=None, notes=())
    assert type(bare).from_json(bare.to_json()) == bare
