"""How KFP runs the parity check: first the numbers, then the verdict, so that a refusal shows why."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def validate_onnx(
    onnx_model: dsl.Input[dsl.Model],
    onnx_sha256: str,
    prepared: dsl.Input[dsl.Dataset],
    trained: dsl.Input[dsl.Model],
    data_version: str,
    gates: dict,
    model: str,
    store: str,
    parity: dsl.Output[dsl.Metrics],
):
    """Stop the run when ONNX and Keras disagree on any raw test row, or the file is not the one that was converted."""
    import json
    from pathlib import Path

    from components.reading import require_hash
    from components.rim import plain, recorded
    from components.validate_onnx.step import measure
    from models import load
    from models.gates import Gates

    with recorded("validate_onnx", store) as facts:
        limits = Gates.of(gates)
        facts.update(data_version=data_version)
        require_hash(Path(onnx_model.path), onnx_sha256)
        done = measure(Path(onnx_model.path), Path(prepared.path), Path(trained.path), load(model), limits.tie)
        facts.update(done.facts(limits))
        for name in ("rows", "max_difference", "argmax_agreement", "near_ties"):
            parity.log_metric(name, getattr(done, name))
        for name, value in done.latency.items():
            parity.log_metric(name, value)
        Path(parity.path).parent.mkdir(parents=True, exist_ok=True)  # KFP's local cache wants each artifact as a file
        Path(parity.path).write_text(json.dumps(plain(done.facts(limits))), encoding="utf-8")
        done.require(limits)
