"""How KFP runs the report: as the exit handler, so that a failed run has its page, too."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report(title: str, graph: dict, store: str, status: dsl.PipelineTaskFinalStatus, page: dsl.Output[dsl.HTML]):
    """One page of the run, from its records; whatever happened."""
    from pathlib import Path

    from components.report.step import build_report
    from components.rim import run_id

    built = build_report(store, run_id(), graph, title=title)
    Path(page.path).parent.mkdir(parents=True, exist_ok=True)
    Path(page.path).write_text(built.html, encoding="utf-8")
    print(f"{status.state}: the page of this run is at {built.url}")
