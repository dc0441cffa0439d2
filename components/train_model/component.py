"""How KFP runs the training: its accelerator, node and tolerations are set by the pipeline.

`gpus` is a parameter of the step, too: the step refuses to train on a CPU what was promised a GPU, and KFP 2.17 hands a number of
accelerators on to a step inside an exit handler only if the step takes it as an input
("pipelinechannel--gpus not found" otherwise).
"""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train_model(
    prepared: dsl.Input[dsl.Dataset],
    data_version: str,
    hyperparameters: dict,
    gpus: str,
    model: str,
    store: str,
    trained: dsl.Output[dsl.Model],
    history: dsl.Output[dsl.HTML],
):
    """Fit the model's network; the same input gives the same weights."""
    from pathlib import Path

    from components.rim import recorded
    from components.train_model.page import training_page
    from components.train_model.step import train
    from models import load

    with recorded("train_model", store) as facts:
        done = train(Path(prepared.path), Path(trained.path), model, load(model), hyperparameters, int(gpus))
        facts.update(done.facts(), data_version=data_version)
        Path(history.path).parent.mkdir(parents=True, exist_ok=True)
        Path(history.path).write_text(training_page(done), encoding="utf-8")
        trained.metadata.update(framework="keras", data_version=data_version, weights_sha256=done.weights_sha256)
