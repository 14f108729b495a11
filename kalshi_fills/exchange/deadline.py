"""Connections whose answers have a deadline, and bodies that have a size limit.

A socket's time-out holds for one read: with a byte now and then, a server could be waited for
forever. A few megabytes of gzip can be gigabytes of text, so bodies are decompressed here,
block by block.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import BaseHTTPResponse

ANSWER_SECONDS: Final = 60.0

_BLOCK_BYTES: Final = 1 << 18

_GZIP_WINDOW: Final = 31
"""Tells zlib to read gzip, checksum included."""

_MAX_MEMBERS: Final = 1000


class AnswerTooLarge(Exception):
    """A body is larger than the limit, compressed or decompressed."""


class Undecodable(Exception):
    """A body does not come in the encoding that was asked for; the text says what came."""


class _Incoming(io.RawIOBase):
    """Reads from a socket until a deadline, and times out after it."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._socket = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out: the answer came too slowly")
        silence = self._socket.gettimeout()
        if silence is None or left < silence:
            self._socket.settimeout(left)
        return self._raw.readinto(buffer)

    def fileno(self) -> int:
        return self._raw.fileno()

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *given: Any, **named: Any) -> None:
        super().__init__(sock, *given, **named)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_Incoming(raw, sock, time.monotonic() + ANSWER_SECONDS))


class _Connection(HTTPConnection):
    response_class = _Answer


class _TlsConnection(HTTPSConnection):
    response_class = _Answer


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


POOLS: Final[Mapping[str, type[HTTPConnectionPool]]] = {"http": _Pool, "https": _TlsPool}
"""The pools of such connections by scheme, as `urllib3.PoolManager` takes them."""


def read_body(answer: BaseHTTPResponse, limit: int) -> bytes:
    """Return the decompressed body of an answer whose content is not read yet.

    Raises:
        AnswerTooLarge: it is larger than `limit` bytes.
        Undecodable: it is compressed in a way that was not asked for, or incomplete.
    """
    encoding = answer.headers.get("Content-Encoding", "").strip().lower()
    blocks = _blocks(answer, limit)
    if encoding in ("gzip", "x-gzip"):
        blocks = _unzipped(blocks)
    elif encoding not in ("", "identity"):
        raise Undecodable("sent an encoding that was not asked for")
    return b"".join(_limited(blocks, limit))


def _blocks(answer: BaseHTTPResponse, limit: int) -> Iterator[bytes]:
    # What has come is taken at once: a large read would wait for a dripping server.
    def read() -> Iterator[bytes]:
        while block := answer.read1(_BLOCK_BYTES, decode_content=False):
            yield block

    return _limited(read(), limit)


def _limited(blocks: Iterator[bytes], limit: int) -> Iterator[bytes]:
    left = limit
    for block in blocks:
        left -= len(block)
        if left < 0:
            raise AnswerTooLarge
        yield block


def _unzipped(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what gzip members unpack to, in small blocks; zeros after them are padding."""
    unzip = zlib.decompressobj(_GZIP_WINDOW)
    complete = False
    members = 1
    for data in blocks:
        while data:
            if complete:
                data = data.lstrip(b"\0")
                if not data:
                    break
                unzip, complete = zlib.decompressobj(_GZIP_WINDOW), False
                members += 1
                if members > _MAX_MEMBERS:  # each costs a copy of what follows it
                    raise Undecodable("sent gzip in too many pieces")
            try:
                block = unzip.decompress(data, _BLOCK_BYTES)
                while block:
                    yield block
                    block = unzip.decompress(unzip.unconsumed_tail, _BLOCK_BYTES)
            except zlib.error:
                raise Undecodable("sent a body that is not the gzip it says it is") from None
            complete, data = unzip.eof, unzip.unused_data
    if not complete:
        raise Undecodable("sent less than it announced")
