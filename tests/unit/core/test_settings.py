"""Settings: B73-B80, B106-B111, compatibility-0.3.16.md 6."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mograder.core.item_dates import written_dates
from mograder.core.sections.settings_model import HubSettings
from mograder.core.settings import FILE_NAME, Origin, describe
from tests.unit.core.conftest import Load, Refusal


def test_without_a_file_every_setting_has_its_documented_default(load: Load) -> None:
    """B106, B107, B108, B109, B110, B111."""
    loaded = load()
    hub = loaded.settings.hub
    assert (hub.port, hub.host, hub.session_ttl) == (8080, "0.0.0.0", 3600)
    assert (hub.notebooks_dir, hub.release_dir) == ("hub-notebooks", "hub-release")
    assert (hub.trusted_header, hub.uv_cache_dir) == ("X-Remote-User", "")
    assert (hub.instructors, hub.trusted_proxies, hub.base_url) == ((), None, "")
    assert loaded.settings.security.use_bubblewrap is None
    assert loaded.settings.rlimits.as_ is None
    assert loaded.settings.dirs.import_ == "import"
    assert set(loaded.origins.values()) == {Origin.DEFAULT}
    assert loaded.warnings == ()


def test_each_layer_wins_over_the_one_below_it(load: Load) -> None:
    text = "[hub]\nport = 1\nhost = 'file'\nsession_ttl = 10\n"
    environ = {"MOGRADER_HUB_HOST": "environment", "MOGRADER_HUB_SESSION_TTL": "20"}
    loaded = load(text, environ=environ, hub__session_ttl=30, hub__release_dir=None)
    hub = loaded.settings.hub
    assert (hub.port, hub.host, hub.session_ttl) == (1, "environment", 30)
    assert hub.release_dir == "hub-release"
    expected = {
        "hub.port": Origin.FILE,
        "hub.host": Origin.ENVIRONMENT,
        "hub.session_ttl": Origin.OPTION,
        "hub.release_dir": Origin.DEFAULT,
    }
    assert {key: loaded.origins[key] for key in expected} == expected


def test_a_whole_file_of_0_3_16_opens(load: Load) -> None:
    loaded = load(
        """
