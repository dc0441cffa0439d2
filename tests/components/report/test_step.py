"""The page of a run: a good one, a blocked candidate, a broken table, a crash, and records with holes in them."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.report.graph import lay_out
from components.report.step import SECTIONS, Report, build_report

Records = dict[str, dict[str, Any]]

GRAPH = {
    "fetch_data": [],
    "validate_data": ["fetch_data"],
    "prepare_data": ["fetch_data"],
    "train_model": ["validate_data", "prepare_data"],
    "evaluate_model": ["train_model"],
    "convert_to_onnx": ["train_model"],
    "validate_onnx": ["convert_to_onnx"],
    "decide": ["evaluate_model", "validate_onnx"],
    "publish_model": ["decide"],
}
COUNTRIES = [
    "AE", "AR", "AT", "AU", "BE", "BG", "BO", "BR", "BY", "CA", "CH", "CL", "CO", "CR", "CZ", "DE", "DK", "DO",
    "EC", "EE", "EG", "ES", "FI", "FR", "GB", "GR", "GT", "HK", "HN", "HU", "ID", "IE", "IL", "IN", "IS", "IT",
    "JP", "KR", "KZ", "LT", "LU", "LV", "MA", "MX", "MY", "NG", "NI", "NL", "NO", "NZ", "PA", "PE", "PH", "PK",
    "PL", "PT", "PY", "RO", "SA", "SE", "SG", "SK", "SV", "TH", "TR", "TW", "UA", "US", "UY", "VE", "VN", "ZA",
]  # fmt: skip
FEW = COUNTRIES[:13]  # one more than fit into cells with numbers: the same drawings in a fifth of the time
HASH = "9f2c41d0b7aa5e3c6d18f04b92e7c5a1830de6f47b295c01ae73d8f6b04c219e"
DATA = "4c1a0f7d92be6385ad0c17e4f8b3926d5e70ab41c98f2d63075be1a4d8c60f92"
CARD = """# Songs to countries

Names the country whose chart a song is in, from **thirteen audio features**.

| set | top-1 |
|---|---|
| newest days | 0.503 |

## Not for

