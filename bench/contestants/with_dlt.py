"""All fills of the account with dlt: its REST client, and its ClickHouse destination.

    with_dlt.py API_URL KEY_ID KEY_FILE PORT HTTP_PORT PASSWORD DATABASE FOLDER

Appended, which is its quickest way to write; a second run would store every fill again.
"""

from __future__ import annotations

import base64
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"

import dlt  # type: ignore[import-not-found, unused-ignore]
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from dlt.sources.helpers.rest_client import (  # type: ignore[import-not-found, unused-ignore]
    RESTClient,
)
from dlt.sources.helpers.rest_client.paginators import (  # type: ignore[import-not-found, unused-ignore]
    JSONResponseCursorPaginator,
)
from requests import PreparedRequest
from requests.auth import AuthBase

_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)


class Signature(AuthBase):
    """Signs each request with the account's key."""

    def __init__(self, key_id: str, key_file: str) -> None:
        key = load_pem_private_key(Path(key_file).read_bytes(), password=None)
        assert isinstance(key, RSAPrivateKey)
        self._key, self._key_id = key, key_id

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        stamp = str(int(time.time() * 1000))
        text = f"{stamp}GET{urlsplit(str(request.url)).path}".encode()
        signature = base64.b64encode(self._key.sign(text, _PSS, hashes.SHA256())).decode()
        request.headers["KALSHI-ACCESS-KEY"] = self._key_id
        request.headers["KALSHI-ACCESS-TIMESTAMP"] = stamp
        request.headers["KALSHI-ACCESS-SIGNATURE"] = signature
        return request


def main() -> None:
    url, key_id, key_file, port, http_port, password, database, folder = sys.argv[1:]
    client = RESTClient(
        base_url=url,
        auth=Signature(key_id, key_file),
        paginator=JSONResponseCursorPaginator(cursor_path="cursor", cursor_param="cursor"),
        data_selector="fills",
    )

    @dlt.resource(name="fills", write_disposition="append")  # type: ignore[untyped-decorator, unused-ignore]
    def fills() -> Iterator[object]:
        for path in ("/portfolio/fills", "/historical/fills"):
            yield from client.paginate(path, params={"limit": 1000})

    destination = dlt.destinations.clickhouse(
        credentials={
            "host": "127.0.0.1",
            "port": int(port),
            "http_port": int(http_port),
            "username": "default",
            "password": password,
            "database": database,
            "secure": 0,
        }
    )
    pipeline = dlt.pipeline(
        "fills", pipelines_dir=folder, destination=destination, dataset_name="kalshi"
    )
    pipeline.run(fills()).raise_on_failed_jobs()
    print(pipeline.last_trace.last_normalize_info.row_counts["fills"])


if __name__ == "__main__":
    main()