title = "Numerics"
transport = "https"
[[moodle.assignments]]
name = "A1"
id = 4
cmid = 5
duedate = 1767225600
[[moodle.assignments.files]]
name = "A1.py"
url = "https://moodle.example.net/A1.py"
[moodle]
url = "https://moodle.example.net"
course_id = "12"
[https]
url = "http://localhost:9000"
token = "alice:abc"
[defaults]
timeout = 7200
[rlimits]
as = 0
cpu = 60
[security]
use_bubblewrap = false
[dirs]
import = "moodle-import"
[penalties]
enabled = true
per_day = 10
[edit_links]
molab = "https://molab.example.net/?c={content_lz}"
[hub]
port = 8080
uv_cache_dir = ""  # empty = default ~/.cache/uv
"""
    )
    settings = loaded.settings
    assert loaded.warnings == ()
    assert settings.assignments[0].files[0].name == "A1.py"
    assert settings.moodle.course_id == 12
    assert settings.https.token.get_secret_value() == "alice:abc"
    assert settings.defaults.timeout == 3600, "the longest that a sandbox runs"
    assert (settings.rlimits.as_, settings.dirs.import_) == (0, "moodle-import")
    assert settings.edit_links["molab"].endswith("{content_lz}")
    assert settings.security.use_bubblewrap is False
    assert loaded.origins["rlimits.as"] is Origin.FILE
    assert loaded.origins["assignments"] is Origin.FILE


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[hub]\nprot = 1", ["hub.prot", FILE_NAME, "hub.port"]),
        ("[hub]\nsession-ttl = 1", ["hub.session-ttl", "hub.session_ttl"]),
        ("[hub]\nuse_bubblewrap = true", ["hub.use_bubblewrap", "security.use_bubblewrap"]),
        ("[security]\nuse_bublewrap = true", ["security.use_bubblewrap"]),
        ("[limits]\nprocess = 3", ["limits.processes"]),
        ("[database]\nurll = ''", ["database.url"]),
        ("hub = 3", ["hub must be a table", "[hub]"]),
        ("[hub]\nport = '8080'", ["hub.port must be a whole number, not '8080'"]),
        ("[hub]\nport = true", ["hub.port must be a whole number, not true"]),
        ("[hub]\nport = 70000", ["hub.port must be at most 65535"]),
        ("[hub]\nsession_ttl = 0", ["hub.session_ttl must be at least 1"]),
        ("[hub]\nsession_ttl = 99999999999999", ["hub.session_ttl must be at most"]),
        ("[marking]\nrequests_days = 9999999", ["marking.requests_days must be at most"]),
        ("[defaults]\njobs = 0", ["defaults.jobs must be at least 1"]),
        ("[defaults]\ntimeout = 0", ["defaults.timeout must be at least 1"]),
        ("[hub]\nhost = 1", ["hub.host must be text"]),
        ("[hub]\nnotebooks_dir = ''", ["hub.notebooks_dir must not be empty"]),
        ("[hub]\ninstructors = 'prof'", ["hub.instructors must be a list"]),
        ("[hub]\ninstructors = ['a/b']", ["hub.instructors.0", "'a/b'"]),
        ("[hub]\ninstructors = ['__instructor__']", ["hub.instructors.0"]),
        ("[hub]\ntrusted_proxies = ['10.0.0.1/8']", ["trusted_proxies.0", "host bits"]),
        ("[hub]\ntrusted_proxies = ['localhost']", ["trusted_proxies.0", "'localhost'"]),
        ("[hub]\ntrusted_header = 'X Remote'", ["hub.trusted_header"]),
        ("[hub]\nfront_group = 'hall'", ["hub.front_group", "mograder hub proxy-config nginx"]),
        ("[hub]\nsession_isolation = 'same-origin'", ["hub.session_isolation", "session_url"]),
        ("[security]\nuse_bubblewrap = 'yes'", ["must be true or false, not 'yes'"]),
        (
            "[safety]\nallow_imports = ['os.path']",
            ["by their first name, such as os, not"],
        ),
        ("[safety]\nallow_calls = ['opne']", ["must list builtins of Python, such as open, not"]),
        ("[safety]\nallow_import = ['os']", ["safety.allow_import", "allow_imports"]),
        ("[security]\nsandbox_uid_base = 0", ["at least 1000"]),
        ("[security]\nsandbox_uid_base = 3000000000", ["at most 2000000000"]),
        ("colour = 'blue'", ["colour is not a setting"]),
        ("[securty]\nuse_bubblewrap = true", ["[security]"]),
        ("[workshop]\nx = 1", ["workshop is not a setting"]),
        ("[moodle]\nuri = 'x'", ["Did you mean moodle.url?"]),
        ("[penalties]\nmax = 'fifty'", ["penalties.max must be a number"]),
        ("[items.A1]\nweight = nan", ["items.A1.weight must be a number, not nan"]),
        ("[penalties]\nper_dya = 50", ["Did you mean penalties.per_day?"]),
        ("[hubb]\ncollect = true", ["Did you mean [hub]?"]),
        ("[https]\nport = 1", ["https.port is not a setting"]),
        ("[hub]\nport = 1\nport = 2\n", ["port is there twice"]),
        (f"[hub]\nport = {'9' * 5000}", ["has a value without end"]),
        ("[penalties.max]\nx = 1", ["penalties.max must be a number"]),
        ("moodle = 3", ["moodle must be a table"]),
        ("transport = 'pigeon'", ['one of "moodle" or "https"']),
        ("assignments = 'A1'", ["assignments must be a list"]),
        ("assignments = ['A1']", ["assignments.0 must be a table"]),
        ("[edit_links]\na = 1", ["edit_links.a must be text"]),
        ("[https]\ntoken = 5", ["https.token must be text"]),
        ("items = 3", ["items must be a table, written [items.NAME]"]),
        ("[items]\nA1 = 3", ["items.A1 must be a table"]),
        ("[items.A1]\nalow = []", ["items.A1.alow is not a setting", "allow"]),
        ("[items.A1]\nallow = 'ai'", ["items.A1.allow must be a list, not 'ai'"]),
        ("[items.A1]\nallow = ['shell']", ["items.A1.allow.0 must list", "terminal", "'shell'"]),
        ("[items.A1]\nlimits = 3", ["items.A1.limits must be a table, not 3"]),
        ("[items.A1.limits]\nmemory = 1", ["items.A1.limits.memory is not", "memory_mb"]),
        ("[items.A1.limits]\nmemory_mb = 0", ["items.A1.limits.memory_mb must be at least 1"]),
        ("[items.A1.limits]\nmemory_mb = '2'", ["must be a whole number, not '2'"]),
        ("[items.A1.limits]\nmemory_mb = true", ["must be a whole number, not true"]),
        ("[items.A1.limits]\nmemory_mb = 1e3", ["must be a whole number"]),
        ("[items.A1.limits]\ntmp_mb = 99999999999", ["items.A1.limits.tmp_mb must be at most"]),
        ("[items.'a/b']\n", ["[items]", "'a/b'"]),
        ("[items.user]\n", ["[items]", "reserved"]),
        ("[items.'e\u0301']\n[items.'\u00e9']\n", ["is there twice"]),
    ],
)
def test_a_mistake_is_refused_with_its_path_and_remedy(
    refusal: Refusal, text: str, parts: list[str]
) -> None:
    """An ignored typing error would start a hub that collects nothing, or change marks."""
    message = refusal(text)
    assert FILE_NAME in message
    assert [part for part in parts if part not in message] == [], message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[nodes]\nruns_dir = 'hub-notebooks'", ["[nodes] runs_dir", "[hub] notebooks_dir"]),
        ("[nodes]\nruns_dir = 'hub-notebooks/runs'", ["[hub] notebooks_dir", "[nodes] runs_dir"]),
        ("[nodes]\nruns_dir = 'submitted'", ["[nodes] runs_dir", "[dirs] submitted"]),
        ("[hub]\nnotebooks_dir = '.'", ["[hub] notebooks_dir", "[hub] release_dir"]),
        ("[hub]\nrelease_dir = 'hub-notebooks'", ["[hub] release_dir", "[hub] notebooks_dir"]),
        ("[hub]\nenvironments_dir = 'x/../hub-notebooks'", ["[hub] environments_dir"]),
        ("[hub]\nenvironments_dir = '.mograder'", ["[hub] environments_dir", ".mograder"]),
        ("[hub]\nnotebooks_dir = 'link'", ["[hub] notebooks_dir", "[dirs] submitted"]),
    ],
)
def test_no_directory_of_the_hub_is_or_holds_another(
    refusal: Refusal, tmp_path: Path, text: str, parts: list[str]
) -> None:
    """Students' work was removed as earlier runs, or left out of backups as environments."""
    (tmp_path / "link").symlink_to("submitted")
    message = refusal(text)
    assert [part for part in parts if part not in message] == [], message


