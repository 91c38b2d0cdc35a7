"""``mograder https`` for students: sign in, fetch, submit, read feedback, and look at receipts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from shlex import quote

import click
import httpx

from mograder.cli.https.server import Server, offered_assignment, server_options
from mograder.cli.shared.console import plain
from mograder.cli.shared.lazy import Lazy, LazyGroup
from mograder.cli.shared.options import (
    EXISTING_DIRECTORY,
    EXISTING_FILE,
    NOTEBOOK,
    dry_run_option,
    feedback_dir_option,
    what_to_fetch,
)
from mograder.cli.shared.result import Result, json_option, tell
from mograder.cli.shared.student_work import StudentWork
from mograder.clients.assignment_server.client import HttpsTransport, register
from mograder.clients.assignment_server.protocol import COPY_AGAIN, REFUSED, SIGN_IN, Identity
from mograder.clients.certificate import tls_trouble
from mograder.clients.http import RetryPolicy
from mograder.clients.token_store import demand_user_of
from mograder.core.errors import NotAuthenticated, NotFound, RemoteFailed
from mograder.core.settings import read_environ
from mograder.exchange.student.submit import (
    KeptReceipt,
    check_notebook,
    is_of,
    kept_receipts,
    open_receipt,
    receipts_of,
)
from mograder.store.course.course import shown

_MOMENT = "%a %d %b %Y, %H:%M:%S %Z"
_directory_option = click.option(
    "--dir",
    "directory",
    type=EXISTING_DIRECTORY,
    default=Path(),
    show_default=True,
    help="Where the notebooks are: the receipts are in .mograder/ there, or one level below.",
)


@click.command("login")
@click.option("--show", is_flag=True, help="Print the token that is kept, to sign in elsewhere.")
@click.option("--forget", is_flag=True, help="Remove the token that is kept for --url.")
@json_option
@server_options
def login(*, server: Server, show: bool, forget: bool) -> Result:
    """Keep a token for a server.

    Later commands for the same address find it, and need no address as long as it is your only
    server. The file is readable by you alone. A token that the server refuses is not kept, nor
    one for an address where no assignment server answers; a server that cannot be reached now is
    no obstacle, but its address does not count beside one that has answered.
    """
    if show and forget:
        raise click.UsageError("Give one of --show and --forget.")
    if show:
        return _kept_token(server)
    if forget:
        return _forget_token(server)
    token = server.told_token
    if not token:
        raise click.UsageError("Missing option '--token'.")
    user = demand_user_of(token)
    url = server.new_url
    checked = _check(server, token)
    identity = checked or Identity(user=user)
    server.tokens.save(url, token, identity.user, untried=checked is None)
    told = {
        "url": url,
        "user": identity.user,
        "role": identity.role or None,
        "checked": checked is not None,
        "cache": str(server.tokens.path),
    }
    if checked is None:
        tell("The server cannot be reached now, so the token was not tried.", err=True)
        tell(f"If the address is wrong: mograder https login --forget --url {quote(url)}", err=True)
    return Result(told, [f"Token cached for {url} (user: {identity.user})"])


def _kept_token(server: Server) -> Result:
    found = server.tokens.find(server.url)
    if found is None:
        raise NotFound(f"No token is kept for {server.url}.", hint=SIGN_IN)
    return Result({"url": found.url, "user": found.user, "token": found.token}, [found.token])


def _forget_token(server: Server) -> Result:
    url = server.new_url
    if not server.tokens.forget(url):
        raise NotFound(f"No token is kept for {url}.")
    return Result({"url": url, "forgotten": True}, [f"The token for {url} is removed."])


@click.command("register")
@click.argument("username")
@click.option(
    "--enrollment-code",
    metavar="CODE",
    help="The course's code.  [env var: MOGRADER_ENROLLMENT_CODE; default: ask for it]",
)
@json_option
@server_options
def register_command(*, server: Server, username: str, enrollment_code: str | None) -> Result:
    """Join a course with its enrollment code.

    The server gives you a personal token, which is kept for later commands. A name is given out
    once: whoever has lost a token asks the instructor.
    """
    url = server.new_url
    code = (enrollment_code or _code()).strip()
    cached = server.tokens.find(url)
    known = cached.token if cached and cached.user == username else ""
    key = server.tokens.retry_key(url, username)
    given = register(url, username, code, retry_key=key, token=known, insecure=server.insecure)
    server.tokens.save(url, given.token, given.user)
    told = {"url": url, "user": given.user, "cache": str(server.tokens.path)}
    line = f"Registered as {given.user}. Token cached for {url} (user: {given.user})"
    return Result(told, [line])


def _code() -> str:
    given = read_environ().enrollment_code
    if given is not None:
        return given.get_secret_value()
    if not sys.stdin.isatty():
        raise click.UsageError("Missing option '--enrollment-code'.")
    return str(click.prompt("Enrollment code", hide_input=True, err=True))


def _check(server: Server, token: str) -> Identity | None:
    """Ask the server for the token's identity; None if the server cannot be reached."""
    once = RetryPolicy(tries=1)
    with HttpsTransport(server.url, token, insecure=server.insecure, retry=once) as transport:
        try:
            return transport.who_am_i()
        except NotAuthenticated as error:
            raise NotAuthenticated(REFUSED, hint=COPY_AGAIN) from error
        except RemoteFailed as error:
            away = isinstance(error.__cause__, httpx.TransportError)
            if not away or tls_trouble(error.__cause__) is not None:
                raise
            return None


