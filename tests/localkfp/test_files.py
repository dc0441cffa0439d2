"""What a run left behind is looked for among its own artifacts, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from localkfp.files import artifacts


@pytest.mark.parametrize("uri", ["link", "folder/../..", "gone", "with a \0"])
def test_an_artifact_that_leads_elsewhere_is_not_walked_through(tmp_path: Path, monkeypatch, uri):
    folder = tmp_path / "artifacts"
    (folder / "folder").mkdir(parents=True)
    (folder / "link").symlink_to("/")
    monkeypatch.setattr(Path, "rglob", lambda *_: pytest.fail("all of the machine would be walked through"))
    outputs = {"artifacts": {"data": [{"name": "data", "type": {"schemaTitle": ""}, "uri": f"{folder}/{uri}"}]}}

    assert [one.files for one in artifacts(folder, "run", outputs)] == [[]]