def test_a_course_may_have_its_sources_at_the_top_and_hand_out_what_it_publishes(
    load: Load,
) -> None:
    loaded = load("[dirs]\nsource = '.'\nimport = ''\n[hub]\nrelease_dir = 'release'")
    assert loaded.path(loaded.settings.dirs.release) == loaded.path("release")


def test_the_environment_is_converted_and_lists_are_split_at_commas(load: Load) -> None:
    environ = {
        "MOGRADER_HUB_PORT": "9000",
        "MOGRADER_HUB_INSTRUCTORS": "prof, ann,",
        "MOGRADER_HUB_TRUSTED_PROXIES": "",
        "MOGRADER_SECURITY_USE_BUBBLEWRAP": "true",
        "MOGRADER_DATABASE_URL": "postgresql://hub:hunter2@db/hub",
        "MOGRADER_HTTPS_TOKEN": "alice:abc",
        "MOGRADER_MOODLE_URL": "https://moodle.example.net",
        "MOGRADER_TRANSPORT": "https",
        "MOGRADER_RLIMITS_AS": "0",
    }
    loaded = load(environ=environ)
    settings = loaded.settings
    assert settings.hub.port == 9000
    assert settings.hub.instructors == ("prof", "ann")
    # Empty means no one, which differs from unset.
    assert settings.hub.trusted_proxies == ()
    assert settings.security.use_bubblewrap is True
    assert settings.https.token.get_secret_value() == "alice:abc"
    assert (settings.transport, settings.rlimits.as_) == ("https", 0)
    assert loaded.origins["https.token"] is Origin.ENVIRONMENT
    assert loaded.warnings == ()


