"""Trying an installation: services, HTTPS, a sandbox and a session; and what to do next."""

from __future__ import annotations

from mograder.core.errors import MograderError
from mograder.operations.install.course import COURSE
from mograder.operations.install.options import InstallOptions
from mograder.operations.install.services import WRAPPER, is_active
from mograder.processes.programs import Host

_AUTHORITY = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
_CURL = ("curl", "--noproxy", "*", "-fsS", "-m", "20", "-o", "/dev/null")

_NEXT = """
The hub runs{at}.
An instructor's token, to be kept secret: sudo mograder-hub generate-token --role instructor admin

What to do next:
  1. Edit {course}/mograder.toml: how students hand in ([moodle] or [https]), [hub] instructors.
     Then: sudo systemctl restart mograder-hub (sessions go on)
  2. Publish, from the machine where the course is written:
     mograder hub publish A1 {way} --token TOKEN
  3. Prepare the environments: sudo mograder-hub warm-cache --all
{front}Look after it: sudo mograder-hub check · journalctl -u mograder-hub -f
Back it up:    (umask 077; sudo mograder-hub backup - > backup.tar.gz)"""
"""Without a token: this output may be kept in a log."""


def verify(host: Host, options: InstallOptions) -> None:
    """Try all of it, and count what is wrong in ``host.problems``."""
    if host.dry:
        host.say("A dry run: nothing was changed.")
        return
    host.step("Trying all of it")
    for name in ("mograder-sessions", "mograder-hub", *(["caddy"] if options.domain else [])):
        host.verified(
            is_active(host, name),
            f"{name} is active",
            f"{name} is not active: systemctl status {name}",
        )
    url = f"http://127.0.0.1:{options.port}"
    host.verified(
        host.succeeds(*_CURL, f"{url}/health"),
        f"the hub answers at {url}",
        f"the hub does not answer at {url}: journalctl -u mograder-hub",
    )
    if options.domain:
        _verify_front(host, options)
    host.say("a session is opened and closed, and a sandbox looked at from inside (some minutes")
    host.say("the first time, since packages are downloaded):")
    host.verified(
        host.attempt(WRAPPER, "check", "--session", shown=True),
        "mograder-hub check finds nothing wrong",
        "mograder-hub check found something: its lines are above",
    )


def _verify_front(host: Host, options: InstallOptions) -> None:
    # A certificate from the internet takes a moment, and a name that leads here.
    patient = ("--retry", "20", "--retry-delay", "3", "--retry-all-errors")
    trusting = ("--cacert", _AUTHORITY) if options.internal_ca else ()
    here = ("--resolve", f"{options.domain}:443:127.0.0.1")
    host.verified(
        host.succeeds(*_CURL, *patient, *trusting, *here, f"https://{options.domain}/health"),
        f"https://{options.domain}/ answers through Caddy",
        f"https://{options.domain}/ does not answer: does the name lead to this machine, and are "
        "ports 80 and 443 open? journalctl -u caddy tells what the certificate lacks.",
    )


def demand_no_problems(host: Host) -> None:
    """Raises: :class:`MograderError` if a check has failed."""
    if host.problems:
        raise MograderError(
            f"{host.problems} thing(s) are not as they should be; see above.",
            hint="Mend them, and run this again.",
        )


def next_steps(options: InstallOptions) -> str:
    """Return what an administrator does after an installation."""
    if options.domain:
        address = f"https://{options.domain}"
        return _NEXT.format(at=f" at {address}/", course=COURSE, way=f"--url {address}", front="")
    port = "" if options.port == InstallOptions().port else f" --ssh-port {options.port}"
    front = (
        "  4. Put a web server with HTTPS and your sign-in in front: mograder hub proxy-config\n"
    )
    # Until then the hub listens on this machine's loopback only.
    return _NEXT.format(at="", course=COURSE, way=f"--ssh LOGIN@MACHINE{port}", front=front)
