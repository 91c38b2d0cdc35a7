"""The options of ``mograder grader`` and ``mograder grader-asgi``, and 0.3.16's variables."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace

import pytest

from mograder.core.settings import LoadedSettings
from mograder.web import grader
from mograder.web.grader import ProxyRules
from tests.support.command_line import cli

_VARIABLES = {
    "MOGRADER_INSTRUCTORS": "prof, tutor",
    "MOGRADER_MARKERS": "marta,",
    "MOGRADER_TRUSTED_PROXIES": "10.0.0.1",
    "MOGRADER_TRUST_LOCAL_PROXY": "1",
    "MOGRADER_BASE_URL": "/live/grader/",
}


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """The options with which a grader would have been served behind a proxy."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    served: list[SimpleNamespace] = []

    def serve(loaded: LoadedSettings, rules: ProxyRules, **options: object) -> None:
        served.append(SimpleNamespace(loaded=loaded, rules=rules, **options))

    monkeypatch.setattr(grader, "serve_proxied_grader", serve)
    return served


def test_the_defaults_are_those_of_0_3_16(tmp_path: Path, proxied: list[SimpleNamespace]) -> None:
    cli("grader-asgi", str(tmp_path))
    [options] = proxied
    assert (options.host, options.port, options.base_url) == ("0.0.0.0", 2718, "")
    assert options.loaded.course_dir == tmp_path
    rules = options.rules
    assert rules == ProxyRules(frozenset(), frozenset(), ())


def test_0_3_16s_variables_are_read(
    tmp_path: Path, proxied: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in _VARIABLES.items():
        monkeypatch.setenv(name, value)
    cli("grader-asgi", str(tmp_path))
    [options] = proxied
    assert options.base_url == "/live/grader"
    assert options.rules.instructors == {"prof", "tutor"}
    assert options.rules.markers == {"marta"}
    assert options.rules.proxies == (ip_network("10.0.0.1"),)
    assert options.rules.local_proxy


def test_options_override_variables_and_these_the_settings(
    tmp_path: Path, proxied: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = '[hub]\ninstructors = ["set"]\n[marking]\nmarkers = ["listed"]\n'
    (tmp_path / "mograder.toml").write_text(toml)
    cli("grader-asgi", str(tmp_path))
    monkeypatch.setenv("MOGRADER_INSTRUCTORS", "prof")
    cli("grader-asgi", str(tmp_path), "--markers", "marta,max")
    cli("grader-asgi", str(tmp_path), "--instructors", "lecturer")
    found = [(sorted(each.rules.instructors), sorted(each.rules.markers)) for each in proxied]
    assert found == [
        (["set"], ["listed"]),
        (["prof"], ["marta", "max"]),
        (["lecturer"], ["listed"]),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        ["--base-url", "http://there"],
        ["--trusted-proxies", "there"],
        ["--markers", "a/b"],
        ["-p", "70000"],
    ],
)
def test_an_option_with_a_mistake_is_refused_before_anything_is_served(
    tmp_path: Path, proxied: list[SimpleNamespace], wrong: list[str]
) -> None:
    cli("grader-asgi", str(tmp_path), *wrong, status=2)
    assert proxied == []


def test_the_local_grader_takes_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[dict[str, object]] = []
    monkeypatch.setattr(grader, "serve_grader", lambda loaded, **options: served.append(options))
    cli("grader", str(tmp_path), "--headless", "-p", "0", "--base-url", "/here")
    cli("grader", str(tmp_path / "nowhere"), status=2)
    assert served == [{"port": 0, "headless": True, "base_url": "/here"}]
