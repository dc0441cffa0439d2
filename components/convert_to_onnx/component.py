"""How KFP runs the conversion: the hash goes on as a parameter, so that every later step can tell a changed file."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def convert_to_onnx(
    prepared: dsl.Input[dsl.Dataset],
    trained: dsl.Input[dsl.Model],
    data_version: str,
    model: str,
    store: str,
    onnx_model: dsl.Output[dsl.Model],
) -> str:
    """Export one graph from raw features to named probabilities; returns the SHA-256 of the file."""
    from pathlib import Path

    from components.convert_to_onnx.step import convert
    from components.rim import recorded
    from models import load

    with recorded("convert_to_onnx", store) as facts:
        which = load(model)
        # Nothing of this run or machine: the same weights must give the same file.
        metadata = {"model": model, "data_version": data_version, "contract": which.CONTRACT.fingerprint()}
        done = convert(Path(prepared.path), Path(trained.path), Path(onnx_model.path), which, metadata)
        facts.update(done.facts(), data_version=data_version)
        onnx_model.metadata.update(
            framework="onnx", opset=done.opset, data_version=data_version, sha256=done.onnx_sha256
        )
        return done.onnx_sha256
