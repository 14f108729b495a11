"""What everybody can write is refused, with advice that harms nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from kalshi_fills.host.trusted import Untrusted, read_file, require_not_for_everybody


def test_a_file_for_everybody_is_refused_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.touch()
    file.chmod(0o666)

    with pytest.raises(Untrusted) as found:
        require_not_for_everybody(file)

    assert f"chmod o-w {file}" in found.value.hint


def test_nobody_is_told_to_change_a_folder_that_is_meant_to_be_shared(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)

    with pytest.raises(Untrusted) as found:
        require_not_for_everybody(tmp_path)

    assert "chmod" not in found.value.hint


def test_a_device_is_refused_as_what_it_is() -> None:
    require_not_for_everybody(Path("/dev/null"))

    with pytest.raises(Untrusted, match="a pipe or a device") as found:
        read_file(Path("/dev/null"))

    assert "chmod" not in found.value.hint
