"""Which country's charts a song is in: models/jukebox, through the main flow."""

from pipelines.training import GRAPH, checks, training

__all__ = ["GRAPH", "MODEL", "check_parameters", "jukebox"]  # what `mlops` reads of a pipeline

MODEL = "jukebox"

jukebox = training(MODEL, description="Songs to countries: trained, judged, exported to ONNX, published.")
check_parameters = checks(MODEL)
