"""How KFP runs the publication: never from its cache, as store and registry may have been emptied."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def publish_model(
    onnx_model: dsl.Input[dsl.Model],
    prepared: dsl.Input[dsl.Dataset],
    trained: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    decision: dsl.Input[dsl.Artifact],
    verdict: str,
    data_version: str,
    gates: dict,
    git_commit: str,
    environment: str,
    model: str,
    store: str,
    registry: str,
) -> str:
    """Make the judged model visible, under its hash; returns the registry's version."""
    import json
    from pathlib import Path

    from components.publish_model.step import publish
    from components.rim import recorded, run_id
    from models import load
    from models.gates import Gates
    from storage.registry import open_registry

    with recorded("publish_model", store) as facts:
        judged = json.loads(Path(decision.path).read_text(encoding="utf-8"))
        sets = json.loads((Path(evaluation.path) / "evaluation.json").read_text(encoding="utf-8"))["sets"]
        contract = load(model).CONTRACT
        done = publish(
            {
                "model.onnx": Path(onnx_model.path),
                "classes.json": Path(prepared.path) / "classes.json",
                "profile.json": Path(prepared.path) / "profile.json",
                "evaluation.json": Path(evaluation.path) / "evaluation.json",
                "model_card.md": Path(evaluation.path) / "model_card.md",
                "environment.json": Path(trained.path) / "environment.json",
            },
            name=model.rsplit(".", 1)[-1],
            verdict=verdict,
            judged_sha256=judged["onnx_sha256"],
            judged_against=(judged.get("champion") or {}).get("version"),
            store=store,
            registry=open_registry(registry),
            metrics={f"{part}.{name}": value for part, numbers in sets.items() for name, value in numbers.items()},
            lineage={
                "run": run_id(),
                "data_version": data_version,
                "git_commit": git_commit,
                "environment": environment,
                "contract": contract.fingerprint(),
                "contract_rules": contract.sha256(),
                "gates": Gates.of(gates).sha256(),
            },
        )
        facts.update(done.facts(), data_version=data_version)
        return done.version
