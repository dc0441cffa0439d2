from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from localkfp import download as module
from localkfp.download import download
from localkfp.errors import ApiError
from tests.localkfp.web import Web, serving


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as web:
        yield web


def refusal(url: str) -> tuple[int, str]:
    with pytest.raises(ApiError) as refused:
        download(url)
    return refused.value.code.http, refused.value.chain


def test_a_file_comes_with_its_name(web):
    url = web.offer("/a%20b/p%C3%A9.yaml", b"content")

    assert download(f"{url}?token=x#y") == ("pé.yaml", b"content")


def test_a_redirect_is_followed(web):
    web.offer("/there.yaml", b"content")
    url = web.offer("/here.zip", b"", 302, Location="/there.yaml")

    assert download(url) == ("here.zip", b"content")


@pytest.mark.parametrize(
    "url",
    [
        *("", "greeting.yaml", "http://", "http://[::1", "http://host:port/", "/etc/passwd", "http://a..b/"),
        *("file:///etc/passwd", "file:/etc/passwd", "ftp://localhost/p", "data:,x"),
    ],
)
def test_what_is_no_url_of_http_is_refused(url):
    status, said = refusal(url)

    assert (status, said.startswith(f"Invalid input error: invalid pipeline spec URL: {url} (")) == (400, True)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1:1/p.yaml", "data:,x"])
def test_no_redirect_leads_away_from_http(web, target):
    assert refusal(web.offer("/p.yaml", b"", 302, Location=target))[0] == 400


def test_a_redirect_in_a_circle_ends(web):
    status, said = refusal(web.offer("/p.yaml", b"", 302, Location="/p.yaml"))

    assert (status, "Exceeded 30 redirects" in said) == (500, True)


def test_what_is_not_there_is_refused_with_the_status(web):
    status, said = refusal(f"{web.url}/none.yaml")

    assert (status, said) == (
        400,
        f"Invalid input error: error fetching pipeline spec from {web.url}/none.yaml - request returned 404",
    )


def test_a_server_that_is_gone_is_told_of():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    status, said = refusal(f"http://127.0.0.1:{port}/p.yaml")

    assert status == 500
    assert f"error downloading the pipeline spec from http://127.0.0.1:{port}/p.yaml" in said


@pytest.mark.parametrize("path", ["/a b", "/\n", "/é", "/\x00"])
def test_a_url_that_no_header_can_hold_is_refused(web, path):
    assert refusal(f"{web.url}{path}")[0] in (400, 500)


def test_what_is_too_large_is_not_read_to_its_end(web, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 10)

    assert download(web.offer("/10.yaml", b"x" * 10))[1] == b"x" * 10
    assert refusal(web.offer("/11.yaml", b"x" * 11)) == (
        400,
        "Invalid input error: File size too large. Maximum supported size: 10",
    )


def test_what_drips_is_given_up(web, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.3)
    web.slowness = 0.05
    url = web.offer("/p.yaml", b"x" * 200)

    started = time.monotonic()
    status, said = refusal(url)

    assert (status, "takes longer than" in said) == (500, True)
    assert time.monotonic() - started < 5