@contextmanager
def _connected(server: Server, *, dry_run: bool = False) -> Iterator[StudentWork]:
    with server.connected() as (transport, transfers):
        find = partial(offered_assignment, transport, dry_run=dry_run)
        yield StudentWork(transport, find, transfers.say, transport.url)


@click.command("fetch")
@what_to_fetch
@click.option(
    "--draft", is_flag=True, help="Put your newest work on the server in the notebook's place."
)
@json_option
@server_options
def fetch_command(
    *, server: Server, assignment: str | None, listed: bool, output_dir: Path, draft: bool
) -> Result:
    """Download an assignment, or list them all.

    ASSIGNMENT is a name, a number of the list, or a part of a name that only one has. Zips are
    unpacked. A file that you have edited is kept under another name, which is told. What broke
    off goes on when the command is run again. If you have newer work on the server, from a
    browser or another computer, that is told too; --draft takes it.
    """
    if not assignment and not listed:
        raise click.UsageError("Name an assignment, or use --list.")
    with _connected(server) as work:
        if listed or not assignment:
            return work.list()
        return work.fetch(assignment, output_dir, draft=draft)


@click.command("submit")
@click.argument("assignment")
@click.argument("file", type=NOTEBOOK)
@click.option("--late", is_flag=True, help="Let it replace one that was on time, without asking.")
@click.option("--yes", is_flag=True, help="Let it replace newer work, without asking.")
@dry_run_option
@json_option
@server_options
def submit_command(
    *, server: Server, assignment: str, file: Path, late: bool, yes: bool, dry_run: bool
) -> Result:
    """Hand a notebook in.

    Every submission is kept, and the latest counts. The server's receipt is kept beside the
    notebook, in .mograder/receipts/. A late one takes the place of one that was on time only if
    you agree; so does one that would replace newer work, from a browser or another computer, that
    this folder has not seen. That work is kept beside FILE.
    """
    check_notebook(file)
    with _connected(server, dry_run=dry_run) as work:
        found = work.find(assignment)
        if dry_run:
            return work.preview(found, file)
        return work.submit(found, file, late=late, yes=yes)


