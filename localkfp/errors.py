"""What goes wrong is told in the codes, words and shape of the KFP API server: clients match on them."""

from __future__ import annotations

from enum import Enum
from typing import Any


class Code(Enum):
    """A gRPC code, the HTTP status that the gateway makes of it, and how the server's own text of it begins."""

    INVALID_ARGUMENT = (3, 400, "Invalid input error: ")
    NOT_FOUND = (5, 404, "ResourceNotFoundError: ")
    ALREADY_EXISTS = (6, 409, "Already exist error: ")
    PERMISSION_DENIED = (7, 403, "PermissionDenied: ")
    FAILED_PRECONDITION = (9, 400, "FailedPreconditionError: ")
    ABORTED = (10, 409, "BadRequestError: ")  # the server's "bad request" is no 400
    UNIMPLEMENTED = (12, 501, "")
    INTERNAL = (13, 500, "InternalServerError: ")

    def __init__(self, grpc: int, http: int, prefix: str) -> None:
        self.grpc, self.http, self.prefix = grpc, http, prefix


class ApiError(Exception):
    """A refusal: one sentence for the user, and in front of it what was being done."""

    def __init__(self, code: Code, message: str, outer: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.outer = code, message, outer

    @property
    def chain(self) -> str:
        return f"{self.outer}{self.outer and ': '}{self.code.prefix}{self.message}"

    def body(self) -> dict[str, Any]:
        code, status = self.code.grpc, "type.googleapis.com/google.rpc.Status"
        detail = {"@type": status, "code": code, "message": self.message}
        return {"code": code, "message": self.chain, "details": [detail]}


def invalid(message: str, outer: str = "") -> ApiError:
    return ApiError(Code.INVALID_ARGUMENT, message, outer)


def not_found(kind: str, id_: str) -> ApiError:
    return ApiError(Code.NOT_FOUND, f"{kind} {id_} not found")


def already_exists(kind: str, name: str) -> ApiError:
    message = f"Failed to create a new {kind}. The name {name} already exists. Please specify a new name"
    return ApiError(Code.ALREADY_EXISTS, message)


def internal(message: str) -> ApiError:
    return ApiError(Code.INTERNAL, message)


def found(row: Any, kind: str, id_: str) -> Any:
    """The row, if there is one."""
    if row is None:
        raise not_found(kind, id_)
    return row
