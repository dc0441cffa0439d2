"""Which colour a lamp is seen in: tests/toy, through the main flow."""

from pipelines.training import GRAPH, checks, training

__all__ = ["GRAPH", "MODEL", "check_parameters", "toy"]

MODEL = "tests.toy"

toy = training(MODEL, description="Lamps to colours, for the tests.")
check_parameters = checks(MODEL)
