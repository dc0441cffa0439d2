"""Gates that refuse in the whole main flow; the accepting twin is the good run. (Parity: tests of validate_onnx.)"""

from __future__ import annotations

import hashlib

import onnxruntime
import pytest

import models
from components.reading import CLASSES, PROBABILITIES
from storage import objects
from tests.pipelines.conftest import TOY, states

pytestmark = pytest.mark.pipeline
STEPS = [
    "fetch_data",
    "validate_data",
    "prepare_data",
    "train_model",
    "evaluate_model",
    "convert_to_onnx",
    "validate_onnx",
    "decide",
]
REFUSE_MODELS = {
    "Statement": [
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::models/store/models/*",
        }
    ]
}


def refused_at(result, step, gate):
    """The run failed in that step by that gate, and no step after it ran. The step's own words come back."""
    assert result.state == "FAILED"
    assert [name for name, state in states(result).items() if state != "SUCCEEDED"] == [step]
    error = result.records[step]["error"]
    assert (error["kind"], error["gate"]) == ("gate", gate)
    return error["what"]


def test_the_good_run_goes_from_s3_to_s3_and_a_refused_bucket_leaves_nothing_visible(s3_world, s3, package, tmp_path):
    s3_world.data(seed=1)
    given = {"git_commit": "c0ffee", "environment": "test"}

    def run():  # cached as far as it may be, so that the second run is its last steps alone
        return s3_world.run_with_cache(package().let_kfp_cache("fetch_data"), tmp_path / "cache", **given)

    good = run()

    assert {step: record["state"] for step, record in good.items()} == dict.fromkeys(
        [*STEPS, "publish_model"], "SUCCEEDED"
    )
    assert good["decide"]["facts"]["verdict"] == "promote"
    champion = s3_world.registry.alias("toy", "champion")
    assert champion == s3_world.registry.alias("toy", "candidate")
    assert champion.url == f"{s3_world.store}/models/toy/{champion.sha256}/model.onnx"
    assert champion.lineage["git_commit"] == "c0ffee"
    assert champion.lineage["run"] == "cached-1"
    assert champion.lineage["data_version"] == good["fetch_data"]["facts"]["data_version"]
    assert champion.metrics["time.top_1"] > champion.metrics["time.prior_top_1"]
    content = objects.read_bytes(champion.url)
    assert hashlib.sha256(content).hexdigest() == champion.sha256
    session = onnxruntime.InferenceSession(content)
    assert [output.name for output in session.get_outputs()] == sorted([CLASSES, PROBABILITIES])
    assert [put.name for put in session.get_inputs()] == [f.name for f in models.load(TOY).CONTRACT.features]
    assert "Promote" in s3_world.page()

    s3_world.forget_models()
    for name in objects.names(objects.join(s3_world.store, "models", "toy", champion.sha256)):
        s3.client.delete_object(Bucket="models", Key=f"store/models/toy/{champion.sha256}/{name}")
    s3.put_policy("models", REFUSE_MODELS)
    refused = run()

    assert set(refused) == {"decide", "publish_model"}  # the rest came from KFP's cache
    error = refused["publish_model"]["error"]
    assert error["kind"] == "error"
    assert "store/models/toy" in error["where"]
    assert s3_world.registry.versions("toy") == []
    assert s3_world.registry.alias("toy", "champion") is None
    assert objects.names(objects.join(s3_world.store, "models")) == []
    assert error["what"] in s3_world.page()


def test_a_model_that_is_published_already_changes_nothing(world, package, champion):
    world.data(seed=1)
    champion.put_into(world)
    before = world.registry.versions("toy")

    result = world.run(package())

    assert result.state == "SUCCEEDED"
    assert result.records["decide"]["facts"]["verdict"] == "keep"  # as good as the champion, being the champion
    assert result.records["publish_model"]["facts"]["already_published"] is True
    assert [version.version for version in world.registry.versions("toy")] == ["1"]
    assert world.registry.alias("toy", "champion").sha256 == before[0].sha256


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("missing_column", "the column is missing"),
        ("nulls", "not null"),
        ("duplicate_keys", "unique"),
    ],
)
def test_bad_data_stops_the_run_before_training(world, package, bad, said):
    world.data(seed=1, bad=bad)

    result = world.run(package())

    assert said in refused_at(result, "validate_data", "contract")
    [problem] = result.records["validate_data"]["facts"]["problems"]
    assert said in problem["rule"]
    assert problem["count"] > 0
    assert len(problem["examples"]) == (0 if bad == "missing_column" else min(3, problem["count"]))
    assert "train_model" not in result.records
    assert f"{problem['table']}.{problem['column']}" in world.page("validate_data.html")
    assert said in world.page()


def test_a_leaking_split_is_not_trained_on(world, package):
    world.data(seed=1)
    leak = (
        "import polars as pl\n"
        "train, unseen = (Path(prepared.path) / f'{part}.parquet' for part in ('train', 'test_unseen'))\n"
        "pl.concat([pl.read_parquet(train), pl.read_parquet(unseen)]).write_parquet(train)"
    )

    result = world.run(package().tamper("prepare_data", "facts.update", leak))

    assert "of the test by unseen entities are in the training rows too" in refused_at(result, "train_model", "split")


def test_an_onnx_file_changed_after_its_conversion_goes_no_further(world, package):
    world.data(seed=1)
    change = "onnx_file = Path(onnx_model.path)\nonnx_file.write_bytes(onnx_file.read_bytes() + b'\\x00')"

    result = world.run(package().tamper("convert_to_onnx", "return done.onnx_sha256", change))

    # evaluate_model stands beside, and may or may not have run
    result.records.pop("evaluate_model", None)
    assert "is not the one that was converted" in refused_at(result, "validate_onnx", "onnx-hash")
    assert world.registry.versions("toy") == []


def test_a_worse_candidate_is_blocked_and_a_champion_of_another_contract_is_not_compared(
    world, package, champion, tmp_path
):
    def judged():  # cached as far as it may be, so that the second run is its last steps alone
        learned_nothing = {"epochs": 1, "learning_rate": 1e-9}
        done = package().let_kfp_cache("fetch_data")
        return world.run_with_cache(done, tmp_path / "cache", hyperparameters=learned_nothing)

    world.data(seed=1)
    champion.put_into(world)
    worse = judged()

    error, facts = worse["decide"]["error"], worse["decide"]["facts"]
    assert (error["kind"], error["gate"]) == ("gate", "decision")
    assert "champion version 1" in error["what"]
    assert facts["verdict"] == "block"
    assert facts["compared"]["high"] < 0
    assert "publish_model" not in worse
    assert [version.version for version in world.registry.versions("toy")] == ["1"]
    assert world.registry.alias("toy", "champion").version == "1"
    assert "block" in world.page()

    world.forget_models()
    champion.put_into(world, contract="0" * 64)
    foreign = judged()

    assert set(foreign) == {"decide"}  # the rest came from KFP's cache
    error = foreign["decide"]["error"]
    assert (error["kind"], error["gate"]) == ("gate", "decision")
    assert "made under another contract (000000000000…" in error["what"]
    assert foreign["decide"]["facts"]["compared"] is None
    assert [version.version for version in world.registry.versions("toy")] == ["1"]


def test_the_same_url_with_new_bytes_is_trained_anew_though_kfps_cache_is_on(world, package, tmp_path):
    def only_trained(done):
        enough = "raise SystemExit('enough')"  # what comes after training is not asked here, and takes its time
        done.tamper("evaluate_model", "from pathlib", enough).tamper("convert_to_onnx", "from pathlib", enough)
        return world.run_with_cache(done, tmp_path / "cache")

    world.data(seed=1)
    before = only_trained(package().let_kfp_cache("fetch_data"))
    world.data(seed=2)

    stale = only_trained(package().let_kfp_cache("fetch_data"))
    anew = only_trained(package())

    assert before["train_model"]["state"] == "SUCCEEDED"
    assert not {"fetch_data", "train_model"} & set(stale)  # what would happen if the fetch were cached
    assert anew["train_model"]["facts"]["data_version"] == anew["fetch_data"]["facts"]["data_version"]
    assert anew["train_model"]["facts"]["data_version"] != before["train_model"]["facts"]["data_version"]
    assert anew["train_model"]["facts"]["weights_sha256"] != before["train_model"]["facts"]["weights_sha256"]
    files = [path for path in world.folder.rglob("*") if path.is_file()]
    assert "model.keras" in {path.name for path in files}
    assert [
        path for path in files if path.suffix in (".pkl", ".joblib", ".npy") or path.read_bytes()[:1] == b"\x80"
    ] == []
