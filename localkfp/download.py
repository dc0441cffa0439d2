"""A package from a URL is read over HTTP only, up to a size, and within a time."""

from __future__ import annotations

import time
from urllib.parse import unquote, urlsplit

import requests  # type: ignore[import-untyped]
from urllib3.exceptions import HTTPError

from localkfp.errors import ApiError, Code, invalid

LARGEST = 32 << 20
SECONDS = 30
CHUNK = 1 << 16


def download(url: str) -> tuple[str, bytes]:
    """The name of the file and what is in it; `requests` knows no other schemes, where a redirect leads either."""
    deadline, data = time.monotonic() + SECONDS, bytearray()
    try:
        with requests.get(url, stream=True, timeout=SECONDS) as response:
            if not response.ok:
                raise invalid(f"error fetching pipeline spec from {url} - request returned {response.status_code}")
            while chunk := response.raw.read1(CHUNK, decode_content=True):  # not `read`, which waits for all of a chunk
                data += chunk
                if len(data) > LARGEST:
                    raise invalid(f"File size too large. Maximum supported size: {LARGEST}")
                if time.monotonic() > deadline:
                    raise TimeoutError(f"it takes longer than {SECONDS} s")
    except ValueError as error:  # no URL, or none of HTTP
        raise invalid(f"invalid pipeline spec URL: {url} ({error})") from None
    except (OSError, HTTPError) as error:
        raise ApiError(Code.INTERNAL, f"error downloading the pipeline spec from {url}: {error}") from None
    return unquote(urlsplit(url).path).rpartition("/")[2], bytes(data)
