from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from localkfp import LocalKfp
from localkfp.database import move
from localkfp.rendering import lasting
from localkfp.tasks import Record, Task

HOSTILE = "<script>alert('x')</script>"
RUNS = "/apis/v2beta1/runs"
HTML = "text/html,application/xhtml+xml"


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str

    @property
    def words(self) -> str:
        """What a person reads of it: no tags, and each space once."""
        shown = re.sub(r"(?s)<(style|script).*?</\1>|<[^>]+>", " ", self.body)
        return " ".join(unescape(shown).split())

    @property
    def links(self) -> list[str]:
        return [unescape(link) for link in re.findall(r'<a [^>]*?href="([^"]+)"', self.body)]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Site:
    """The pages of a server whose executor stands still: what a run does, a test writes as the run's process does."""

    def __init__(self, kfp: LocalKfp, spec: dict[str, Any]) -> None:
        self.kfp, self.spec = kfp, spec

    def get(self, path: str, accept: str = HTML, **headers: str) -> Answer:
        return asyncio.run(self._ask("GET", path, b"", {"accept": accept, **headers}))

    def post(self, path: str, data: Any = None, **headers: str) -> Answer:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return asyncio.run(self._ask("POST", path, b"" if data is None else json.dumps(data).encode(), given))

    def run(self, name: str = "a run", *states: str, error: str | None = None, **body: Any) -> str:
        answer = self.post(RUNS, {"display_name": name, "pipeline_spec": self.spec, **body})
        assert answer.status == 200, answer.body
        run_id = str(answer.json["run_id"])
        with self.kfp.database.write() as db:
            for state in states:
                assert move(db, run_id, state, ("PENDING", "RUNNING", "CANCELING"), error)
        return run_id

    def recurring(self, body: dict[str, Any]) -> None:
        answer = self.post("/apis/v2beta1/recurringruns", {"max_concurrency": "1", "pipeline_spec": self.spec, **body})
        assert answer.status == 200, answer.body

    def pipeline(self, name: str, **more: Any) -> str:
        data = json.dumps(self.spec).encode()
        body = (
            b'--x\r\nContent-Disposition: form-data; name="uploadfile"; filename="p.yaml"\r\n\r\n'
            + data
            + b"\r\n--x--\r\n"
        )
        path = f"/apis/v2beta1/pipelines/upload?name={quote(name)}&namespace={more.get('namespace', '')}"
        answer = asyncio.run(self._ask("POST", path, body, {"content-type": "multipart/form-data; boundary=x"}))
        assert answer.status == 200, answer.body
        return str(answer.json["pipeline_id"])

    def task(
        self, run_id: str, name: str, state: str = "SUCCEEDED", *, parent: Task | None = None, **values: Any
    ) -> Task:
        """As the run's process records it; `log` is what it printed."""
        record = Record(self.kfp.database, run_id)
        task = Task(run_id, name, values.get("display_name", name), parent)
        record.begin(task, values.get("inputs", {}))
        if state != "RUNNING":
            record.end(task, state, values.get("outputs"), values.get("error"))
        if "log" in values:
            log = self.kfp.folder / "runs" / run_id / "logs" / f"{task.task_id}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(values["log"])
        return task

    def artifact(
        self, run_id: str, path: str, kind: str, content: str | bytes | None, **metadata: Any
    ) -> dict[str, Any]:
        """What KFP would say of an artifact that was written."""
        file = self.kfp.folder / "runs" / run_id / "artifacts" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        title = {"schemaTitle": f"system.{kind}", "schemaVersion": "0.0.1"}
        return {"artifacts": {file.name: [{"name": file.name, "type": title, "uri": str(file), "metadata": metadata}]}}

    async def _ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        path, _, query = path.partition("?")
        sent: list[Any] = []
        received: list[bool] = []

        async def receive() -> Any:
            if received:
                await asyncio.Event().wait()  # whoever asked stays there
            received.append(True)
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        given = {"host": "127.0.0.1:8888", **headers}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "server": ("127.0.0.1", 8888),
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }
        await self.kfp.app(scope, receive, send)
        start, *rest = sent
        text = b"".join(message.get("body", b"") for message in rest).decode(errors="replace")
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(status=start["status"], headers=headers, body=text)


@pytest.fixture
def site(tmp_path: Path, spec: dict[str, Any]) -> Site:
    kfp = LocalKfp(tmp_path / "localkfp")
    return Site(kfp, spec)