def test_an_empty_variable_hides_no_server_of_the_file(load: Load) -> None:
    """CI passes a secret that is not set as an empty text."""
    names = ("MOODLE_URL", "HTTPS_URL", "HTTPS_TOKEN")
    environ = {f"MOGRADER_{each}": " " for each in names}
    settings = load('[moodle]\nurl = "https://m.example"\n', environ=environ).settings
    assert settings.moodle.url == "https://m.example"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MOGRADER_HUB_PORT", "eighty"),
        ("MOGRADER_HUB_PORT", ""),
        ("MOGRADER_HUB_BASE_URL", "../x"),
        ("MOGRADER_PENALTIES_MAX", "much"),
        ("MOGRADER_SECURITY_USE_BUBBLEWRAP", "perhaps"),
        ("MOGRADER_HUB_TRUSTED_PROXIES", "10.0.0.1, proxy"),
    ],
)
def test_a_bad_value_names_its_variable(refusal: Refusal, name: str, value: str) -> None:
    assert refusal(environ={name: value}).startswith(f"{name} ")


def test_a_variable_that_is_no_setting_is_a_warning_and_credentials_are_not(load: Load) -> None:
    loaded = load(
        environ={
            "MOGRADER_HUB_PROT": "1",
            "MOGRADER_HUB_SECRET": "s",
            "MOGRADER_HUB_URL": "u",
            "MOGRADER_OIDC_SECRET": "o",
            "MOGRADER_MAIL_PASSWORD": "p",
            "MOGRADER_HUB_INSTRUCTOR_TOKEN": "t",
            "MOGRADER_DASHBOARD": "1",
        }
    )
    assert loaded.warnings == (
        "The variable MOGRADER_HUB_PROT is not a setting. Did you mean MOGRADER_HUB_PORT?",
    )


def test_a_bad_option_is_named_as_it_is_typed_and_an_unknown_key_as_it_is(refusal: Refusal) -> None:
    assert "--port must be a whole number, not 'x'. It sets hub.port." in refusal(hub__port="x")
    assert "Did you mean hub.port?" in refusal(hub__prot=1)


def test_an_options_path_and_list_are_taken_as_they_are(load: Load) -> None:
    hub = load(hub__notebooks_dir=Path("/srv/nb"), hub__instructors=["prof"]).settings.hub
    assert (hub.notebooks_dir, hub.instructors) == ("/srv/nb", ("prof",))


def test_a_secret_is_never_in_a_complaint_or_a_repr(load: Load, refusal: Refusal) -> None:
    assert "hunter2" not in refusal("[database]\nurl = ['hunter2']")
    assert "hunter2" not in refusal("[https]\ntoken = ['hunter2']")
    environ = {"MOGRADER_DATABASE_URL": "postgresql://u:hunter2@h/d", "MOGRADER_HTTPS_TOKEN": "tk9"}
    assert "hunter2" not in repr(load("title = 'T'", environ=environ))
    assert "tk9" not in repr(load("title = 'T'", environ=environ))


