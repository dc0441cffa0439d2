"""The report as KFP runs it, in the exit handler: the page of what the records say, whatever became of the run."""

from __future__ import annotations

import pytest
from kfp import dsl

from components.errors import GateRefused
from components.report.component import report
from components.rim import recorded
from storage import objects

GRAPH: dict[str, list[str]] = {"fetch_data": [], "validate_data": ["fetch_data"], "train_model": ["validate_data"]}


def start(store, file, state):
    status = dsl.PipelineTaskFinalStatus(
        state=state, pipeline_job_resource_name="run-7", pipeline_task_name="run", error_code=None, error_message=None
    )
    report.python_func(
        title="lamps", graph=GRAPH, store=store, status=status, page=dsl.HTML(name="page", uri=str(file))
    )


def test_the_page_of_a_failed_run_names_the_step_and_its_error(s3_run, tmp_path, capsys):
    with recorded("fetch_data", s3_run.store) as facts:
        facts["data_version"] = "d4ta"
    with pytest.raises(GateRefused), recorded("validate_data", s3_run.store):
        raise GateRefused("the lamp is broken", gate="contract", where="items.size", do="mend it")

    start(s3_run.store, tmp_path / "new" / "page.html", "FAILED")

    page = (tmp_path / "new" / "page.html").read_bytes()
    url = f"{s3_run.store}/runs/run-7/report.html"
    assert page == objects.read_bytes(url)
    for said in ("lamps", "run-7", "the lamp is broken", "items.size", "mend it", "did not run"):
        assert said in page.decode()
    assert capsys.readouterr().out == f"FAILED: the page of this run is at {url}\n"


def test_the_page_of_a_run_that_never_began_is_written_too(run, tmp_path, capsys):
    start(run.store, tmp_path / "page.html", "FAILED")

    assert (tmp_path / "page.html").read_bytes() == objects.read_bytes(f"{run.store}/runs/run-7/report.html")
    assert "did not run" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert capsys.readouterr().out.startswith("FAILED: ")