@click.command("feedback")
@click.argument("assignment")
@feedback_dir_option
@json_option
@server_options
def feedback_command(*, server: Server, assignment: str, output_dir: Path | None) -> Result:
    """Show your status, grade and feedback."""
    with _connected(server) as work:
        return work.feedback(assignment, output_dir)


@click.group(
    "receipt",
    cls=LazyGroup,
    table={
        "show": Lazy("mograder.cli.https.student:show_command"),
        "verify": Lazy("mograder.cli.https.student:verify_command"),
    },
)
def receipt() -> None:
    """Look at the receipts of what was handed in."""


@click.command("show")
@click.argument("assignment")
@_directory_option
@json_option
def show_command(*, assignment: str, directory: Path) -> Result:
    """Show the receipts for an assignment.

    The latest comes first.
    """
    kept = _find_receipts(assignment, directory)
    return Result(
        [_receipt_json(each) for each in kept],
        (line for each in kept for line in _receipt_lines(each)),
    )


@click.command("verify")
@click.argument("receipt_or_assignment")
@click.option("--file", type=EXISTING_FILE, help="A notebook that it should be for.")
@_directory_option
@json_option
@server_options
def verify_command(
    *, server: Server, receipt_or_assignment: str, file: Path | None, directory: Path
) -> Result:
    """Ask the server whether a receipt is genuine.

    RECEIPT_OR_ASSIGNMENT is a receipt's file, or an assignment's name for the latest one here.
    It needs no token. Exits with 1 if the server did not sign it, no longer holds what
    it is for, or --file has other bytes.
    """
    path = Path(receipt_or_assignment)
    kept = (
        open_receipt(path)
        if path.is_file()
        else _find_receipts(receipt_or_assignment, directory)[0]
    )
    # The receipt may be forged: prefer the server that we know, and send no token to either.
    url = server.named_url or kept.server or server.url
    with HttpsTransport(url, "") as transport:
        verdict = transport.verify_receipt(kept.receipt.text)
    matches = None if file is None else is_of(kept.receipt, file)
    told = {
        **_receipt_json(kept),
        "valid": verdict.valid,
        "stored": verdict.stored,
        "counts": verdict.counts,
        "message": verdict.message,
        "matches_file": matches,
    }
    genuine = "It is genuine." if verdict.valid else "It is not genuine."
    lines = [*_receipt_lines(kept), plain(verdict.message) or genuine]
    if matches is not None:
        lines.append(f"{file} is {'exactly' if matches else 'NOT'} what it is for.")
    failed = not (verdict.valid and verdict.stored) or matches is False
    return Result(told, lines, int(failed))


def _find_receipts(assignment: str, directory: Path) -> tuple[KeptReceipt, ...]:
    """Return the receipts here and one level below, since each assignment has its own directory."""
    below = sorted(path for path in directory.iterdir() if path.is_dir())
    found = [kept for each in (directory, *below) for kept in kept_receipts(each)]
    try:
        return receipts_of(assignment, found)
    except NotFound as error:
        raise NotFound(
            f"There is no receipt for '{assignment}' in {directory.absolute()}.",
            hint=f"{error.hint} Or give the directory of the notebook by --dir.",
        ) from error


def _receipt_lines(kept: KeptReceipt) -> list[str]:
    receipt = kept.receipt
    late = " (late)" if receipt.late else ""
    told = (
        f"{receipt.assignment}, submission {receipt.sequence} of {receipt.user}",
        f"  Received: {receipt.received.astimezone():{_MOMENT}}{late}",
        f"  File:     {receipt.filename}, {receipt.size} bytes",
        f"  SHA-256:  {receipt.sha256}",
        f"  Server:   {kept.server or '-'}",
        f"  Receipt:  {shown(kept.path.absolute())}",
    )
    return [plain(line) for line in told]  # it may be forged


def _receipt_json(kept: KeptReceipt) -> dict[str, object]:
    return {
        "server": kept.server or None,
        "path": str(kept.path),
        "receipt": json.loads(kept.receipt.text),
    }
