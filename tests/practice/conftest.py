"""Small accounts of the practice exchange."""

import pytest
from support.practising import NOW, WEEK_AGO

from kalshi_fills.practice.account import (
    generate_account,
)


@pytest.fixture(scope="module")
def account():
    return generate_account(7, 2_345, start=WEEK_AGO, end=NOW)


@pytest.fixture(scope="module")
def small():
    return generate_account(11, 60, start=WEEK_AGO, end=NOW)