def test_the_runs_are_listed_newest_first_with_what_became_of_them(site: Site) -> None:
    site.run("first", "RUNNING", "SUCCEEDED")
    site.run("second", "RUNNING", "FAILED")
    last = site.run("third")

    page = site.get("/")

    assert page.status == 200
    assert re.search(r"third ○ pending .* second ✕ failed .* first ✓ succeeded", page.words)
    assert page.words.count("greeting Default") == 3  # pipeline and experiment
    assert re.search(r"first ✓ succeeded greeting Default \d{4}-\d\d-\d\d \d\d:\d\d:\d\d 0\.\d s", page.words)
    assert f"/runs/{last}" in page.links


def test_an_empty_list_says_how_to_start_a_first_run_here(site: Site) -> None:
    said = "kfp --endpoint http://127.0.0.1:8888 run create --experiment-name first --package-file pipeline.yaml"

    before = site.get("/")
    site.run()
    after = site.get("/")

    assert said in before.words
    assert said not in after.words


def test_a_list_is_paged_and_its_links_go_on_where_it_ended(site: Site) -> None:
    for number in range(23):
        site.run(f"run {number:02}")

    first = site.get("/")
    [older] = [link for link in first.links if "page_token" in link]
    second = site.get(older)

    assert re.findall(r"run \d\d", first.words) == [f"run {n:02}" for n in range(22, 2, -1)]
    assert re.findall(r"run \d\d", second.words) == ["run 02", "run 01", "run 00"]
    assert "Older" not in second.words
    assert "Newest" in second.words


def test_an_archived_run_is_listed_apart(site: Site) -> None:
    kept, gone = site.run("kept"), site.run("put away")
    site.post(f"/runs/{gone}/archive")

    assert [f"/runs/{one}" in site.get("/").links for one in (kept, gone)] == [True, False]
    assert [f"/runs/{one}" in site.get("/?archived=yes").links for one in (kept, gone)] == [False, True]


def test_namespaces_are_apart_and_there_to_be_chosen_where_there_are_several(site: Site) -> None:
    site.run("in none")
    alone = site.get("/")
    made = site.post("/apis/v2beta1/experiments", {"display_name": "theirs", "namespace": "team-a"})
    site.run("in team-a", experiment_id=made.json["experiment_id"])

    assert "Namespace" not in alone.words
    assert "Namespace none team-a" in site.get("/").words
    assert ("in none" in site.get("/").words, "in team-a" in site.get("/").words) == (True, False)
    assert "in team-a" in site.get("/?namespace=team-a").words
    assert "in none" not in site.get("/?namespace=team-a").words
    assert f"/?namespace=team-a&experiment_id={made.json['experiment_id']}" in site.get("/?namespace=team-a").links


def test_where_all_runs_are_in_a_namespace_the_list_starts_there(site: Site) -> None:
    made = site.post("/apis/v2beta1/experiments", {"display_name": "theirs", "namespace": "team-a"})
    site.run("in team-a", experiment_id=made.json["experiment_id"])

    assert "in team-a" in site.get("/").words


def test_a_page_of_a_run_draws_every_step_in_its_state_with_a_word(site: Site) -> None:
    site.spec["root"]["dag"]["tasks"]["late"] = {"componentRef": {"name": "comp-say"}, "dependentTasks": ["say"]}
    running, failed = site.run("one", "RUNNING"), site.run("two", "RUNNING", "FAILED", error="say: ValueError: no")
    site.task(running, "say", "RUNNING")
    site.task(failed, "say", "FAILED", error="ValueError: no")

    during, after = site.get(f"/runs/{running}"), site.get(f"/runs/{failed}")

    assert re.search(r"say ◐ running \d+ s", during.words)
    assert "late ○ waiting" in during.words
    assert re.search(r"say ✕ failed \d+\.\d s", after.words)
    assert "late \N{EN DASH} not run" in after.words
    assert "Why it failed say: ValueError: no" in after.words
    assert "Why it failed" not in during.words


