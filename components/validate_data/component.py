"""How KFP runs the validation: the report is written first, then the step fails."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def validate_data(
    tables: dsl.Input[dsl.Dataset], data_version: str, as_of: str, model: str, store: str, report: dsl.Output[dsl.HTML]
):
    """Stop the run when the data breaks the model's contract."""
    from pathlib import Path

    from components.fetch_data.step import day
    from components.rim import recorded, run_folder
    from components.validate_data.step import validate
    from models import load
    from storage import objects

    with recorded("validate_data", store) as facts:
        validation = validate(Path(tables.path), load(model), day(as_of))
        facts.update(validation.facts(), data_version=data_version)
        page = validation.html().encode()
        Path(report.path).parent.mkdir(parents=True, exist_ok=True)
        Path(report.path).write_bytes(page)
        objects.write_bytes(objects.join(run_folder(store), "validate_data.html"), page)
        validation.require()
