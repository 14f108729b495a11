"""Check what is about to be released: versions agree, the archives hold what they must.

python scripts/check_release.py dist
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def complaints(dist: Path) -> list[str]:
    """Return what is wrong with the wheel and the sdist in a folder."""
    found = []
    code = (ROOT / "kalshi_fills" / "__init__.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'__version__ = "(.+)"', code)
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changes, re.MULTILINE):
        found.append(f"CHANGELOG.md has no dated section for {version}")
    cron_job = (ROOT / "deploy" / "kubernetes" / "cronjob.yaml").read_text(encoding="utf-8")
    if set(re.findall(r"image: kalshi-fills:(\S+)", cron_job)) != {version}:
        found.append(f"the images of deploy/kubernetes/cronjob.yaml are not of {version}")

    statements = {str(path.relative_to(ROOT)) for path in (ROOT / "queries").rglob("*.sql")}
    with zipfile.ZipFile(dist / f"kalshi_fills-{version}-py3-none-any.whl") as wheel:
        in_wheel = set(wheel.namelist())
    found += [
        f"the wheel lacks {name}" for name in statements if f"kalshi_fills/{name}" not in in_wheel
    ]

    with tarfile.open(dist / f"kalshi_fills-{version}.tar.gz") as sdist:
        in_sdist = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = statements | {
        "README.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
        "Makefile",
    }
    for folder in ("docs", "deploy"):
        wanted |= {
            str(path.relative_to(ROOT))
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and "secrets" not in path.parts
        }
    found += [f"the sdist lacks {name}" for name in wanted - in_sdist]
    found += [f"the sdist has {name}" for name in in_sdist if name.endswith((".pem", ".env"))]
    return sorted(found)


if __name__ == "__main__":
    wrong = complaints(Path(sys.argv[1]))
    sys.exit("\n".join(wrong) if wrong else 0)
