"""HTTP sessions that send nothing but what they are given, and whose answers have a deadline."""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests.auth

from kalshi_fills import __version__
from kalshi_fills.exchange import deadline


class _Adapter(requests.adapters.HTTPAdapter):
    """Makes connections whose answers have a deadline."""

    def init_poolmanager(self, *given: Any, **named: Any) -> None:
        super().init_poolmanager(*given, **named)
        self.poolmanager.pool_classes_by_scheme = deadline.POOLS

    def proxy_manager_for(self, *given: Any, **named: Any) -> Any:
        manager = super().proxy_manager_for(*given, **named)
        manager.pool_classes_by_scheme = deadline.POOLS
        return manager


class _NoCredentials(requests.auth.AuthBase):
    """Takes the place of the credentials that would be read from `.netrc` otherwise."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class Session(requests.Session):
    """A session without credentials of `.netrc` and without cookies.

    Redirects are neither followed nor looked at: the library reads their body to the end to prepare
    the next request.

    Args:
        trust_env: whether proxies and CA bundles of the environment are used.
    """

    def __init__(self, *, trust_env: bool) -> None:
        super().__init__()
        self.trust_env = trust_env
        self.auth = _NoCredentials()
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self.headers["User-Agent"] = f"kalshi-fills/{__version__}"
        self.headers["Accept"] = "application/json"
        self.headers["Accept-Encoding"] = "gzip"
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter())

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return nothing, whatever the answer says."""
        return None