- songs longer than an hour
- advice about people. See [the paper](https://example.org/paper) ![chart](https://example.org/chart.png)

<script>alert("card")</script>
"""


def record(step: str, second: float, seconds: float, facts: dict[str, Any]) -> dict[str, Any]:
    start, end = (f"2026-11-21T13:{int(t) // 60:02d}:{t % 60:06.3f}+00:00" for t in (second, second + seconds))
    return {
        "step": step,
        "state": "SUCCEEDED",
        "started": start,
        "finished": end,
        "seconds": seconds,
        "error": None,
        "facts": facts,
    }


def failed(step: dict[str, Any], kind: str, what: str, where: str, do: str, **more: str) -> dict[str, Any]:
    error = {"kind": kind, "gate": None, "what": what, "where": where, "do": do, "traceback": "Traceback: ...", **more}
    return {**step, "state": "FAILED", "error": error}


def gate(name: str, value: Any, condition: str, limit: float, passed: bool = True) -> dict[str, Any]:
    said = "is within" if passed else "is not within"
    return {
        "name": name,
        "value": value,
        "condition": condition,
        "limit": limit,
        "passed": passed,
        "sentence": f"{name} {said} its limit",
    }


def evaluation(classes: list[str], rows_a_class: int = 50) -> dict[str, Any]:
    random = np.random.default_rng(7)
    size = len(classes)
    odds = random.gamma(0.25, 2.2, (size, size)) + np.eye(size) * (size * 0.75) + 0.35
    matrix = np.array([random.multinomial(rows_a_class, row / row.sum()) for row in odds])
    recall, answered = matrix.diagonal() / rows_a_class, np.maximum(matrix.sum(axis=0), 1)
    precision = matrix.diagonal() / answered
    f1 = 2 * recall * precision / np.maximum(recall + precision, 1e-9)
    per_class: list[dict[str, Any]] = [
        {"class": name, "rows": rows_a_class, "recall": float(r), "precision": float(p), "f1": float(f)}
        for name, r, p, f in zip(classes, recall, precision, f1, strict=True)
    ]
    per_class[0]["rows"] += 1
    said = [0.06, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95]
    right = [0.05, 0.14, 0.27, 0.36, 0.43, 0.58, 0.61, 0.72, 0.88, 0.93]
    counts = [410, 620, 540, 430, 380, 330, 290, 260, 210, 130]
    return {
        "sets": {
            "time": {
                "rows": 3600, "top_1": 0.5031, "top_5": 0.7423, "macro_f1": 0.4871, "log_loss": 1.934,
                "calibration_error": 0.0214, "prior_top_1": 0.0139, "prior_top_5": 0.0694,
            },
            "unseen": {
                "rows": 61204, "top_1": 0.0872, "top_5": 0.2291, "macro_f1": 0.0713, "log_loss": 3.871,
                "calibration_error": 0.0412, "prior_top_1": 0.0143, "prior_top_5": 0.0701,
            },
        },
        "classes": classes,
        "confusion": matrix.tolist(),
        "calibration": [
            {"low": i / 10, "high": (i + 1) / 10, "rows": n, "confidence": c, "accuracy": a}
            for i, (n, c, a) in enumerate(zip(counts, said, right, strict=True))
        ],
        "per_class": per_class,
        "slices": [
            {"name": "explicit", "rows": 1180, "top_1": 0.541},
            {"name": "not explicit", "rows": 2420, "top_1": 0.485},
            {"name": "new this week", "rows": 212, "top_1": 0.193},
        ],
        "model_card": CARD,
    }  # fmt: skip


def good_run(classes: list[str] = FEW) -> Records:
    epochs = np.arange(1, 25)
    loss = 3.9 * np.exp(-epochs / 6) + 1.72
    history = {
        "loss": loss.tolist(),
        "val_loss": (loss + 0.09 + 0.004 * epochs).tolist(),
        "accuracy": (0.56 - 0.5 * np.exp(-epochs / 6)).tolist(),
        "val_accuracy": (0.51 - 0.46 * np.exp(-epochs / 5.5)).tolist(),
    }
    tables = [
        {
            "name": "songs", "url": "s3://lake/songs.parquet", "rows": 14245, "bytes": 1302113, "sha256": DATA,
            "columns": ["song_id", "name", "artists", "event_timestamp", "is_explicit", "duration_ms", "energy"],
        },
        {
            "name": "charts", "url": "s3://lake/charts.parquet", "rows": 1132003, "bytes": 21660154,
            "sha256": HASH, "columns": ["song_id", "daily_rank", "popularity", "country", "snapshot_date"],
        },
    ]  # fmt: skip
    features = ["is_explicit", "duration_ms", "danceability", "energy", "loudness", "speechiness", "valence", "tempo"]
    profile = {
        name: {"kind": "number", "mean": 0.68 + i, "std": 0.14, "min": 0.0, "max": 1.0 + 90 * i, "nulls": i}
        for i, name in enumerate(features)
    }
    facts: dict[str, dict[str, Any]] = {
        "fetch_data": {
            "source": "s3://lake", "as_of": "2024-08-26", "data_version": DATA, "tables": tables,
            "dropped_after_as_of": 0,
        },
        "validate_data": {
            "data_version": DATA, "rules": 31, "problems": [],
            "tables": [{"name": table["name"], "rows": table["rows"], "columns": 6} for table in tables],
            "freshness": {"newest": "2024-08-26", "as_of": "2024-08-26", "limit_days": 3},
            "gates": [gate("contract", 0, "<=", 0)],
        },
        "prepare_data": {
            "rows": {"joined": 1115998, "train": 942117, "validation": 49602, "test_time": 3600, "test_unseen": 61204},
            "dropped": [{"why": "no country: the global list", "rows": 15500}, {"why": "no name", "rows": 505}],
            "classes": classes, "profile": profile,
            "split": {"test_from": "2024-08-26", "unseen_share": 0.06, "unseen_entities": 855},
        },
        "train_model": {
            "model": "songs", "history": history, "epochs": 24, "best_epoch": 19, "stopped_early": True,
            "hyperparameters": {"learning_rate": 0.001, "batch_size": 512, "units": [256, 256, 128], "dropout": 0.1},
            "weights": 132168, "weights_sha256": HASH[::-1], "device": "CPU", "precision": "float32",
            "environment": {
                "python": "3.12.4", "platform": "Linux-6.1-x86_64",
                "packages": {"keras": "3.15.0", "numpy": "2.5.5", "polars": "2.1.0", "tensorflow-cpu": "2.21.0"},
            },
        },
        "evaluate_model": evaluation(classes),
        "convert_to_onnx": {
            "onnx_sha256": HASH, "bytes": 541200, "opset": 18,
            "inputs": [{"name": name, "type": "float32", "shape": [None, 1]} for name in features],
            "outputs": [{"name": "probabilities", "type": "float32", "shape": [None, 72]}],
        },
        "validate_onnx": {
            "rows": 64804, "max_difference": 3.1e-07, "argmax_agreement": 1.0, "near_ties": 4,
            "latency": {
                "batch_rows": 512, "onnx_one_row_ms": 0.041, "keras_one_row_ms": 2.31, "onnx_batch_ms": 1.12,
                "keras_batch_ms": 5.8, "speedup_one_row": 56.3,
            },
            "gates": [gate("parity.max_difference", 3.1e-07, "<=", 1e-05), gate("latency.speedup", 56.3, ">=", 20)],
        },
        "decide": {
            "verdict": "promote",
            "reasons": ["top-1 is higher by 0.0123, and the whole interval lies above zero", "every floor is met"],
            "champion": {"version": "6", "sha256": DATA, "url": "s3://models/songs/4c1a0f7d/model.onnx"},
            "compared": {
                "metric": "top_1", "against": "champion version 6",
                "candidate": 0.5031, "champion": 0.4908, "difference": 0.0123, "low": 0.0041,
                "high": 0.0207, "rows": 3600, "entities": 1311, "confidence": 0.95,
            },
            "gates": [gate("floor.top_1", 0.5031, ">=", 0.48), gate("floor.unseen_top_1", 0.0872, ">=", 0.08)],
        },
        "publish_model": {
            "url": f"s3://models/songs/{HASH}/model.onnx", "sha256": HASH, "name": "songs", "version": "7",
            "aliases": ["candidate", "champion"], "already_published": False,
            "lineage": {
                "run": "run-2026-11-21-a", "data_version": DATA, "git_commit": DATA[:40],
                "environment": "local-dev", "gates": "sha256:51d0",
            },
            "metrics": {"top_1": 0.5031},
        },
    }  # fmt: skip
    clock = [(0, 2.31), (2.5, 4.2), (2.5, 9.87), (13, 71.4), (85, 3.1), (85, 5.64), (91, 6.02), (98, 1.26), (100, 0.58)]
    return {step: record(step, *took, facts[step]) for step, took in zip(GRAPH, clock, strict=True)}


def blocked_run(classes: list[str] = FEW) -> Records:
    records = good_run(classes)
    del records["publish_model"]
    decided = records["decide"]["facts"]
    decided["verdict"] = "block"
    decided["reasons"] = ["top-1 is lower by 0.0208 than the champion's, and the whole interval lies below zero"]
    decided["compared"].update(candidate=0.47, difference=-0.0208, low=-0.0291, high=-0.0127)
    decided["gates"][0] = gate("floor.top_1", 0.47, ">=", 0.48, passed=False)
    what = "the candidate is worse than champion 6: top-1 0.470 against 0.491"
    do = "look at the slices and the data report, then train again; the champion stays where it is"
    where = "decide, gates.yaml: floor.top_1"
    records["decide"] = failed(records["decide"], "gate", what, where, do, gate="floor.top_1")
    return records


def broken_table_run() -> Records:
    good = good_run()
    records = {step: good[step] for step in ("fetch_data", "prepare_data", "validate_data")}
    bad = [("0C", "XX", 51), ("1C", "<b>ZZ</b>", 0), ("2C", None, 77)]
    rows = [{"song_id": f"4uLU6hMCjMI75M1A2tKU{end}", "country": name, "daily_rank": rank} for end, name, rank in bad]
    checked = records["validate_data"]["facts"]
    checked["problems"] = [
        {"table": "charts", "column": "daily_rank", "rule": "between 1 and 50", "count": 312, "examples": rows},
        {"table": "charts", "column": "country", "rule": "is a known class", "count": 1, "examples": rows[:1]},
    ]
    checked["gates"] = [gate("contract", 2, "<=", 0, passed=False)]
    what = "the table charts breaks its contract: daily_rank is not between 1 and 50 in 312 rows, and 1 more rule"
    do = "mend the rows at the source, or change the contract in models/ and say why"
    where = "s3://lake/charts.parquet, column daily_rank"
    records["validate_data"] = failed(records["validate_data"], "gate", what, where, do, gate="contract")
    return records


def crashed_run() -> Records:
    good = good_run()
    records = {step: good[step] for step in ("fetch_data", "validate_data", "prepare_data", "train_model")}
    trained = records["train_model"]
    trained["facts"] = {"model": "songs", "hyperparameters": {"batch_size": 512}}
    trace = 'Traceback (most recent call last):\n  File "train.py", line 3, in <module>\nMemoryError: no room for 2 GiB'
    what = "training stopped: MemoryError: no room for 2 GiB"
    do = "raise the memory limit of train_model, or lower batch_size"
    records["train_model"] = failed(trained, "error", what, "train_model, epoch 3", do, traceback=trace)
    return records


class Page(HTMLParser):
    """What a reader and a browser see of the page: the text of each section, all tags, and the order of things."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, str] = {}
        self.notices: list[str] = []
        self.text = ""
        self._open: list[Callable[[str], None]] = []
        self._silent = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        self._silent = tag == "style"
        if tag == "section" and "notice" in (given.get("class") or ""):
            self.notices.append("")
            self._open.append(self._into_notice)
        elif tag == "section":
            self.sections[given["id"] or ""] = ""
            self._open.append(self._into_section)

    def handle_endtag(self, tag: str) -> None:
        self._silent = False
        if tag == "section":
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._silent:
            return
        words = " ".join(data.split())
        self.text += words + " " if words else ""
        if words and self._open:
            self._open[-1](words + " ")

    def _into_notice(self, words: str) -> None:
        self.notices[-1] += words

    def _into_section(self, words: str) -> None:
        self.sections[list(self.sections)[-1]] += words

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


Build = Callable[..., tuple[Report, Page]]


@pytest.fixture
def built(tmp_path: Path) -> Build:
    """Write the records of a run as the steps do, build the page, read it back from the store."""

    def build(records: Records, title: str = "Songs to countries") -> tuple[Report, Page]:
        folder = tmp_path / "runs" / "run-7"
        folder.mkdir(parents=True, exist_ok=True)
        for step, content in records.items():
            (folder / f"{step}.json").write_text(json.dumps(content, sort_keys=True))

        report = build_report(str(tmp_path), "run-7", GRAPH, title=title)

        assert (folder / "report.html").read_text(encoding="utf-8") == report.html
        assert report.url.endswith("runs/run-7/report.html")
        return report, Page(report.html)

    return build


def test_a_good_run_shows_every_section_with_its_facts(built: Build) -> None:
    report, page = built(good_run(COUNTRIES))

    assert report.state == "SUCCEEDED"
    assert list(page.sections) == list(SECTIONS)
    assert page.notices == []
    assert "did not run" not in page.text.split("Made from the records")[0]
    assert "Songs to countries run-7 ✓ succeeded When 2026-11-21 13:00:00 UTC Total duration 1 min 41 s" in page.text
    said = {
        "verdict": ["✓ Promote", "every floor is met"],
        "graph": ["fetch_data ✓ succeeded 2.3 s", "train_model ✓ succeeded 1 min 11 s"],
        "gates": ["parity.max_difference", "3.1e-07 ≤ 1e-05 ✓ passed", "56.3 ≥ 20 ✓ passed"],
        "metrics": ["0.503 0.491 +0.0123 +0.0041 to +0.0207", "top-1 0.503 0.014 0.087 0.014", "1,311 entities"],
        "confusion": ["Most frequent wrong answers"],
        "calibration": ["0.9 to 1 130 0.950 0.930"],
        "classes": ["AE 51", "All 72 classes"],
        "slices": ["new this week 212 0.193"],
        "history": ["kept epoch 19", "stopped early yes", "units 256, 256, 128"],
        "data": ["charts 1,132,003 5 21.7 MB", "31 rules were judged, and none is broken", "no name 505"],
        "lineage": [
            "git_commit 4c1a0f7d92be6385ad0c17e4f8b3926d5e70ab41",
            "songs version 7",
            "aliases candidate, champion",
        ],
        "latency": ["one row 2.31 ms 0.041 ms 56.3", "512 rows 5.8 ms 1.12 ms 5.2", "near ties 4", "opset 18"],
        "environment": ["python 3.12.4", "4 packages", "tensorflow-cpu 2.21.0"],
        "card": ["Songs to countries", "thirteen audio features", "newest days 0.503"],
    }
    assert said.keys() == SECTIONS.keys()
    for section, sentences in said.items():
        for sentence in sentences:
            assert sentence in page.sections[section]


def test_the_graph_is_drawn_with_a_box_a_step_and_a_line_a_wait(built: Build) -> None:
    _, page = built(good_run())

    boxes = [given for tag, given in page.tags if tag == "g"]
    lines = [given for tag, given in page.tags if tag == "path" and "edge" in (given.get("class") or "")]
    assert len(boxes) == 9
    assert len(lines) == 10


def test_the_page_needs_nothing_but_itself(built: Build) -> None:
    _, page = built(good_run())

    for tag, given in page.tags:
        for name in ("src", "href", "srcset", "xlink:href", "action", "data"):
            assert (given.get(name) or "#").startswith(("#", "data:image/svg+xml;base64,")), (tag, given)
    assert page.count("script") == page.count("link") == page.count("iframe") == 0
    [policy] = [given["content"] for tag, given in page.tags if given.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    assert page.count("img") == 4  # heat map, reliability, two curves


def test_the_same_records_give_the_same_page(built: Build) -> None:
    first, _ = built(good_run())
    second, _ = built(good_run())

    assert first.html == second.html


def test_a_blocked_candidate_is_a_refusal_and_not_a_crash(built: Build) -> None:
    report, page = built(blocked_run())

    assert report.state == "FAILED"
    [notice] = page.notices
    assert notice == (
        "⊘ A gate said no: decide refused at floor.top_1 "
        "the candidate is worse than champion 6: top-1 0.470 against 0.491 "
        "where decide, gates.yaml: floor.top_1 "
        "to do look at the slices and the data report, then train again; the champion stays where it is "
        "evidence the gates and their numbers "
        "Nothing crashed: the step did its work, and what it measured may not go further. "
    )
    assert "✕" not in page.text
    assert "Traceback" not in page.text
    assert "⊘ Block" in page.sections["verdict"]
    assert page.sections["gates"].index("0.47 ≥ 0.48 ⊘ refused") < page.sections["gates"].index("✓ passed")
    assert "-0.0208" in page.sections["metrics"]
    assert "publish_model did not run." in page.sections["lineage"]
    assert HASH in page.sections["lineage"]  # what is known without publishing is still there
    assert "decide ⊘ refused" in page.sections["graph"]


def test_a_broken_table_is_shown_with_column_rule_count_and_three_rows(built: Build) -> None:
    report, page = built(broken_table_run())

    assert report.state == "FAILED"
    assert page.notices[0].startswith("⊘ A gate said no: validate_data refused at contract the table charts breaks")
    assert "2 broken rules with example rows" in page.notices[0]
    assert "charts.daily_rank breaks between 1 and 50 in 312 rows" in page.sections["data"]
    assert "country daily_rank song_id XX 51 4uLU6hMCjMI75M1A2tKU0C <b>ZZ</b> 0" in page.sections["data"]
    assert "null 77 4uLU6hMCjMI75M1A2tKU2C" in page.sections["data"]
    assert "charts.country breaks is a known class in 1 row Example rows" in page.sections["data"]
    assert "train_model did not run." in page.sections["history"]


def test_a_crash_is_at_the_top_with_its_traceback_folded(built: Build) -> None:
    report, page = built(crashed_run())

    assert report.state == "FAILED"
    [notice] = page.notices
    assert notice.startswith(
        "✕ train_model failed training stopped: MemoryError: no room for 2 GiB where train_model, epoch 3 "
        "to do raise the memory limit of train_model, or lower batch_size Traceback Traceback (most recent call last):"
    )
    assert "Nothing crashed" not in page.text
    assert re.search(r"<details><summary>Traceback</summary><pre>Traceback", report.html)
    assert "in &lt;module&gt;" in report.html
    body = report.html.split("<body>")[1]
    assert body.index('class="notice') < min(body.index(mark) for mark in ('<dl class="key', "<nav", "<main"))
    assert "train_model ended before it wrote this." in page.sections["history"]
    assert "batch_size 512" in page.sections["history"]  # the facts that it did write
    assert "Did not run: evaluate_model , convert_to_onnx , validate_onnx , decide , publish_model ." in page.text
    assert list(page.sections) == list(SECTIONS)


def test_two_failures_are_both_at_the_top_in_the_order_of_the_graph(built: Build) -> None:
    records = broken_table_run()
    records["prepare_data"] = failed(records["prepare_data"], "error", "the disk is full", "/data", "free some room")

    _, page = built(records)

    assert [notice.split(" ", 2)[0] for notice in page.notices] == ["⊘", "✕"]
    assert "✕ failed" in page.text.split("When")[0]  # a crash is worse than a refusal


def test_a_record_that_still_says_running_is_a_step_that_was_cut_off(built: Build) -> None:
    records = crashed_run()
    records["train_model"].update(state="RUNNING", finished=None, seconds=None, error=None, facts={})

    report, page = built(records)

    assert report.state == "FAILED"
    assert page.notices[0].startswith("… train_model was cut off it started, and never wrote how it ended where ")
    assert "runs/run-7/train_model.json" in page.notices[0]
    assert "train_model … cut off" in page.sections["graph"]
    assert "train_model was cut off before it wrote this." in page.sections["history"]


def test_a_run_without_records_is_a_page_too(built: Build) -> None:
    report, page = built({})

    assert report.state == "INCOMPLETE"
    assert page.notices == []
    assert "incomplete" in page.text
    assert "none was fetched" in page.text
    assert "no model was made" in page.text
    for section in SECTIONS.keys() - {"graph", "gates"}:
        assert "did not run." in page.sections[section]


def test_the_record_of_the_report_itself_counts_for_nothing(built: Build) -> None:
    running = {"step": "report", "state": "RUNNING", "started": "2026-11-21T13:02:00+00:00", "facts": {}}

    report, page = built({**good_run(), "report": running})

    assert report.state == "SUCCEEDED"
    assert page.notices == []


def test_a_step_outside_the_graph_is_in_the_table_and_counts(built: Build) -> None:
    notify = failed(record("notify", 101, 1, {}), "error", "nobody listens", "notify", "ask somebody")

    report, page = built({**good_run(), "notify": notify})

    assert report.state == "FAILED"
    assert "notify ✕ failed" in page.sections["graph"]


def test_a_torn_record_is_an_error_on_the_page(built: Build, tmp_path: Path) -> None:
    built(good_run())
    (tmp_path / "runs" / "run-7" / "decide.json").write_text('{"step": "deci')

    report = build_report(str(tmp_path), "run-7", GRAPH, title="Songs")

    assert report.state == "FAILED"
    assert "the record of decide can&#39;t be read" in report.html


EVIL = "<script>alert('x')</script>"


def poisoned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: poisoned(inner) for key, inner in value.items()} | {EVIL: EVIL}
    if isinstance(value, list):
        return [poisoned(inner) for inner in value]
    return value + EVIL if isinstance(value, str) else value


@pytest.mark.parametrize("run", [good_run, blocked_run, broken_table_run, crashed_run])
def test_what_the_data_holds_is_never_markup(built: Build, run: Callable[[], Records]) -> None:
    records = run()
    for found in records.values():
        found["facts"] = poisoned(found["facts"])
        found["error"] = found["error"] and {**poisoned(found["error"]), "kind": found["error"]["kind"]}

    report, page = built(records, title=f"Songs {EVIL}")

    assert "<script" not in report.html.lower()
    assert page.count("script") == 0
    assert f"Songs {EVIL}" in page.text
    assert list(page.sections) == list(SECTIONS)
    assert "can't be drawn" not in page.text


def test_a_model_card_loads_links_and_runs_nothing(built: Build) -> None:
    report, page = built(good_run())

    assert '<script>alert("card")</script>' in page.sections["card"]
    assert "https://example.org/paper" in page.sections["card"]  # as text
    assert page.count("h1") == 1  # its own heading stands below the page's
    assert "<h3>Songs to countries</h3>" in report.html


def test_numbers_that_are_none_are_shown_as_they_are(built: Build) -> None:
    records = good_run()
    records["train_model"]["facts"]["history"]["val_loss"][3] = "NaN"
    records["evaluate_model"]["facts"]["sets"]["time"]["top_1"] = "NaN"
    records["evaluate_model"]["facts"]["calibration"][2].update(confidence="NaN", accuracy="NaN", rows=0)
    records["evaluate_model"]["facts"]["per_class"][1].update(precision="NaN")
    records["validate_onnx"]["facts"]["latency"]["onnx_batch_ms"] = "Infinity"
    records["decide"]["facts"]["gates"][0] = gate("floor.top_1", "NaN", ">=", 0.48, passed=False)
    records["decide"]["facts"]["compared"]["low"] = "-Infinity"

    _, page = built(records)

    assert "top-1 NaN 0.014" in page.sections["metrics"]
    assert "-Infinity to +0.0207" in page.sections["metrics"]
    assert "NaN ≥ 0.48 ⊘ refused" in page.sections["gates"]
    assert "0.2 to 0.3 0 NaN NaN" in page.sections["calibration"]
    assert "can't be drawn" not in page.text


@pytest.mark.parametrize("step", GRAPH)
def test_every_fact_may_be_missing(built: Build, step: str) -> None:
    for fact in good_run()[step]["facts"]:
        alone = good_run()[step]
        del alone["facts"][fact]

        _, page = built({step: alone})

        assert list(page.sections) == list(SECTIONS)
        assert "can't be drawn" not in page.text, fact


def test_facts_of_an_odd_shape_cost_their_section_only(built: Build) -> None:
    records = good_run()
    records["evaluate_model"]["facts"]["confusion"] = [[1, 2], [3]]
    records["decide"]["facts"]["gates"] = 7

    report, page = built(records)

    assert report.state == "SUCCEEDED"
    assert "This section can't be drawn from the facts of the run: ValueError" in page.sections["confusion"]
    assert "This section can't be drawn from the facts of the run: TypeError" in page.sections["gates"]
    assert "✓ Promote" in page.sections["verdict"]
    assert "AE 51" in page.sections["classes"]


def test_few_classes_have_their_numbers_in_the_cells(built: Build) -> None:
    records = good_run()
    records["evaluate_model"]["facts"].update(evaluation(["setosa", "versicolor", "virginica"]))

    _, page = built(records)

    matrix = records["evaluate_model"]["facts"]["confusion"]
    for name, row in zip(("setosa", "versicolor", "virginica"), matrix, strict=True):
        assert f"{name} {' '.join(str(cell) for cell in row)}" in page.sections["confusion"]
    assert page.count("img") == 3  # no heat map: the cells are a table


def test_a_first_model_is_compared_with_the_class_prior(built: Build) -> None:
    records = good_run()
    records["decide"]["facts"]["champion"] = None
    records["decide"]["facts"]["compared"].update(against="the class prior", champion=0.0139)

    _, page = built(records)

    assert page.sections["metrics"].startswith(
        "Metrics Candidate against the class prior metric candidate the class prior"
    )
    assert "There is no champion yet." in page.sections["metrics"]


def test_a_candidate_that_could_not_be_compared_says_so(built: Build) -> None:
    records = good_run()
    records["decide"]["facts"].update(champion=None, compared=None)

    _, page = built(records)

    assert "There was nothing to compare the candidate with" in page.sections["metrics"]


def test_preparation_says_when_it_left_the_tables_to_validation(built: Build) -> None:
    records = broken_table_run()
    records["prepare_data"]["facts"] = {"left_to": "validate_data"}

    _, page = built(records)

    assert "The tables break their contract too much to be joined; validate_data says how." in page.sections["data"]


@pytest.mark.parametrize(
    "graph",
    [
        {},
        {"one": []},
        {"a": [], "b": ["a"], "c": ["a", "b"], "d": ["a", "c"]},
        {"a": ["b"], "b": ["a"]},
        {"a": ["nobody"], "b": ["a"]},
        GRAPH,
    ],
    ids=["empty", "one", "long lines", "cycle", "unknown", "whole"],
)
def test_no_two_boxes_touch_whatever_the_graph(graph: dict[str, list[str]]) -> None:
    drawing = lay_out(graph)

    assert [box.step for box in drawing.boxes] == list(graph)
    for one in drawing.boxes:
        assert 0 <= one.x <= drawing.width - drawing.box_width
        assert 0 <= one.y <= drawing.height - drawing.box_height
        for other in drawing.boxes:
            apart = abs(one.x - other.x) > drawing.box_width or abs(one.y - other.y) > drawing.box_height
            assert apart or one is other


def test_steps_follow_each_other_however_the_graph_is_sorted(built: Build, tmp_path: Path) -> None:
    built(good_run())

    sorted_by_name = dict(sorted(GRAPH.items()))
    html = build_report(str(tmp_path), "run-7", sorted_by_name, title="Songs").html

    rows = re.findall(r'<tr><th scope="row"><code>(\w+)</code>', html.split("Steps as a table")[1].split("</table>")[0])
    assert rows[0] == "fetch_data"
    assert rows[-1] == "publish_model"
    assert all(rows.index(other) < rows.index(step) for step, upstream in GRAPH.items() for other in upstream)


def test_a_step_stands_right_of_all_that_it_waits_for() -> None:
    place = {box.step: box for box in lay_out(GRAPH).boxes}

    for step, upstream in GRAPH.items():
        assert all(place[other].x < place[step].x for other in upstream)
    assert place["validate_data"].x == place["prepare_data"].x
    assert place["evaluate_model"].y != place["validate_onnx"].y  # the line to decide passes beside, not behind
