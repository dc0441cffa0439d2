"""How KFP runs the preparation: beside the validation, not after it."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prepare_data(
    tables: dsl.Input[dsl.Dataset], data_version: str, model: str, store: str, prepared: dsl.Output[dsl.Dataset]
):
    """Join, clean and part the rows by time and by entity."""
    from pathlib import Path

    from components.prepare_data.step import prepare
    from components.rim import recorded
    from models import load

    with recorded("prepare_data", store) as facts:
        Path(prepared.path).mkdir(parents=True, exist_ok=True)
        done = prepare(Path(tables.path), Path(prepared.path), load(model))
        facts.update(done.facts() if done else {"left_to": "validate_data"}, data_version=data_version)
        prepared.metadata["data_version"] = data_version