def test_a_loop_is_one_box_that_says_how_often(site: Site) -> None:
    tasks = site.spec["root"]["dag"]["tasks"]
    site.spec["components"]["comp-loop"] = {"dag": {"tasks": dict(tasks)}}
    items = {"items": {"raw": "[1, 2]"}, "itemInput": "item"}
    tasks["loop"] = {"componentRef": {"name": "comp-loop"}, "parameterIterator": items, "taskInfo": {"name": "loop"}}
    run_id = site.run("a loop", "RUNNING")
    loop = site.task(run_id, "loop", "RUNNING")
    for number in range(2):
        site.task(run_id, "say", parent=site.task(run_id, f"loop-iteration-{number}", parent=loop))

    page = site.get(f"/runs/{run_id}")

    assert "for each of [1, 2]" in page.words
    assert "say ✓ succeeded \N{MULTIPLICATION SIGN}2" in page.words
    assert page.body.count('data-path="loop/say"') == 1


def test_a_page_updates_itself_while_its_run_is_active_and_no_longer(site: Site) -> None:
    running, ended = site.run("one", "RUNNING"), site.run("two", "RUNNING", "SUCCEEDED")
    tasks = [site.task(running, "say", "RUNNING"), site.task(ended, "say")]

    pages = [site.get(path).body for run_id in (running, ended) for path in (f"/runs/{run_id}",)]
    pages += [site.get(f"/runs/{task.run_id}/tasks/{task.task_id}").body for task in tasks]

    assert [" data-live" in page for page in pages] == [True, False, True, False]
    assert ['<noscript><meta http-equiv="refresh"' in page for page in pages] == [True, False, True, False]
    assert " data-live" in site.get("/").body


def test_a_page_of_a_task_has_its_log_and_its_values(site: Site) -> None:
    run_id = site.run("a run", "RUNNING", "FAILED")
    values: dict[str, Any] = {
        "inputs": {"parameters": {"text": "hello", "n": 3}},
        "outputs": {"parameters": {"Output": [1, {"a": None}]}},
    }
    task = site.task(run_id, "say", "FAILED", error="ValueError: no", log="hello\nValueError: no\n", **values)

    page = site.get(f"/runs/{run_id}/tasks/{task.task_id}")

    assert "say ✕ failed" in page.words
    assert "Why it failed ValueError: no" in page.words
    assert "the whole log as text hello ValueError: no" in page.words
    assert "The last" not in page.words
    assert 'Inputs n 3 text hello Outputs Output [1, {"a": null}]' in page.words


def test_a_long_log_is_shown_by_its_end_and_as_a_terminal_would_show_it(site: Site) -> None:
    run_id = site.run("a run", "RUNNING")
    log = "".join(f"line {number}\n" for number in range(3000)) + "10%\r\x1b[32m100%\x1b[0m\r\ndone\x07"
    task = site.task(run_id, "say", "RUNNING", log=log)

    page = site.get(f"/runs/{run_id}/tasks/{task.task_id}")
    [whole] = [link for link in page.links if link.endswith("/log")]

    assert "The last 2000 lines" in page.words
    assert "line 2999\n100%\ndone</pre>" in page.body
    assert ("line 1002\n" in page.body, "line 1001\n" in page.body) == (True, False)
    assert site.get(whole).body == log
    assert site.get(whole).headers["content-type"].startswith("text/plain")


def test_a_log_of_one_endless_line_is_cut(site: Site) -> None:
    run_id = site.run("a run", "RUNNING")
    task = site.task(run_id, "say", "RUNNING", log="x" * 5_000_000 + "\nend")

    page = site.get(f"/runs/{run_id}/tasks/{task.task_id}")

    assert len(page.body) < 100_000
    assert "The last 2000 lines; the whole log as text end" in page.words


@pytest.mark.parametrize(
    ("kind", "metadata", "said"),
    [
        ("Metrics", {"accuracy": 0.12345678, "rows": 12}, "accuracy 0.123457 rows 12"),
        ("Model", {"framework": "keras"}, "framework keras"),
        (
            "ClassificationMetrics",
            {"confusionMatrix": {"annotationSpecs": [{"displayName": "Oslo"}, {"displayName": "Rio"}],
                                 "rows": [{"row": [3, 1]}, {"row": [0, 7]}]}},
            "Oslo Rio Oslo 3 1 Rio 0 7",
        ),
        (
            "ClassificationMetrics",
            {"confidenceMetrics": [{"confidenceThreshold": 0.5, "recall": 0.75, "falsePositiveRate": 0.25}]},
            "ROC, 1 point threshold false positives true positives 0.5 0.25 0.75",
        ),
        ("ClassificationMetrics", {"confidenceMetrics": 5, "confusionMatrix": "?"}, "ClassificationMetrics"),
    ],
)  # fmt: skip
def test_metrics_are_tables(site: Site, kind: str, metadata: dict[str, Any], said: str) -> None:
    run_id = site.run("a run", "RUNNING", "SUCCEEDED")
    task = site.task(run_id, "say", outputs=site.artifact(run_id, "say/found", kind, None, **metadata))

    words = site.get(f"/runs/{run_id}/tasks/{task.task_id}").words
    assert said in words
    assert "There is no file" not in words or kind == "Model"
    assert ("Confusion matrix" in words, "ROC" in words) == ("Oslo" in words, "0.75" in words)


