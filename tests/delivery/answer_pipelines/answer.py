"""Train, decide, publish. The model is a text, and how good it is stands in the released code: `models/answer.py`."""

from pathlib import Path

from kfp import dsl, kubernetes

from components import IMAGE
from models.gates import Gates

GATES = Gates.read(Path(__file__).with_name("gates.yaml")).constants()
GRAPH = {"train_model": [], "decide": ["train_model"], "publish_model": ["decide"]}


def _placed(task: dsl.PipelineTask, name: str) -> dsl.PipelineTask:
    task.set_cpu_limit("1").set_memory_limit("200M").set_display_name(name).set_caching_options(False)
    kubernetes.use_field_path_as_env(task, env_name="PIPELINE_RUN_ID", field_path="metadata.labels['pipeline/runid']")
    return task


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train_model(source: str, mood: str, store: str) -> str:
    """The model; or, as `mood` says, an error, or a long sleep."""
    import time

    from components.rim import recorded
    from models import answer  # type: ignore[attr-defined]  # of the released project

    with recorded("train_model", store):
        print(f"trained by the code of {answer.NAME}")
        if mood == "failing":
            raise ValueError("the disk is full")
        if mood == "hanging":
            time.sleep(300)
        return f"{answer.NAME} on {source}"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def decide(trained: str, source: str, gates: dict, store: str, registry: str) -> str:
    """`promote` when it is better than the champion, `keep` when it is as good; else the gate says no."""
    from components.errors import GateRefused
    from components.rim import recorded
    from models import answer  # type: ignore[attr-defined]  # of the released project
    from storage.registry import open_registry

    with recorded("decide", store) as facts:
        champion = open_registry(registry).alias("answer", "champion")
        held = champion.metrics["time.top_1"] if champion else 0.0
        quality = answer.QUALITY + {"bad week": -0.05, "rich week": 0.05}.get(source, 0)
        floor = gates["floors"]["time.top_1"]
        row = {"name": "time.top_1", "value": quality, "condition": ">=", "limit": floor}
        verdict = "block" if quality < max(floor, held) else "promote" if quality > held else "keep"
        sets = {"time": {"top_1": quality}}
        row["passed"] = quality >= floor
        facts.update(verdict=verdict, reasons=[f"{quality} against {held}"], gates=[row], sets=sets)
        facts.update(champion={"version": champion.version, "sha256": champion.sha256} if champion else None)
        if verdict == "block":
            what = f"the candidate is blocked: {quality} against {held}"
            raise GateRefused(what, gate="decision", where="decide", do="train a better one")
        return verdict


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def publish_model(
    trained: str, verdict: str, gates: dict, source: str, git_commit: str, store: str, registry: str
) -> str:
    """As the real step does, of a text."""
    import hashlib

    from components.publish_model.step import publish
    from components.rim import recorded, run_id
    from models import answer  # type: ignore[attr-defined]  # of the released project
    from models.gates import Gates
    from storage.registry import open_registry

    with recorded("publish_model", store) as facts:
        rooms = open_registry(registry)
        champion = rooms.alias("answer", "champion")
        done = publish(
            {"model.onnx": trained.encode(), "classes.json": b"[]"},
            name="answer",
            verdict=verdict,
            judged_sha256=hashlib.sha256(trained.encode()).hexdigest(),
            judged_against=champion.version if champion else None,
            store=store,
            registry=rooms,
            metrics={"time.top_1": answer.QUALITY + {"bad week": -0.05, "rich week": 0.05}.get(source, 0)},
            lineage={"run": run_id(), "git_commit": git_commit, "contract": "", "gates": Gates.of(gates).sha256()},
        )
        facts.update(done.facts(), data_version=hashlib.sha256(source.encode()).hexdigest())
        return done.version


@dsl.pipeline(name="answer", description="Train, decide, publish.")
def answer(
    store: str,
    registry: str,
    source: str = "week 1",
    mood: str = "well",
    git_commit: str = "unknown",
    options: dict = {},  # noqa: B006  # KFP reads the default, and nothing writes to it
):
    trained = _placed(train_model(source=source, mood=mood, store=store), "Train model")
    judged = _placed(
        decide(trained=trained.output, source=source, gates=GATES, store=store, registry=registry), "Decide"
    )
    _placed(
        publish_model(
            trained=trained.output, verdict=judged.output, gates=GATES, source=source, git_commit=git_commit,
            store=store, registry=registry,
        ),
        "Publish model",
    )  # fmt: skip
