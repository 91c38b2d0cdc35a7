#!/usr/bin/env bash
# Makes a mograder hub of an Ubuntu or Debian machine by SSH, and may be run again at any time.
#
#   bash scripts/deploy-hub-aws.sh --host HOST --key KEY.pem [OPTIONS]
#
# --help lists the options. The script copies a wheel and itself to the machine. There it installs uv
# and that wheel, whose `mograder hub install --systemd` does the rest. Needed: python3 here, and there
# a login that may use sudo without a password, packages of the distribution and a Python package index.
# mograder itself never comes from an index, where that name belongs to another program.
set -euo pipefail

top=/opt/mograder
certificates=/etc/ssl/certs/ca-certificates.crt
host="" key="" user=ubuntu ssh_port=22 mograder_version="" ca_file="" instead=""
index_url="" proxy="" domain="" remote="" home="" rest=()
place="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
scratch="$(mktemp -d)"
chmod 755 "$scratch" # apt reads certificates in it as a user of its own
trap 'if [ -n "$remote" ]; then over_ssh "rm -rf $remote" || true; fi; rm -rf "$scratch"' EXIT

say() { printf '[deploy] %s\n' "$*"; }
step() { printf '[deploy] == %s\n' "$*"; }
fail() { printf '[deploy] !! %s\n' "$@" >&2; exit 1; }

# Keeps --NAME=VALUE in a variable, or in `rest` for `mograder hub install`, which checks it again.
take() {
  local name="${1%%=*}"
  name="${name#--}"
  name="${name//-/_}"
  case "$name" in
    rollback | uninstall) instead="$name" ;;
    host | key | user | ssh_port | mograder_version | ca_file) printf -v "$name" %s "${1#*=}" ;;
    index_url | proxy | domain) printf -v "$name" %s "${1#*=}"; rest+=("$1") ;;
    *) rest+=("$1") ;;
  esac
}

# --- from afar ---------------------------------------------------------------------------------

# Prints the wheel to install: given, fetched or built. The same checkout gives the same bytes.
find_wheel() {
  local source="${place%/*}" pip=(python3 -m pip) uv
  uv="$(PATH="$source/.tools/uv/bin:$PATH" type -P uv || true)" # not the function of that name below
  if [ -n "$uv" ]; then pip=("$uv" tool run -q pip); fi
  case "$mograder_version" in
    git+*) "${pip[@]}" wheel -q --no-deps --wheel-dir "$scratch" "$mograder_version" >&2 ;;
    https://*) curl -fsSL --proto '=https' --output-dir "$scratch" -O "$mograder_version" ;;
    ?*) cp "$mograder_version" "$scratch" ;;
    *) grep -qsx 'name = "mograder-hub"' "$source/pyproject.toml" || fail "This script belongs to no" \
        "checkout of mograder. Give its wheel file: --mograder-version mograder_hub-VERSION-….whl"
      step "Making a wheel of $source" >&2
      if [ -n "$uv" ]; then "$uv" build -q --wheel --out-dir "$scratch" "$source" >&2
      else "${pip[@]}" wheel -q --no-deps --wheel-dir "$scratch" "$source" >&2; fi ;;
  esac || fail "No wheel was made of ${mograder_version:-$source}; the reason is above." \
    "Install uv, or make the wheel elsewhere and give it with --mograder-version FILE."
  find "$scratch" -name 'mograder_hub-[0-9]*.whl' | grep . ||
    fail "$mograder_version is no wheel of mograder, by its name (mograder_hub-VERSION-….whl)."
}

over_ssh() {
  ssh -i "$key" -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15 \
    -o StrictHostKeyChecking=accept-new -p "$ssh_port" "$user@$host" "$@"
}

# Copies the file $2 to the machine under the name $3, and tells it there by the option $1.
take_along() {
  over_ssh "cat > $remote/$3" <"$2"
  rest+=("--$1=$remote/$3")
}

deploy_from_afar() {
  local name wheel="" words made
  [ -r "$key" ] || fail "The key $key cannot be read."
  if [ -z "$instead" ]; then wheel="$(find_wheel)"; fi
  step "Connecting to $user@$host"
  made="$(over_ssh 'mktemp -d /tmp/mograder-deploy.XXXXXXXX')" ||
    fail "SSH to $user@$host does not work." \
      "Check address, key, login (--user) and the machine's firewall (port $ssh_port)."
  made="${made##*$'\n'}" # the files of a login may print lines before it
  [[ "$made" =~ ^/tmp/mograder-deploy\.[A-Za-z0-9]{8}$ ]] ||
    fail "The shell of $user@$host answers ${made:-nothing} when it is asked for a directory."
  remote="$made"
  over_ssh "cat > $remote/deploy.sh" <"${BASH_SOURCE[0]}"
  if [ -n "$wheel" ]; then
    name="$(basename "$wheel" | tr -c 'A-Za-z0-9._+\n-' '_')"
    say "copying $name"
    take_along mograder-version "$wheel" "$name"
  fi
  if [ -n "$ca_file" ]; then take_along ca-file "$ca_file" site.crt; fi
  rest+=(${instead:+"--$instead"})
  words="$(printf ' %q' "${rest[@]}")"
  over_ssh "if [ \$(id -u) = 0 ]; then s=; else s='sudo -n'; fi; \$s bash $remote/deploy.sh --here$words"
}

# --- as root on the machine: what `mograder hub install` itself needs ---------------------------

