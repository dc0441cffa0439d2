from __future__ import annotations

import json
from http.client import HTTPConnection

import pytest

EXPERIMENTS = "/apis/v2beta1/experiments"


def own(kfp_server) -> str:
    return kfp_server.url.removeprefix("http://")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "LOCALHOST", "localhost:9999"])
def test_the_names_of_this_machine_are_answered_at_whatever_port(ask, host):
    assert ask("GET", EXPERIMENTS, headers={"Host": host})[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "[", "0.0.0.0"]
)
@pytest.mark.parametrize("path", ["/", EXPERIMENTS, "/localkfp/dump"])
def test_another_name_is_refused_even_to_read(ask, host, path):
    status, refused = ask("GET", path, headers={"Host": host})

    assert (status, refused["code"]) == (400, 3)
    assert refused["details"][0]["message"].endswith(f'only, not on "{host}"')


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", EXPERIMENTS), ("POST", "/localkfp/reset"), ("DELETE", "/x")])
def test_a_page_from_elsewhere_changes_nothing(ask, headers, method, path):
    status, refused = ask(method, path, {"display_name": "a"}, headers)

    assert (status, refused["code"]) == (403, 7)
    assert ask("GET", EXPERIMENTS)[1]["total_size"] == 1


def test_a_page_of_ours_may_post(kfp_server, ask):
    headers = {"Origin": kfp_server.url, "Sec-Fetch-Site": "same-origin"}

    assert ask("POST", EXPERIMENTS, {"display_name": "a"}, headers)[0] == 200


def test_reading_is_free_as_a_browser_gives_the_answer_to_no_other_page(ask):
    assert ask("GET", EXPERIMENTS, headers={"Origin": "http://evil.example"})[0] == 200


@pytest.mark.parametrize("path", [EXPERIMENTS, "/apis/v2beta1/pipelines/upload"])
def test_a_body_that_is_too_large_is_refused_also_where_the_connection_ends_with_it(ask, path):
    form = {"Content-Type": "multipart/form-data; boundary=b"} if "upload" in path else {}
    head = b'--b\r\nContent-Disposition: form-data; name="uploadfile"; filename="a.yaml"\r\n\r\n' if form else b""

    status, told = ask("POST", path, head + b"x" * (100 << 20), {**form, "Connection": "close"})

    assert (status, "Maximum supported size: 33554432" in json.dumps(told)) == (400, True)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused_and_who_sends_it_hears_so(kfp_server, ask, chunked):
    connection = HTTPConnection(own(kfp_server), timeout=30)
    body = (b"x" * (1 << 20) for _ in range(100))

    connection.request(
        "POST",
        EXPERIMENTS,
        body if chunked else b"".join(body),
        encode_chunked=chunked,
        headers={"Transfer-Encoding": "chunked"} if chunked else {},
    )
    answer = connection.getresponse()

    assert (answer.status, b"Maximum supported size: 33554432" in answer.read()) == (400, True)
    connection.close()
    assert ask("GET", EXPERIMENTS)[0] == 200