def test_describe_lists_every_key_and_masks_secrets(load: Load) -> None:
    loaded = load(
        "config_url = 'https://h/c.toml?token=abc'\n"
        "[https]\ntoken = 'alice:abc'\n[database]\nurl = 'postgresql://u:a/b@c@h/d'"
    )
    rows = {row.key: row for row in describe(loaded)}
    assert rows.keys() == loaded.origins.keys()
    assert rows["https.token"].value == "***"
    assert rows["database.url"].value == "postgresql://u:***@h/d"
    assert rows["config_url"].value == "https://h/c.toml?token=***"
    assert rows["hub.port"].value == 8080
    assert rows["hub.trusted_proxies"].value is None


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-12-01T18:00:00+01:00", "2026-12-01T17:00:00+00:00"),
        ("2026-12-01T18:00", "2026-12-01T17:00:00+00:00"),
        ("2026-12-01T18:00\r", "2026-12-01T17:00:00+00:00"),
        ("2026-12-01 18:00  # at noon of our colleagues", "2026-12-01T17:00:00+00:00"),
        ("2026-12-01T18:00+02:00", "2026-12-01T16:00:00+00:00"),
        ("2026-12-01T18:00:00", "2026-12-01T17:00:00+00:00"),
        ("2026-12-01 18:00:00", "2026-12-01T17:00:00+00:00"),
        ("2026-12-01", "2026-12-01T22:59:59+00:00"),
        ('"2026-12-01T18:00"', "2026-12-01T17:00:00+00:00"),
        ('"2026-12-01"', "2026-12-01T22:59:59+00:00"),
        ('"2026-12-01T18:00Z"', "2026-12-01T18:00:00+00:00"),
        ("1795629600", "2026-11-25T18:00:00+00:00"),
        ('"1795629600"', "2026-11-25T18:00:00+00:00"),
        ("20261201", "2026-12-01T22:59:59+00:00"),
        ('"20261201"', "2026-12-01T22:59:59+00:00"),
        ("0", None),
        ('""', None),
    ],
)
def test_a_due_date_is_written_as_people_and_moodle_write_it(
    load: Load, written: str, moment: str | None
) -> None:
    loaded = load(f'timezone = "Europe/Berlin"\n[items."A1"]\ndue = {written}\n')
    due = written_dates(loaded.settings, "A1").due
    assert (due.isoformat() if due else None) == moment
    json.dumps([row.value for row in describe(loaded)])


def test_an_opening_date_alone_is_its_first_moment_and_a_closing_one_its_last(load: Load) -> None:
    text = 'timezone = "Europe/Berlin"\n[items."A1"]\nopens = 2026-12-01\ncloses = 2026-12-01\n'
    dates = written_dates(load(text).settings, "A1")
    assert (str(dates.opens), str(dates.closes)) == (
        "2026-11-30 23:00:00+00:00",
        "2026-12-01 22:59:59+00:00",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[items.A1]\ndue = "soon"', "items.A1.due must be a time such as 2026-12-01T18:00"),
        ("[items.A1]\ndue = 2026", "items.A1.due must be a time such as 2026-12-01T18:00"),
        ("[items.A1]\ndue = 18:00:00", "items.A1.due must be a time such as 2026-12-01T18:00"),
        ("[items.A1]\ndue = true", "items.A1.due must be"),
        ("[items.A1]\ncloses = 9999-12-31", "items.A1.closes must be a time such as"),
        ('[penalties]\nhard_limit = "9999-12-31"', "penalties.hard_limit must be a time such as"),
        ("[items.A1]\ndue = 2026-12-02\nopens = 2026-12-03", "A1 is due before it opens."),
        ("[items.A1]\ndue = 2026-12-02\ncloses = 2026-12-01", "A1 closes before it is due."),
        ('timezone = "Berlin"', "timezone must be a time zone such as Europe/London"),
        ('[[assignments]]\nname = "A1"\nduedate = 2026-12-02', 'due in [items."NAME"]'),
    ],
)
def test_a_date_that_cannot_be_meant_stops_with_its_name(
    refusal: Refusal, text: str, words: str
) -> None:
    assert words in refusal(text)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("0.0.0.0", "127.0.0.1:8080"),
        ("localhost", "127.0.0.1:8080"),
        ("::", "[::1]:8080"),
        ("10.0.3.7", "10.0.3.7:8080"),
        ("fd00::7", "[fd00::7]:8080"),
    ],
)
def test_a_hub_is_asked_where_it_listens(host: str, here: str) -> None:
    """`hub check` looked at 127.0.0.1, and took a hub at another address for a stranger."""
    assert HubSettings(host=host).here == here