# apt, pip and uv use the network as the options say, else as an earlier run kept it (docs/how-to/deploy.md).
use_network() {
  local name value
  while IFS='=' read -r name value; do
    value="${value%[\"\']}"
    case "$name" in UV_* | SSL_CERT_* | *_PROXY | *_proxy) export "$name=${value#[\"\']}" ;; esac
  done < <(grep -sE '^[A-Za-z_]+=' /etc/mograder/build.env || true)
  if [ -n "$index_url" ]; then export UV_DEFAULT_INDEX="$index_url"; fi
  if [ -n "$proxy" ]; then
    export HTTP_PROXY="$proxy" HTTPS_PROXY="$proxy" NO_PROXY="localhost,127.0.0.1,::1${domain:+,$domain}"
  fi
  if [ -n "$ca_file" ]; then
    cat "$certificates" "$ca_file" >"$scratch/bundle.crt" 2>/dev/null || true
    export SSL_CERT_FILE="$scratch/bundle.crt"
    rest+=("--ca-file=$ca_file")
  fi
  for name in HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY; do
    if [ -n "${!name:-}" ]; then export "${name,,}=${!name}"; fi # as apt reads them
  done
  if [ -n "${UV_DEFAULT_INDEX:-}" ]; then export PIP_INDEX_URL="$UV_DEFAULT_INDEX"; fi
  if [ -n "${SSL_CERT_FILE:-}" ]; then export PIP_CERT="$SSL_CERT_FILE"; fi
}

bring_tools() {
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o "Acquire::https::CaInfo=${SSL_CERT_FILE:-$certificates}")
  step "uv in $top"
  if ! python3 -c 'import ensurepip' 2>/dev/null; then
    say "installing python3-venv"
    { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends python3 python3-venv >/dev/null
    } || fail "apt could not install it; its output is above."
  fi
  if [ -x "$top/tools/bin/uv" ]; then say "there"; return; fi
  say "installing uv"
  python3 -m venv "$top/tools"
  "$top/tools/bin/python" -m pip install -q --disable-pip-version-check 'uv>=0.9' || explain_network
}

uv() { UV_PYTHON_INSTALL_DIR="$top/python" UV_CACHE_DIR="$top/cache" "$top/tools/bin/uv" "$@"; }

explain_network() {
  fail "The packages could not be fetched; the output of pip or uv is above." \
    "Behind a mirror, a proxy or an authority of the site's own: --index-url, --proxy, --ca-file."
}

# A directory for each version: what runs keeps its files while another is installed.
install_version() {
  local name="${mograder_version##*/}" python
  step "mograder in $top"
  home="$top/versions/$(printf %s "$name" | cut -d- -f2)-$(sha256sum "$mograder_version" | head -c 8)"
  # Its Python may be gone, as after an upgrade of the distribution.
  if [ -e "$home/.complete" ] && "$home/bin/python" -c '' 2>/dev/null; then say "${home##*/}: there"; return; fi
  say "installing ${home##*/}"
  # The distribution's own Python gets security updates. uv's own might be unreadable for the service.
  python="$(uv python find --system '>=3.11' 2>/dev/null)" ||
    fail "Python 3.11 or newer is needed: take Debian 12 or Ubuntu 24.04, or newer ones."
  rm -rf "$home"
  mkdir -p "$top/versions"
  uv venv -q --python "$python" "$home"
  uv pip install -q --compile-bytecode --python "$home/bin/python" \
    "mograder-hub[postgresql] @ file://$mograder_version" || explain_network
  "$home/bin/mograder" hub install --help >/dev/null 2>&1 ||
    fail "${home##*/} holds no mograder that this script could install. Nothing was changed."
  touch "$home/.complete"
  rm -rf "$top/cache" # about 300 MB, which no version needs
}

deploy_here() {
  [ "$(id -u)" = 0 ] || fail "This wants root: run it with sudo."
  umask 022 # the service reads what is installed here
  command -v apt-get >/dev/null || fail "This is for Ubuntu and Debian; here is no apt-get."
  cd /
  if [ -n "$instead" ]; then
    [ -x "$top/current/bin/mograder" ] || fail "There is no mograder in $top/current to do this."
    "$top/current/bin/mograder" hub "$instead"
    return
  fi
  use_network
  bring_tools
  install_version
  "$home/bin/mograder" hub install --systemd "${rest[@]}"
}

main() {
  local here="" options="" words status=0 word
  exec </dev/null # nothing here asks, and ssh would read what a loop around this script reads
  if [ "${1:-}" = --here ]; then # checked already; nothing beside a copy in /tmp may be run
    here=yes words="$(printf '%s\n' "${@:2}")"
  else
    case "$place" in
      */scripts) options="${place%/scripts}/src/mograder/operations/install/options.py" ;;
      */mograder/deploy) options="${place%/deploy}/operations/install/options.py" ;;
    esac
    [ -e "$options" ] ||
      fail "This copy of the script stands alone. Run the one of a checkout, or of an installed mograder."
    words="$(python3 "$options" "$@")" || status=$?
    if [ "$status" = 10 ]; then printf '%s\n' "$words"; exit 0; fi # asked for a text only
    [ "$status" = 0 ] || exit "$status"
  fi
  while IFS= read -r word; do take "$word"; done <<<"$words"
  if [ -n "$here" ]; then deploy_here; else deploy_from_afar; fi
}

main "$@"; exit