def test_metrics_stand_on_the_page_of_their_run_too(site: Site) -> None:
    run_id = site.run("a run", "RUNNING", "SUCCEEDED")
    site.task(run_id, "say", outputs=site.artifact(run_id, "say/found", "Metrics", None, accuracy=0.5))

    assert "Metrics Task Metric Value say accuracy 0.5" in site.get(f"/runs/{run_id}").words


def test_markdown_is_text_and_a_page_is_in_a_sandbox_and_a_folder_names_its_files(site: Site) -> None:
    run_id = site.run("a run", "RUNNING", "SUCCEEDED")
    card = site.task(run_id, "card", outputs=site.artifact(run_id, "card/text", "Markdown", f"# Card\n{HOSTILE}"))
    page = site.task(run_id, "page", outputs=site.artifact(run_id, "page/html", "HTML", "<h1>Page</h1>"))
    model = site.artifact(run_id, "model/saved", "Model", None)
    site.artifact(run_id, "model/saved/deep/weights", "Model", b"\0" * 2000)
    site.artifact(run_id, "model/saved/é & #1.txt", "Model", "hi")
    folder = site.task(run_id, "model", outputs=model)

    def shown(task: Task) -> Answer:
        return site.get(f"/runs/{run_id}/tasks/{task.task_id}")

    assert f"# Card\n{HOSTILE}" in unescape(shown(card).body)
    assert f'<iframe sandbox loading="lazy" title="html" src="/runs/{run_id}/artifacts/page/html"' in shown(page).body
    assert f'<iframe sandbox loading="lazy" title="html of page" src="/runs/{run_id}/artifacts/page/html"' in (
        site.get(f"/runs/{run_id}").body
    )
    assert "2 files deep/weights 2.0 kB é & #1.txt 2 Bytes" in shown(folder).words
    assert f"/runs/{run_id}/artifacts/model/saved/%C3%A9%20%26%20%231.txt" in shown(folder).links


def test_an_artifact_that_is_not_here_says_where_it_is(site: Site) -> None:
    run_id = site.run("a run", "RUNNING", "SUCCEEDED")
    outputs = site.artifact(run_id, "say/gone", "Model", None)
    outputs["artifacts"]["gone"].append({**outputs["artifacts"]["gone"][0], "uri": "s3://store/model"})
    task = site.task(run_id, "say", outputs=outputs)

    words = site.get(f"/runs/{run_id}/tasks/{task.task_id}").words

    assert "There is no file of this run at s3://store/model" in words
    assert f"There is no file of this run at {outputs['artifacts']['gone'][0]['uri']}" in words


@pytest.mark.parametrize(
    ("kind", "content", "type_"),
    [
        ("HTML", "<h1>x</h1>", "text/html; charset=utf-8"),
        ("Dataset", "<h1>x</h1>", "text/plain; charset=utf-8"),
        ("Markdown", "# x", "text/plain; charset=utf-8"),
        ("Model", b"\x08\0\x12", "application/octet-stream"),
    ],
)
def test_a_file_is_served_so_that_it_can_do_nothing(site: Site, kind: str, content: Any, type_: str) -> None:
    run_id = site.run("a run", "RUNNING", "SUCCEEDED")
    site.task(run_id, "say", outputs=site.artifact(run_id, "say/file", kind, content))

    answer = site.get(f"/runs/{run_id}/artifacts/say/file")

    assert answer.status == 200
    assert answer.headers["content-type"] == type_
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    )


