"""KFP's own client as this project wants it: its patience ends, and its errors are sentences."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import kfp
from kfp_server_api import ApiException
from kfp_server_api.rest import RESTClientObject
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from delivery.environments import Environment
from delivery.errors import AccessDenied, Failed, NoAnswer, WrongUse
from delivery.secrets import Secret

SECONDS = (5, 30)  # to connect, and for an answer; kfp.Client itself would wait for ever
CORRECT = "correct `endpoint` in the environment: the URL of a KFP API, without /apis"
CREDENTIALS = (
    "name a token in the environment (`token: {env: NAME}` or `token: {file: PATH}`); or"
    " give kfp's client what the endpoint wants: client_authentication_header_name and"
    " client_authentication_header_value in ~/.config/kfp/context.json; or reach it by `kubectl port-forward`"
)


class _Rest(RESTClientObject):
    """KFP's way to the network, on which no request waits for ever."""

    def request(self, *args: Any, **kwargs: Any) -> Any:
        return super().request(*args, **{**kwargs, "_request_timeout": SECONDS})


class Client(kfp.Client):
    """KFP's own client, with patience that ends."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._run_api.api_client.rest_client = _Rest(self._existing_config)  # all its APIs share this one

    def _load_config(self, *args: Any) -> Any:
        config = super()._load_config(*args)
        config.retries = Retry(0, raise_on_redirect=False)  # who watches a run tries again; a login page is no answer
        return config

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        """Asked once: KFP's own tries five times, five seconds apart, and logs a traceback each time."""
        return self._healthz_api.healthz_service_get_healthz(_request_timeout=SECONDS)  # before there is a _Rest, too

    def get_run(self, run_id: str) -> dict[str, Any]:
        """The answer as it came: kfp_server_api would need 15 ms for its objects, and this is asked all the time."""
        return as_json(self._run_api.run_service_get_run(run_id, _preload_content=False))

    def create_run(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Without the link that KFP's own prints."""
        return as_json(self._run_api.run_service_create_run(run=body, _preload_content=False))

    def log(self, run_id: str, node: str) -> str:
        """What a node printed; the generated API lacks this route, though the server has it."""
        answer = self._run_api.api_client.call_api(
            "/apis/v1alpha1/runs/{run}/nodes/{node}/log",
            "GET",
            path_params={"run": run_id, "node": node},
            auth_settings=["Bearer"],
            _preload_content=False,  # it is text, and the generated code would try it as JSON
            _return_http_data_only=True,
        )
        return bytes(answer.data).decode("utf-8", "replace")


@contextmanager
def in_sentences(environment: Environment) -> Iterator[None]:
    """An error of KFP's client becomes one of ours: 400 is a wrong use, anything else a failure."""
    try:
        yield
    except HTTPError as error:
        do = "start it, or correct `endpoint` in the environment; `mlops doctor` asks it again"
        why = str(getattr(error, "reason", None) or error).rpartition("): ")[2]  # before that stand urllib3's objects
        where = environment.endpoint_setting
        raise NoAnswer(f"the endpoint does not answer: {why}", where=where, do=do) from error
    except ApiException as error:
        raise _sentence(error, environment) from error


def _sentence(error: ApiException, environment: Environment) -> Failed | WrongUse:
    where, said = environment.endpoint_setting, _said(error)
    what = f"the endpoint says {error.status}: {said}"
    token = f"the token of {_place(environment.token)}" if environment.token else ""
    if error.status == HTTPStatus.BAD_REQUEST:
        return WrongUse(said, where=where, do="correct what it names: the package, a parameter or the environment")
    if error.status == HTTPStatus.UNAUTHORIZED and token:
        what = f"{what}; {token} has expired, or is not for this endpoint"
        return AccessDenied(what, where=where, do="renew it there")
    if error.status == HTTPStatus.FORBIDDEN:
        namespace = f"namespace `{environment.namespace}`" if environment.namespace else "its namespace"
        do = "let its account work there, or correct `namespace` or `token` in the environment"
        return AccessDenied(f"{what}; {token or 'the caller'} may not do this in {namespace}", where=where, do=do)
    if error.status in (HTTPStatus.FOUND, HTTPStatus.UNAUTHORIZED):  # found: a login page
        return AccessDenied(what, where=where, do=CREDENTIALS)
    if error.status == HTTPStatus.TOO_MANY_REQUESTS or not error.status or error.status >= 500:
        return NoAnswer(what, where=where, do="try again; the server's own log says more")
    return Failed(what, where=where, do=CORRECT)


def _place(secret: Secret) -> str:
    return f"the variable {secret.env}" if secret.env else f"the file {secret.file}"


def as_json(answer: Any) -> dict[str, Any]:
    """An answer as it came, without the objects that kfp_server_api would make of it."""
    try:
        return dict(json.loads(answer.data))
    except (TypeError, ValueError) as error:
        raise ApiException(status=HTTPStatus.BAD_GATEWAY, reason="what came is no JSON") from error


def _said(error: ApiException) -> str:
    """The server's own words, without the stack that some of its errors carry."""
    try:
        body = json.loads(error.body or "{}")
        said = body.get("message") or body.get("error_details") or body.get("error_message")  # uploads have two
    except (ValueError, AttributeError):
        said = None
    return next(iter(str(said or error.reason or "nothing").strip().splitlines()), "nothing")
