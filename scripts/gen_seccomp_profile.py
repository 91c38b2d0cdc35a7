"""Write ``deploy/image/seccomp.json``: Docker's default profile and what bubblewrap needs besides.

``python -m scripts.gen_seccomp_profile [DEFAULT.json]``: without a file, the default profile of the
Docker engine in Debian 12 is taken from its package of sources. ``--check`` only compares.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from scripts.generated import write_or_check

PROFILE = Path(__file__).parent.parent / "deploy" / "image" / "seccomp.json"
NEEDED = (
    "clone",
    "keyctl",
    "mount",
    "pivot_root",
    "sethostname",
    "setns",
    "umount2",
    "unshare",
)
"""The calls with which bubblewrap makes a sandbox, and those of a warm start, which enters the
namespaces of a sandbox (``setns``) and gives it a keyring of its own (``keyctl``).

They make and change namespaces, in which they then have effect. ``clone3`` is not among them: a
profile cannot look at its flags, and the C library goes on with ``clone`` where it is missing.
"""

_PACKAGE = "golang-github-docker-docker-dev"
_MEMBER = "*/docker/docker/profiles/seccomp/default.json"
_COMMENT = (
    "Docker's default profile (github.com/moby/moby, profiles/seccomp/default.json, Apache"
    " License 2.0) and what bubblewrap needs; written by scripts/gen_seccomp_profile.py"
)


def extended(default: dict[str, Any]) -> dict[str, Any]:
    """Return Docker's profile with one more rule, which allows the needed calls to all."""
    rule = {
        "names": sorted(NEEDED),
        "action": "SCMP_ACT_ALLOW",
        "comment": _COMMENT,
    }
    return {**default, "syscalls": [*default["syscalls"], rule]}


def debians_default() -> dict[str, Any]:
    """Return the default profile of Debian's Docker engine, from its package of sources."""
    with tempfile.TemporaryDirectory() as place:
        fetch = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", _PACKAGE]
        subprocess.run(fetch, cwd=place, check=True, stdin=subprocess.DEVNULL)
        (package,) = Path(place).glob("*.deb")
        archive = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", str(package)], check=True, stdout=subprocess.PIPE
        )
        member = ["tar", "-x", "-O", "--wildcards", _MEMBER]
        text = subprocess.run(member, input=archive.stdout, check=True, stdout=subprocess.PIPE)
        profile: dict[str, Any] = json.loads(text.stdout)
        return profile


def main() -> int:
    """Write the profile, or compare."""
    given = [word for word in sys.argv[1:] if not word.startswith("-")]
    default = json.loads(Path(given[0]).read_text()) if given else debians_default()
    text = json.dumps(extended(default), indent=1) + "\n"
    return write_or_check({PROFILE: text}, "python -m scripts.gen_seccomp_profile")


if __name__ == "__main__":
    sys.exit(main())
