"""``mograder serve``: a course over plain HTTPS (B135-B145, B156; compatibility-0.3.16.md 4)."""

from __future__ import annotations

from pathlib import Path

import click

from mograder.cli.shared.options import PATH


@click.command("serve")
@click.argument("directory", type=PATH, default=".")
@click.option("-p", "--port", type=click.IntRange(0, 65535), help="Port.  [default: $PORT, 8080]")
@click.option("--host", help="Address.  [default: 127.0.0.1; 0.0.0.0 where $PORT is set]")
@click.option("--release-dir", type=PATH, help="Files in RELEASE/ASSIGNMENT/, without files/.")
@click.option("--submissions-dir", type=PATH, help="Submissions.  [default: DIRECTORY/submitted]")
@click.option(
    "--enrollment-code",
    help="Let students register who know this code.  [env var: MOGRADER_ENROLLMENT_CODE]",
)
@click.option("--enrollment-code-file", type=PATH, help="The same, read from a file.")
@click.option("--roster", type=PATH, help="Only names in this file may register, one a line.")
@click.option("--no-auth", is_flag=True, help="Ask nobody for a token; for local testing.")
@click.option("--force", is_flag=True, help="Let others in with --no-auth, too.")
@click.option("--web", is_flag=True, help="Let students work in the browser alone, too.")
@click.option("--generate-tokens", type=PATH, help="Print tokens for the names in a file; exit.")
@click.option("--tls-cert", type=PATH, help="Serve HTTPS with this certificate chain (PEM).")
@click.option("--tls-key", type=PATH, help="The certificate's key (PEM).")
def serve(directory: Path, **options: object) -> None:
    """Serve a course over HTTPS, without Moodle.

    It hands out assignments, takes submissions and gives grades and feedback back. Every
    directory in DIRECTORY with files/ in it is an assignment. Put a front with HTTPS before it,
    or give it a certificate.
    """
    from mograder.cli.serve_run import run  # noqa: PLC0415  # the server is heavy

    run(directory, options)
