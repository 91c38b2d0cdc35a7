#!/bin/sh
# Makes a fresh Debian 12 into mograder's image: run as root in it, by the Dockerfile or by
# scripts/build-image.
#
#   contents.sh DIRECTORY
#
# The directory holds requirements.txt (mograder's dependencies as locked, with their hashes),
# wheels/ with those packages, and mograder's own wheel. The only network that is needed is Debian's.
set -eu
from="$1"
export DEBIAN_FRONTEND=noninteractive

apt-get update -qq
# bubblewrap makes the sandboxes; uv (a dependency of mograder) builds environments for the system's
# Python.
apt-get install -y -qq --no-install-recommends bubblewrap ca-certificates python3 python3-venv

python3 -m venv /opt/mograder
/opt/mograder/bin/pip install --quiet --no-cache-dir --disable-pip-version-check \
  --no-index --find-links "$from/wheels" --require-hashes -r "$from/requirements.txt"
/opt/mograder/bin/pip install --quiet --no-cache-dir --disable-pip-version-check \
  --no-index --no-deps "$from"/mograder_hub-*.whl
/opt/mograder/bin/pip uninstall --quiet --yes --disable-pip-version-check pip setuptools

# The user of all services; its home holds environments, which a volume may keep.
groupadd --gid 1000 mograder
useradd --uid 1000 --gid 1000 --home-dir /var/lib/mograder --shell /usr/sbin/nologin mograder
install -d -o 1000 -g 1000 -m 755 /var/lib/mograder /srv/mograder

install -m 755 "$from/entrypoint" /usr/local/bin/mograder-container

# Left out of the image: what only the steps above needed.
apt-get purge -y -qq --auto-remove python3-venv
apt-get clean
# The packages' copyright files stay: the image carries the programs that they are about.
find /usr/share/doc -type f ! -name copyright -delete
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/*.log /var/log/apt \
  /usr/share/man/* /usr/share/info/* /usr/share/locale/*
