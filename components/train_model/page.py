"""A training as one page: its curve, its settings, and the environment that it ran in."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from components.report.charts import curve
from components.train_model.step import Trained


def training_page(trained: Trained) -> str:
    """Self-contained HTML."""
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    charts = {name: curve(trained.history, name, trained.best_epoch) for name in ("loss", "accuracy")}
    return pages.get_template("page.html.j2").render(trained=trained, charts=charts)