@pytest.mark.parametrize(
    "path", ["../run.log", "../../../localkfp.db", "/etc/passwd", "link", "linked/passwd", "gone", "say"]
)
def test_nothing_but_a_file_of_the_run_is_served(site: Site, path: str) -> None:
    run_id = site.run("a run", "RUNNING", "SUCCEEDED")
    site.artifact(run_id, "say/file", "Model", "x")
    folder = site.kfp.folder / "runs" / run_id
    (folder / "run.log").write_text("hello")
    (folder / "artifacts/link").symlink_to("/etc/passwd")
    (folder / "artifacts/linked").symlink_to("/etc")

    answer = site.get(f"/runs/{run_id}/artifacts/{path}")

    assert (answer.status, "Not found" in answer.words) == (404, True)


def test_a_link_out_of_the_artifacts_is_neither_read_nor_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the secret")
    run_id = site.run("a run", "RUNNING", "SUCCEEDED")
    outputs = site.artifact(run_id, "say/card", "Markdown", None)
    Path(outputs["artifacts"]["card"][0]["uri"]).symlink_to(tmp_path / "secret")
    task = site.task(run_id, "say", outputs=outputs)

    page = site.get(f"/runs/{run_id}/tasks/{task.task_id}")

    assert "the secret" not in page.words
    assert not [link for link in page.links if "/artifacts/" in link]


def all_pages(site: Site, name: str) -> dict[str, str]:
    """The path of every page there is, of things that are called so; and the API's path to the same."""
    pipeline_id = site.pipeline(name)
    experiment = site.post("/apis/v2beta1/experiments", {"display_name": name, "description": name}).json
    parameters = {"runtime_config": {"parameters": {"text": name}}, "experiment_id": experiment["experiment_id"]}
    run_id = site.run(name, "RUNNING", "FAILED", error=name, description=name, **parameters)
    values: dict[str, Any] = {"inputs": {"parameters": {name: name}}, "error": name, "log": name, "display_name": name}
    outputs = site.artifact(run_id, "say/found", "Metrics", name, **{name: name})
    outputs["artifacts"]["found"][0]["name"] = name
    task = site.task(run_id, "say", "FAILED", outputs={**outputs, "parameters": {name: [name]}}, **values)
    (site.kfp.folder / "runs" / run_id / "run.log").write_text(name)
    body = {"display_name": name, "mode": "ENABLE"}
    site.recurring({**body, "trigger": {"cron_schedule": {"cron": "0 0 3 * * *"}}})
    newest = "sort_by=created_at%20desc"
    available = {"key": "storage_state", "operation": "EQUALS", "string_value": "AVAILABLE"}
    return {
        "/": f"{RUNS}?{newest}&filter={quote(json.dumps({'predicates': [available]}))}",
        f"/runs/{run_id}": f"{RUNS}/{run_id}",
        f"/runs/{run_id}/tasks/{task.task_id}": "",
        "/pipelines": f"/apis/v2beta1/pipelines?{newest}",
        f"/pipelines/{pipeline_id}": f"/apis/v2beta1/pipelines/{pipeline_id}",
        "/experiments": f"/apis/v2beta1/experiments?{newest}",
        "/recurringruns": f"/apis/v2beta1/recurringruns?{newest}",
        "/nowhere": "",
    }


def test_who_asks_a_page_for_json_gets_what_the_api_answers(site: Site) -> None:
    for page, api in all_pages(site, "plain").items():
        if api:
            answers = [site.get(page, "application/json"), site.get(f"{page}?format=json")]

            assert [answer.json for answer in answers] == 2 * [site.get(api).json]
            assert answers[0].headers["content-type"] == "application/json"


def test_a_hostile_name_is_a_name_everywhere(site: Site) -> None:
    for page in all_pages(site, HOSTILE):
        answer = site.get(page)

        assert HOSTILE not in answer.body
        assert page == "/nowhere" or HOSTILE in answer.words + unescape(answer.body)
        assert answer.body.count("<script") == 1  # our own