ITEMS = """
[limits]
memory_mb = 1000
[items.A1]
allow = ["terminal"]
[items."Week 1 & 2".limits]
memory_mb = 4096
processes = 32
"""
"""``[items.NAME]``: what the administrator decides about one item, and where it is shown."""


def test_an_items_table_is_read_and_what_is_not_set_stays_open(load: Load) -> None:
    items = load(ITEMS).settings.items
    assert set(items) == {"A1", "Week 1 & 2"}
    assert items["A1"].allow == ("terminal",)
    assert items["A1"].limits.model_dump(exclude_none=True) == {}
    week = items["Week 1 & 2"]
    assert week.allow is None
    assert week.limits.model_dump(exclude_none=True) == {"memory_mb": 4096, "processes": 32}


def test_what_is_set_is_described_under_the_key_that_the_file_has(load: Load) -> None:
    loaded = load(ITEMS)
    rows = {row.key: row for row in describe(loaded)}
    shown = {key: row.value for key, row in rows.items() if key.startswith("items")}
    assert shown == {
        "items.A1.allow": ["terminal"],
        'items."Week 1 & 2".limits.memory_mb': 4096,
        'items."Week 1 & 2".limits.processes': 32,
    }
    assert {rows[key].origin for key in shown} == {Origin.FILE}
    assert rows.keys() == loaded.origins.keys()


def test_an_item_that_allows_nothing_is_not_one_that_says_nothing(load: Load) -> None:
    items = load("[items.A1]\nallow = []\n[items.A2]\n").settings.items
    assert (items["A1"].allow, items["A2"].allow) == ((), None)


def test_a_name_is_the_same_however_it_is_composed(load: Load) -> None:
    """The keyboard of one system writes an accent apart from its letter, another's does not."""
    assert set(load("[items.'Ex e\u0301']\n").settings.items) == {"Ex \u00e9"}


def test_only_the_file_has_items(load: Load, refusal: Refusal) -> None:
    loaded = load(environ={"MOGRADER_ITEMS_A1_ALLOW": "ai", "MOGRADER_ITEMS": "x"})
    assert loaded.settings.items == {}
    assert "MOGRADER_ITEMS_A1_ALLOW is not a setting" in loaded.warnings[0]
    assert "There is no setting items" in refusal(items={"A1": {}})
    assert "There is no setting items.A1.allow" in refusal(items__A1__allow=["ai"])


def test_penalties_of_an_item_are_the_keys_that_it_sets(load: Load, refusal: Refusal) -> None:
    loaded = load(
        "[penalties]\nhard_limit = 2027-02-28T18:00:00+01:00\n"
        "[items.A1.penalties]\nper_day = 10\nenabled = false\n"
    )
    assert loaded.settings.penalties.hard_limit == "2027-02-28T18:00:00+01:00"
    rule = loaded.settings.items["A1"].penalties
    assert rule.model_dump(exclude_none=True) == {"per_day": 10, "enabled": False}
    rows = {row.key: row.value for row in describe(loaded)}
    assert rows["items.A1.penalties.per_day"] == 10
    assert "items.A1.penalties.per_days is not a setting" in refusal(
        "[items.A1.penalties]\nper_days = 1\n"
    )
    assert "must be a time such as" in refusal('[items.A1.penalties]\nhard_limit = "soon"\n')


@pytest.mark.parametrize(
    ("written", "limit"),
    [
        ('"2027-02-28"', "2027-02-28T23:59:59+00:00"),
        ("2027-02-28", "2027-02-28T23:59:59+00:00"),
        ('"2027-02-28T23:59"', "2027-02-28T23:59:00+00:00"),
    ],
)
def test_a_hard_limit_on_a_day_is_its_end(load: Load, written: str, limit: str) -> None:
    loaded = load(f"[penalties]\nhard_limit = {written}\n")
    assert loaded.settings.penalties.hard_limit == limit
