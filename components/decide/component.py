"""How KFP runs the decision: never from its cache, as the champion may be another by now."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def decide(
    onnx_model: dsl.Input[dsl.Model],
    onnx_sha256: str,
    prepared: dsl.Input[dsl.Dataset],
    evaluation: dsl.Input[dsl.Artifact],
    data_version: str,
    gates: dict,
    model: str,
    store: str,
    registry: str,
    decision: dsl.Output[dsl.Artifact],
) -> str:
    """`promote` or `keep`; a blocked candidate stops the run."""
    import json
    from pathlib import Path

    from components.decide.champion import find_champion
    from components.decide.step import decide as judge
    from components.reading import require_hash
    from components.rim import plain, recorded
    from models import load
    from models.gates import Gates

    with recorded("decide", store) as facts:
        facts.update(data_version=data_version)
        require_hash(Path(onnx_model.path), onnx_sha256)
        numbers = json.loads((Path(evaluation.path) / "evaluation.json").read_text(encoding="utf-8"))
        champion = find_champion(registry, model.rsplit(".", 1)[-1])
        done = judge(Path(onnx_model.path), Path(prepared.path), numbers, load(model), Gates.of(gates), champion)
        facts.update(done.facts())
        Path(decision.path).parent.mkdir(parents=True, exist_ok=True)
        Path(decision.path).write_text(json.dumps(plain(done.facts()), indent=1), encoding="utf-8")
        done.require()
        return done.verdict