def test_every_page_allows_itself_only_what_is_its_own(site: Site) -> None:
    nonces = set()
    for page in all_pages(site, "plain"):
        answer = site.get(page)

        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
        nonce = policy.pop("script-src")
        assert policy == {
            "default-src": "'none'",
            "style-src": nonce,
            "img-src": "'self' data:",
            "frame-src": "'self'",
            "form-action": "'self'",
            "connect-src": "'self'",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
        }
        tags = re.findall(r"<(?:style|script)[^>]*>", answer.body)
        assert {re.search('nonce="(.+)"', tag)[1] for tag in tags} == {nonce[len("'nonce-") : -1]}  # type: ignore[index]
        assert not re.findall(r'\s(?:on\w+|style)="', answer.body)
        assert not re.findall(r'(?:src|href|action)="(?!/|\?|#|data:|")[^"]*"', answer.body)
        assert answer.headers["x-content-type-options"] == "nosniff"
        nonces.add(nonce)
    assert len(nonces) == 8


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/runs/none", "Run none not found"),
        ("/runs/none/tasks/x", "Run none not found"),
        ("/pipelines/none", "Pipeline none not found"),
        ("/runs/none/artifacts/x", "Run none not found"),
        ("/?experiment_id=none", "Experiment none not found"),
        ("/nowhere/at/all", "There is nothing at /nowhere/at/all"),
    ],
)
def test_what_is_not_there_is_a_page_for_a_person_and_json_for_a_program(site: Site, path: str, says: str) -> None:
    page, answer = site.get(path), site.get(path, "application/json")

    assert (page.status, answer.status) == (404, 404)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert f"Not found {says}" in page.words
    assert answer.headers["content-type"] == "application/json"


def test_a_wrong_page_token_is_said_and_no_crash(site: Site) -> None:
    page = site.get("/?page_token=nonsense")

    assert (page.status, "This was refused" in page.words) == (400, True)


def test_a_task_is_looked_for_in_its_own_run(site: Site) -> None:
    one, other = site.run("one", "RUNNING"), site.run("other", "RUNNING")
    task = site.task(one, "say")

    assert site.get(f"/runs/{other}/tasks/{task.task_id}").status == 404


@pytest.mark.parametrize("path", ["/apis/v2beta1/nowhere", "/apis/v2beta1/runs/none"])
def test_the_api_tells_a_browser_too_in_its_own_words(site: Site, path: str) -> None:
    assert (site.get(path).status, site.get(path).json["code"]) == (404, 5)


@pytest.mark.parametrize(
    ("states", "buttons"),
    [
        ((), ["Terminate", "Archive"]),
        (("RUNNING",), ["Terminate", "Archive"]),
        (("RUNNING", "CANCELING"), ["Archive"]),
        (("RUNNING", "SUCCEEDED"), ["Archive"]),
        (("RUNNING", "FAILED"), ["Retry", "Archive"]),
        (("CANCELING", "CANCELED"), ["Retry", "Archive"]),
    ],
)
def test_a_run_has_the_buttons_that_its_state_allows(site: Site, states: tuple[str, ...], buttons: list[str]) -> None:
    page = site.get(f"/runs/{site.run('a run', *states)}")

    assert re.findall(r"<button>(\w+)</button>", page.body) == buttons


@pytest.mark.parametrize(
    ("states", "action", "key", "value"),
    [
        (("RUNNING",), "terminate", "state", "CANCELING"),
        (("RUNNING", "FAILED"), "retry", "state", "PENDING"),
        (("RUNNING", "FAILED"), "archive", "storage_state", "ARCHIVED"),
    ],
)
def test_a_button_does_it_and_shows_the_run_again(site: Site, states: Any, action: str, key: str, value: str) -> None:
    run_id = site.run("a run", *states)

    answer = site.post(f"/runs/{run_id}/{action}", origin="http://127.0.0.1:8888", sec_fetch_site="same-origin")

    assert (answer.status, answer.headers["location"]) == (303, f"/runs/{run_id}")
    assert site.get(f"{RUNS}/{run_id}").json[key] == value


def test_an_archived_run_can_be_put_back(site: Site) -> None:
    run_id = site.run()
    site.post(f"/runs/{run_id}/archive")

    assert "<button>Unarchive</button>" in site.get(f"/runs/{run_id}").body
    assert site.post(f"/runs/{run_id}/unarchive").status == 303
    assert site.get(f"{RUNS}/{run_id}").json["storage_state"] == "AVAILABLE"


def test_a_button_may_not_be_pressed_by_a_page_from_elsewhere_nor_by_a_link(site: Site) -> None:
    run_id = site.run("a run", "RUNNING")

    answers = [
        site.post(f"/runs/{run_id}/terminate", origin="http://example.org"),
        site.post(f"/runs/{run_id}/terminate", sec_fetch_site="cross-site"),
        site.get(f"/runs/{run_id}/terminate"),
    ]

    assert [answer.status for answer in answers] == [403, 403, 404]
    assert site.get(f"{RUNS}/{run_id}").json["state"] == "RUNNING"


