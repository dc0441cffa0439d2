from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from delivery.image_tools import GET
from delivery.images import Image
from tests.delivery.conftest import Outcome

REPO = "registry.example/team/songs"
ID, PUSHED = "1" * 64, "2" * 64
LOCAL = Image(
    name="steps",
    image=f"localhost/songs@sha256:{ID}",
    tag="localhost/songs:0123456789ab",
    builder="docker",
    accelerator="cpu",
    commit="0" * 40,
    dirty=False,
    contents="c" * 64,
)
KEPT = replace(LOCAL, image=f"{REPO}@sha256:{PUSHED}", tag=f"{REPO}:0123456789ab")
BY_HAND = "see what it says by hand"
ABOVE = "read what it said above"
TALK = "the tool talks\n"

# A tool says something, writes what the test has for it to the file that it was told, and ends as the test says.
# A line of <tool>.calls is its words; that file's path, which is another each time, is OUT there.
TOOL = """#!/bin/sh
words= out=
for word; do
  case $word in
    {out}) out=${{word#spdx-json=}}; word=${{word%"$out"}}OUT ;;
  esac
  words="$words $word"
done
echo "$words" >> "$0.calls"
echo "the tool talks"
if [ -n "$out" ] && [ -s "$0.finds" ]; then cat "$0.finds" > "$out"; fi
exit {code}
"""
# A builder: Docker says an id with its algorithm, Podman without, and Buildah does not know the words.
BUILDER = """#!/bin/sh
case "$1 $2" in
  "image inspect") echo '{says}'; if [ {code} -ne 0 ]; then echo "no such image" >&2; fi; exit {code} ;;
esac
"""


