"""Every page of the account's fills, decoded and counted; nothing is checked or stored.

    bare_loop.py API_URL KEY_ID KEY_FILE

What no tool that reads pages one after the other can go below.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec
import requests

from kalshi_fills.exchange.signing import Signer, read_private_key


def main() -> None:
    url, key_id, key_file = sys.argv[1:]
    signer = Signer(key_id, read_private_key(Path(key_file).read_text(), key_file))
    session, fills = requests.Session(), 0
    for path in ("/portfolio/fills", "/historical/fills"):
        params = {"limit": "1000"}
        while True:
            headers = signer.headers("GET", "/trade-api/v2" + path, int(time.time() * 1000))
            answer = session.get(url + path, params=params, headers=headers)
            answer.raise_for_status()
            page = msgspec.json.decode(answer.content)
            fills += len(page["fills"])
            if not page["cursor"]:
                break
            params["cursor"] = page["cursor"]
    print(fills)


if __name__ == "__main__":
    main()