def test_what_is_refused_is_said(site: Site) -> None:
    page = site.post(f"/runs/{site.run('a run', 'RUNNING', 'SUCCEEDED')}/terminate", accept=HTML)

    assert (page.status, "This was refused Failed to terminate a run" in page.words) == (400, True)


def test_a_pipeline_is_drawn_in_each_of_its_versions(site: Site) -> None:
    pipeline_id = site.pipeline("greetings")
    site.spec["root"]["dag"]["tasks"]["bow"] = {"componentRef": {"name": "comp-say"}, "dependentTasks": ["say"]}
    body = {"display_name": "polite", "name": "polite", "pipeline_spec": site.spec, "pipeline_id": pipeline_id}
    with site.kfp.database.write() as db:
        add_version(db, body)

    newest, listed = site.get(f"/pipelines/{pipeline_id}"), site.get("/pipelines")
    [older] = [
        link for link in listed.links if "version=" in link and link not in newest.links and "polite" not in link
    ][-1:]
    first = site.get(older)

    assert "greetings polite , greetings" in listed.words
    assert re.findall('data-path="(.+?)"', newest.body) == ["say", "bow"]
    assert re.findall('data-path="(.+?)"', first.body) == ["say"]
    assert "Parameter Type Default text string hello" in newest.words


def add_version(db: sqlite3.Connection, body: dict[str, Any]) -> None:
    """Without the upload's route, which takes a file."""
    db.execute(
        "insert into pipeline_versions values ('v2', ?, ?, ?, '', '{}', ?, '', '2100-01-01T00:00:00.000000Z')",
        (body["pipeline_id"], body["name"], body["display_name"], json.dumps(body["pipeline_spec"])),
    )


def test_an_experiment_says_when_it_last_had_a_run_and_leads_to_its_runs(site: Site) -> None:
    site.post("/apis/v2beta1/experiments", {"display_name": "empty"})
    site.run("a run")

    page = site.get("/experiments")
    [runs] = [link for link in page.links if link.startswith("/?experiment_id=") and "Default" in site.get(link).words]

    assert "empty none yet" in page.words
    assert re.search(r"Default All runs .* here\. \d{4}-", page.words)
    assert "a run" in site.get(runs).words


def test_recurring_runs_say_when_the_next_one_is(site: Site) -> None:
    body = {"mode": "ENABLE"}
    nightly = {"cron_schedule": {"cron": "0 30 3 * * *"}}
    site.recurring({**body, "display_name": "nightly", "trigger": nightly})
    hourly = {"periodic_schedule": {"interval_second": 3600}}
    site.recurring({**body, "display_name": "hourly", "trigger": hourly, "mode": "DISABLE"})

    page = site.get("/recurringruns")

    assert re.search(r"nightly ● enabled 0 30 3 \* \* \* UTC Default \d{4}-\d\d-\d\d \d\d:30:00", page.words)
    assert re.search(r"hourly ○ disabled every 3600 s Default(?! \d)", page.words)
    assert re.search(r'datetime="\d{4}-\d\d-\d\dT03:30:00', page.body)


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("00:00:00.000000", "00:00:00.250000", "0.2 s"),
        ("00:00:00.000000", "00:00:59.900000", "59.9 s"),
        ("00:00:00.000000", "00:00:59.990000", "1 min 0 s"),
        ("00:00:00.000000", "00:03:05.400000", "3 min 5 s"),
        ("00:00:00.000000", "02:59:59.900000", "3 h 0 min"),
        ("00:00:01.000000", "00:00:00.000000", "0.0 s"),  # a clock that was set back
    ],
)
def test_how_long_it_took_is_said_as_one_would_say_it(start: str, end: str, said: str) -> None:
    day = "2026-11-21T"

    assert lasting(f"{day}{start}Z", f"{day}{end}Z") == said
    assert lasting(None, None) == ""


def test_a_retried_run_began_when_it_was_retried(site: Site) -> None:
    run_id = site.run("a run", "RUNNING", "FAILED")
    site.post(f"/runs/{run_id}/retry")
    with site.kfp.database.write() as db:
        move(db, run_id, "RUNNING", ("PENDING",))
    history = site.get(f"{RUNS}/{run_id}").json["state_history"]

    assert f'datetime="{history[-1]["update_time"]}"' in site.get(f"/runs/{run_id}").body
