"""How KFP runs the evaluation: numbers to KFP's own metric views, everything to the artifact."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate_model(
    prepared: dsl.Input[dsl.Dataset],
    trained: dsl.Input[dsl.Model],
    data_version: str,
    git_commit: str,
    model: str,
    store: str,
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    model_card: dsl.Output[dsl.Markdown],
):
    """Measure the trained network on the newest days and on unseen entities."""
    import json
    from pathlib import Path

    from components.evaluate_model.step import evaluate
    from components.rim import recorded
    from models import load

    with recorded("evaluate_model", store) as facts:
        about = {"model": model, "data_version": data_version, "git_commit": git_commit}
        done = evaluate(Path(prepared.path), Path(trained.path), Path(evaluation.path), load(model), about)
        facts.update(done.facts(), data_version=data_version)
        for part, numbers in done.sets.items():
            for name, value in numbers.items():
                metrics.log_metric(f"{part}.{name}", value)
        confusion.log_confusion_matrix(done.classes, done.confusion)
        for artifact, content in ((metrics, done.sets), (confusion, done.confusion)):
            Path(artifact.path).parent.mkdir(
                parents=True, exist_ok=True
            )  # KFP's local cache wants each artifact as a file
            Path(artifact.path).write_text(json.dumps(content), encoding="utf-8")
        Path(model_card.path).parent.mkdir(parents=True, exist_ok=True)
        Path(model_card.path).write_text(done.model_card, encoding="utf-8")
