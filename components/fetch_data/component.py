"""How KFP runs the fetch: never from its cache, as the same URL may hold new bytes."""

from typing import NamedTuple

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def fetch_data(source: str, as_of: str, model: str, store: str, tables: dsl.Output[dsl.Dataset]) -> NamedTuple(
    "Fetched", [("data_version", str), ("rows", int), ("as_of", str)]
):
    """Every table of the model's contract as Parquet, and the hash of what they say."""
    from dataclasses import asdict
    from pathlib import Path

    from components.fetch_data.step import fetch
    from components.rim import recorded
    from models import load

    with recorded("fetch_data", store) as facts:
        fetched = fetch(source, Path(tables.path), load(model), as_of)
        facts.update(asdict(fetched))
        tables.metadata["data_version"] = fetched.data_version
        return fetched.data_version, sum(table.rows for table in fetched.tables), fetched.as_of