class Tools:
    """Tools on the PATH, where nothing else is but what their scripts need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, finds: object = "", *, code: int = 0) -> None:
        """What it finds is JSON, or is not when it is a text; of an empty one it writes no file at all."""
        out = {"syft": "spdx-json=*", "cosign": "nothing"}.get(name, "*/findings.json")
        self._write(name, TOOL.format(out=out, code=code))
        (self.folder / f"{name}.finds").write_text(finds if isinstance(finds, str) else json.dumps(finds))

    def builder(self, name: str = "docker", *, says: str = f"sha256:{ID}", code: int = 0) -> None:
        self._write(name, BUILDER.format(says=says, code=code))

    def calls(self, name: str) -> list[str]:
        log = self.folder / f"{name}.calls"
        return [line.strip() for line in log.read_text().splitlines()] if log.exists() else []

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "cat").symlink_to(str(shutil.which("cat")))
    monkeypatch.setenv("PATH", str(folder))
    return Tools(folder)


def remember(project: Path, image: Image) -> None:
    path = project / f"build/images/{image.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(image)))


def refused(code: int, what: str, where: object, do: str, *, talk: str = "") -> Outcome:
    return Outcome(exit_code=code, out="", err=f"{talk}error: {what}\n  where: {where}\n  to do: {do}\n")


def files(project: Path) -> list[str]:
    return sorted(path.name for path in (project / "build/images").iterdir())


def trivy(*severities: str) -> Any:
    found = [
        {"VulnerabilityID": f"CVE-{number}", "PkgName": "ssl", "InstalledVersion": f"{number}.0", "Severity": severity}
        for number, severity in enumerate(severities, 1)
    ]
    return {"SchemaVersion": 2, "Results": [{"Target": "os"}, {"Vulnerabilities": None}, {"Vulnerabilities": found}]}


def grype(*severities: str) -> Any:
    ids = [{"id": f"CVE-{number}", "severity": severity} for number, severity in enumerate(severities, 1)]
    found = [{"vulnerability": one, "artifact": {"name": "ssl", "version": f"{one['id'][4:]}.0"}} for one in ids]
    return {"matches": found}


def modelscan(*severities: str, scanned: int = 1, errors: tuple[str, ...] = ()) -> Any:
    found = [
        {"description": f"Use of operator {number}", "source": "model.h5", "severity": severity}
        for number, severity in enumerate(severities, 1)
    ]
    said = [{"category": "x", "description": f"{error}\n", "source": "model.h5"} for error in errors]
    summary = {"total_issues_by_severity": {}, "scanned": {"total_scanned": scanned}}
    return {"summary": summary, "issues": found, "errors": said}


NEWER = "take a newer base, or a newer lock (`make lock`); what is no danger here stands in .trivyignore or .grype.yaml"
ONE = "1 critical finding: CVE-2 in ssl 2.0"
TWICE = {**trivy(), "Results": trivy("LOW", "CRITICAL")["Results"] * 2}  # in two of its files
FIVE = "critical findings: " + "; ".join(f"CVE-{number} in ssl {number}.0" for number in range(1, 6))
OPERATORS = "; ".join(f"Use of operator {number} in model.h5" for number in (1, 2))
WHOLE = f"get the whole tool: {GET['modelscan']}"
ASK = "do not load it; ask where it comes from, and train it anew"
UNSEEN = "modelscan did not look at model.h5: "


@pytest.mark.parametrize(
    ("tool", "finds", "said"),
    [
        ("trivy", {"SchemaVersion": 2}, ""),
        ("trivy", {**trivy(), "Results": None}, ""),
        ("trivy", trivy("HIGH", "UNKNOWN"), ""),
        ("trivy", trivy("HIGH", "CRITICAL"), ONE),
        ("trivy", TWICE, ONE),
        ("trivy", trivy(*["CRITICAL"] * 5), f"5 {FIVE}"),
        ("trivy", trivy(*["CRITICAL"] * 7), f"7 {FIVE}, and 2 more"),
        ("grype", grype(), ""),
        ("grype", grype("High", "Negligible"), ""),
        ("grype", grype("High", "Critical"), ONE),
        ("grype", grype(*["Critical"] * 6), f"6 {FIVE}, and 1 more"),
    ],
)
def test_a_critical_finding_is_a_no(project: Path, tools: Tools, mlops: Any, tool: str, finds: Any, said: str) -> None:
    remember(project, KEPT)
    tools.install(tool, finds)

    outcome = mlops("image", "scan")

    good = Outcome(exit_code=0, out=f"{tool} finds nothing critical in {KEPT.image}\n", err=TALK)
    assert outcome == (refused(3, said, KEPT.image, NEWER, talk=TALK) if said else good)


def test_trivy_is_asked_before_grype_and_either_for_the_digest(project: Path, tools: Tools, mlops: Any) -> None:
    remember(project, KEPT)
    for tool, finds in (("grype", grype()), ("trivy", trivy())):
        tools.install(tool, finds)
        assert mlops("image", "scan").out.startswith(f"{tool} finds")

    assert tools.calls("grype") == [f"--quiet --output json --file OUT {KEPT.image}"]
    assert tools.calls("trivy") == [f"image --quiet --scanners vuln --format json --output OUT {KEPT.image}"]


@pytest.mark.parametrize("words", ["scan", "sbom", "sign", "scan --model model.h5"])
def test_a_missing_tool_is_named_with_how_to_get_it(project: Path, tools: Tools, mlops: Any, words: str) -> None:
    remember(project, KEPT)
    (project / "model.h5").touch()

    outcome = mlops("image", *words.split())

    wanted = {"scan": ["trivy", "grype"], "sbom": ["syft"], "sign": ["cosign"]}.get(words, ["modelscan"])
    do = "; or ".join(f"get {tool}: {GET[tool]}" for tool in wanted)
    assert outcome == refused(2, f"{' or '.join(wanted)} is not here", "PATH", do)


@pytest.mark.parametrize("content", [None, "{", '["steps"]', "{}", json.dumps({**asdict(KEPT), "more": 1})])
@pytest.mark.parametrize("verb", ["scan", "sbom", "sign"])
def test_an_image_must_have_been_built(project: Path, tools: Tools, mlops: Any, verb: str, content: Any) -> None:
    if content is not None:
        remember(project, KEPT)
        (project / "build/images/steps.json").write_text(content)

    outcome = mlops("image", verb)

    where, do = project / "build/images", "`mlops image build steps`"
    assert outcome == refused(2, "no image `steps` was built here", where, do)


@pytest.mark.parametrize(
    ("verb", "tool"), [("scan", "trivy"), ("scan", "grype"), ("sbom", "syft"), ("--model", "modelscan")]
)
@pytest.mark.parametrize(
    ("finds", "code", "said"),
    [
        ({**trivy(), **grype(), **modelscan(), "packages": [1]}, 2, ""),
        ("", 0, "wrote nothing that can be read: [Errno 2]"),
        ("Killed", 0, "wrote nothing that can be read: Expecting value"),
        ([], 0, "wrote something else than was asked for"),
    ],
)
def test_a_tool_that_fails_or_writes_what_is_no_answer_is_a_sentence(
    project: Path, tools: Tools, mlops: Any, verb: str, tool: str, finds: Any, code: int, said: str
) -> None:
    remember(project, KEPT)
    model = project / "model.h5"
    model.touch()
    tools.install(tool, finds, code=code)

    outcome = mlops("image", *(["scan", "--model", str(model)] if verb == "--model" else [verb]))

    assert (outcome.exit_code, outcome.out) == (1, "")
    what = {"sbom": "the image cannot be read", "--model": "the model cannot be scanned"}
    sentence = f"{tool} {said}" if said else f"{what.get(verb, 'the image cannot be scanned')}: {tool} ended 2"
    assert outcome.err.startswith(f"the tool talks\nerror: {sentence}")
    assert outcome.err.endswith(f"\n  to do: {BY_HAND if said else ABOVE}\n")
    assert files(project) == ["steps.json"]


@pytest.mark.parametrize("tool", ["trivy", "grype", "modelscan"])
def test_an_answer_without_findings_is_no_pass(project: Path, tools: Tools, mlops: Any, tool: str) -> None:
    remember(project, KEPT)
    tools.install(tool, {"error": "none"})

    outcome = mlops("image", "scan", *(["--model", "pyproject.toml"] if tool == "modelscan" else []))

    what = f"{tool} wrote something else than was asked for"
    assert outcome == refused(1, what, "findings.json", BY_HAND, talk=TALK)


def test_a_tool_that_cannot_be_started_is_a_sentence(project: Path, tools: Tools, mlops: Any) -> None:
    remember(project, KEPT)
    tools.install("trivy")
    (tools.folder / "trivy").write_bytes(b"\x7fELF of another machine")

    assert mlops("image", "scan") == refused(2, "trivy cannot be started: Exec format error", "trivy", "install it")


@pytest.mark.parametrize(
    ("builder", "says", "code", "found"),
    [
        ("docker", f"sha256:{ID}", 0, True),
        ("podman", ID, 0, True),
        ("buildah", "unknown", 125, True),  # it cannot be asked
        ("docker", f"sha256:{'3' * 64}", 0, False),
        ("podman", "3" * 64, 0, False),
        ("docker", "", 1, None),
    ],
)
@pytest.mark.parametrize("verb", ["scan", "sbom"])
def test_an_image_that_no_registry_has_is_found_by_its_tag_while_that_means_it(
    project: Path, tools: Tools, mlops: Any, verb: str, builder: str, says: str, code: int, found: bool | None
) -> None:
    image = replace(LOCAL, builder=builder)
    remember(project, image)
    tools.builder(builder, says=says, code=code)
    tools.install("trivy", trivy())
    tools.install("syft", {"packages": [1]})

    outcome = mlops("image", verb)

    looked = [*tools.calls("trivy"), *tools.calls("syft")]
    if found:
        assert (outcome.exit_code, [words.split()[-1] for words in looked]) == (0, [image.tag])
        return
    asked, again = f"docker image inspect --format {{{{.Id}}}} {image.tag}", "build it again: `mlops image build steps`"
    gone = refused(1, "docker says: no such image", asked, BY_HAND)
    moved = refused(1, f"{image.tag} is another image by now", image.image, again)
    assert outcome == (gone if found is None else moved)
    assert (looked, files(project)) == ([], ["steps.json"])


@pytest.mark.parametrize(
    ("finds", "code", "answer"),
    [
        (modelscan(), 0, None),
        (modelscan("HIGH", "MEDIUM"), 1, None),
        (modelscan("CRITICAL", "CRITICAL", "LOW"), 1, (3, f"2 critical findings: {OPERATORS}", ASK)),
        (modelscan("CRITICAL", errors=("no h5py",)), 1, (3, "1 critical finding: Use of operator 1 in model.h5", ASK)),
        (modelscan(scanned=0, errors=("no h5py", "no tf")), 3, (1, f"{UNSEEN}no h5py; no tf", WHOLE)),
        (modelscan(scanned=0), 3, (1, f"{UNSEEN}it knows no such file", WHOLE)),
        (modelscan(scanned=1, errors=("no h5py",)), 0, (1, f"{UNSEEN}no h5py", WHOLE)),
    ],
)
def test_a_models_file_is_good_when_it_was_looked_at_and_nothing_critical_is_in_it(
    project: Path, tools: Tools, mlops: Any, finds: Any, code: int, answer: Any
) -> None:
    model = project / "model.h5"
    model.touch()
    tools.install("modelscan", finds, code=code)

    outcome = mlops("image", "scan", "--model", str(model))

    talk, good = TALK, f"modelscan finds nothing critical in {model}\n"
    said = refused(answer[0], answer[1], model, answer[2], talk=talk) if answer else None
    assert outcome == (said or Outcome(exit_code=0, out=good, err=talk))
    assert tools.calls("modelscan") == [f"scan -p {model} -r json -o OUT"]


def test_a_models_file_that_is_not_there_is_a_wrong_use(project: Path, tools: Tools, mlops: Any) -> None:
    tools.install("modelscan", modelscan())

    said = refused(2, "there is no file nowhere.h5", "--model", "name a model's file, or a folder of them")
    assert mlops("image", "scan", "--model", "nowhere.h5") == said
    assert tools.calls("modelscan") == []


@pytest.mark.parametrize(("image", "found"), [(LOCAL, LOCAL.tag), (KEPT, KEPT.image)])
def test_a_bill_of_materials_is_named_after_the_very_image_it_is_of(
    project: Path, tools: Tools, mlops: Any, image: Image, found: str
) -> None:
    remember(project, image)
    tools.builder()
    tools.install("syft", {"packages": [{"name": "ssl"}]})

    outcome = mlops("image", "sbom")

    bill = project / f"build/images/steps-{image.digest[:12]}.spdx.json"
    assert outcome == Outcome(exit_code=0, out=f"{bill}\n", err=TALK)
    assert json.loads(bill.read_text()) == {"packages": [{"name": "ssl"}]}
    assert files(project) == [bill.name, "steps.json"]
    assert tools.calls("syft") == [f"scan --quiet --output spdx-json=OUT {found}"]


@pytest.mark.parametrize(
    ("finds", "code", "what", "do"),
    [
        ({"packages": []}, 0, "syft found no package in the image", BY_HAND),
        ({"name": "songs"}, 0, "syft found no package in the image", BY_HAND),
        ({"packages": [2]}, 1, "the image cannot be read: syft ended 1", ABOVE),
    ],
)
def test_a_bill_that_cannot_be_written_whole_is_not_and_the_one_there_stays(
    project: Path, tools: Tools, mlops: Any, finds: Any, code: int, what: str, do: str
) -> None:
    remember(project, KEPT)
    tools.install("syft", finds, code=code)
    said = refused(1, what, KEPT.image, do, talk=TALK)

    assert mlops("image", "sbom") == said
    assert files(project) == ["steps.json"]

    tools.install("syft", {"packages": [1]})
    bill = Path(mlops("image", "sbom").ok.strip())
    tools.install("syft", finds, code=code)
    assert mlops("image", "sbom") == said
    assert (json.loads(bill.read_text()), files(project)) == ({"packages": [1]}, [bill.name, "steps.json"])


def test_an_image_that_was_never_pushed_is_not_signed(project: Path, tools: Tools, mlops: Any) -> None:
    remember(project, LOCAL)
    tools.install("cosign")

    what = "an image is signed where it is kept, and this one was never pushed"
    assert mlops("image", "sign") == refused(2, what, LOCAL.image, "`mlops image build steps --push`")
    assert tools.calls("cosign") == []


@pytest.mark.parametrize(("key", "options"), [("", "--yes"), ("env://KEY", "--yes --key env://KEY")])
@pytest.mark.parametrize("bill_of", [None, LOCAL, KEPT])
def test_a_digest_is_signed_and_the_bill_of_this_image_and_of_no_other(
    project: Path, tools: Tools, mlops: Any, bill_of: Image | None, key: str, options: str
) -> None:
    remember(project, KEPT)
    tools.install("cosign")
    if bill_of:
        (project / bill_of.bill).write_text("{}")

    outcome = mlops("image", "sign", *(["--key", key] if key else []))

    with_bill = bill_of is KEPT
    out = f"signed: {KEPT.image}{' and its bill of materials' * with_bill}\n"
    assert outcome == Outcome(exit_code=0, out=out, err=TALK * (1 + with_bill))
    attest = f"attest {options} --type spdxjson --predicate {project / KEPT.bill} {KEPT.image}"
    assert tools.calls("cosign") == [f"sign {options} {KEPT.image}", *([attest] * with_bill)]


@pytest.mark.parametrize("fails", ["sign", "attest"])
def test_what_cannot_be_signed_is_a_sentence(project: Path, tools: Tools, mlops: Any, fails: str) -> None:
    remember(project, KEPT)
    (project / KEPT.bill).write_text("{}")
    tools.install("cosign")
    script = tools.folder / "cosign"
    script.write_text(script.read_text().replace("exit 0", f"[ $1 != {fails} ]"))

    outcome = mlops("image", "sign")

    what = "the image" if fails == "sign" else "the bill of materials"
    talk = TALK * len(tools.calls("cosign"))
    assert outcome == refused(1, f"{what} cannot be signed: cosign ended 1", KEPT.image, ABOVE, talk=talk)
    assert len(tools.calls("cosign")) == ["sign", "attest"].index(fails) + 1
