"""A body that was cut off on its way is refused at every door, with the bytes that came and were announced."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import RequestFactory

from portal import actions
from portal.bodies import WholeBody, whole
from portal.models import User
from portal.wsgi import application


class Halting(io.RawIOBase):
    """Gives its bytes in pieces of three at most, as a socket may."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(min(size, 3))

    def readline(self, size: int | None = -1) -> bytes:
        return self._inner.readline(size)


@pytest.mark.parametrize("sizes", [(10,), (-1,), (4, 6, 5), (100, 1)])
def test_what_comes_in_pieces_is_read_whole(sizes: tuple[int, ...]) -> None:
    body = WholeBody(Halting(b"0123456789 and the next request"), 10)
    assert b"".join(body.read(size) for size in sizes) == b"0123456789"
    assert body.read(1) == body.readline() == b""


def test_what_ends_early_is_refused_with_both_numbers() -> None:
    for read in (WholeBody.read, WholeBody.readline):
        body = WholeBody(Halting(b"01234"), 10)
        with pytest.raises(OSError, match="after 5 of 10 bytes"):
            [read(body, 4) for _ in range(4)]


def test_a_request_without_a_length_is_passed_on_untouched() -> None:
    seen: list[Any] = []

    def inner(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ["wsgi.input"])
        return []

    stream = io.BytesIO()
    for length in ("", "nonsense"):
        whole(inner)({"wsgi.input": stream, "CONTENT_LENGTH": length}, None)
    assert seen == [stream, stream]


def sent(path: str, kind: str, data: bytes, length: int, **more: str) -> tuple[str, str]:
    """Status and text of the answer to a body of which only `data` arrived."""
    environ = RequestFactory().generic("POST", path, data, content_type=kind).environ
    environ |= {"CONTENT_LENGTH": str(length), "wsgi.input": io.BytesIO(data), **more}
    got: list[str] = []
    text = b"".join(application(environ, lambda status, headers, *_: got.append(status)))
    return got[0], text.decode()


@pytest.mark.django_db(transaction=True)  # as a server does, a request closes the connection it finds
def test_json_that_is_cut_off_where_it_is_still_json_is_refused(owner: User) -> None:
    header = f"Bearer {actions.token_create(user=owner, name='test')[1]}"
    status, text = sent("/api/v1/tokens/", "application/json", b'{"name": "a"}', 40, HTTP_AUTHORIZATION=header)
    assert status.startswith("400")
    assert "cut off after 13 of 40 bytes. Nothing was kept" in text


@pytest.mark.django_db(transaction=True)  # as a server does, a request closes the connection it finds
@pytest.mark.parametrize("more", [{}, {"HTTP_HX_REQUEST": "true"}])
def test_a_form_that_is_cut_off_is_refused_by_that_sentence_not_taken_for_forged(more: dict[str, str]) -> None:
    data = urlencode({"username": "ada", "password": "secr"}).encode()
    kind = "application/x-www-form-urlencoded"
    status, text = sent("/sign-in/", kind, data, len(data) + 2, **more)
    assert status.startswith("400")
    assert f"cut off after {len(data)} of {len(data) + 2} bytes" in text
