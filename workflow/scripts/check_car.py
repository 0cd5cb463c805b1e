"""Check that the genome does not hold the CAR already, under its own name or another."""

import json

from carseq.construct import load_construct
from carseq.io.files import write_text
from carseq.reference.transgene import check_car_is_new
from carseq.study.construct_file import with_record
from carseq.workflow import job

with job(snakemake):
    given, params = snakemake.input, snakemake.params
    vector = with_record(given.construct, params.record)
    construct = load_construct(vector, name=params.name, form=params.form)
    doubts = []
    check_car_is_new(given.fasta, given.gtf, construct, doubts=doubts)
    checked = {"name": params.name, "doubts": doubts}
    write_text(json.dumps(checked) + "\n", snakemake.output[0])
