from __future__ import annotations

import pytest

from localkfp.errors import ApiError, Code, already_exists, found, internal, invalid, not_found

NAME_IS_TAKEN = "Failed to create a new experiment. The name a already exists. Please specify a new name"


@pytest.mark.parametrize(
    ("error", "http", "code", "message", "short"),
    [
        (not_found("Run", "7"), 404, 5, "ResourceNotFoundError: Run 7 not found", "Run 7 not found"),
        (invalid("no", "outer"), 400, 3, "outer: Invalid input error: no", "no"),
        (already_exists("experiment", "a"), 409, 6, f"Already exist error: {NAME_IS_TAKEN}", NAME_IS_TAKEN),
        (internal("it broke"), 500, 13, "InternalServerError: it broke", "it broke"),
        (ApiError(Code.ABORTED, "no"), 409, 10, "BadRequestError: no", "no"),
        (ApiError(Code.FAILED_PRECONDITION, "no"), 400, 9, "FailedPreconditionError: no", "no"),
    ],
)
def test_a_refusal_has_the_servers_code_words_and_shape(error, http, code, message, short):
    detail = {"@type": "type.googleapis.com/google.rpc.Status", "code": code, "message": short}

    assert error.code.http == http
    assert error.body() == {"code": code, "message": message, "details": [detail]}


def test_what_is_found_is_given_and_what_is_not_is_named():
    assert found({"a": 1}, "Run", "7") == {"a": 1}
    with pytest.raises(ApiError, match="Run 7 not found"):
        found(None, "Run", "7")
