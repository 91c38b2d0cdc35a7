#!/usr/bin/env bash
# Makes a mograder hub of an Ubuntu or Debian machine, and may be run again at any time: every step
# looks first, does what is missing, and says so. Data is never removed, an existing mograder.toml,
# secret or file system never replaced.
#
#   bash scripts/deploy-hub-aws.sh --host HOST --key KEY.pem [OPTIONS]
#
# --help lists the options. `mograder hub install --systemd` runs the same steps on the machine
# itself. What it needs: a login that may use sudo without a password (as cloud images have), and
# packages from the distribution and from a Python package index. mograder itself never comes from
# an index, where that name belongs to another program: it is the wheel of this checkout, or the
# file, address or git reference that --mograder-version gives.
set -euo pipefail

usage() {
  cat <<'END'
Usage: deploy-hub-aws.sh --host HOST --key KEY.pem [OPTIONS]

Deploys the mograder hub to an Ubuntu or Debian machine by SSH. Run it again to change or upgrade.

The machine:
  --host HOST             its address (required)
  --key FILE              the private key for SSH (required)
  --user NAME             the login, which may use sudo [default: ubuntu]
  --ssh-port PORT         [default: 22]
  --volume DEVICE         the disk for the data, mounted at /srv/mograder; formatted only if it is
                          empty. "none": no disk of its own.
                          [default: /dev/nvme1n1 where there is an EBS volume of that name]

The hub:
  --mograder-version V    a wheel file of this machine, https://….whl, or git+https://…@REFERENCE
                          [default: a wheel of the checkout that this script belongs to]
  --downgrade             allow an older version than the one that runs
  --rollback              go back to the version that ran before
  --port PORT             where the hub listens on the machine itself [default: 8080]
  --domain NAME           the name that browsers use: Caddy serves it with HTTPS, and gets and
                          renews the certificate
  --internal-ca           with --domain: a certificate of Caddy's own authority, for a machine that
                          the internet does not reach
  --sso-header NAME       the header in which a single sign-on in front names the user
                          [default: X-Remote-User]
  --sso-proxy ADDRESS     with --domain: that sign-on is a machine of this address (or network), in
                          front of Caddy; from everybody else the header is deleted
  --remote-user VARIABLE  with --domain: Caddy itself signs people in, by lines of yours in
                          /etc/caddy/mograder.d, and this variable of Caddy's names them
  --session-domain NAME   with --domain: an origin of its own for each session, SESSION.NAME; a
                          wildcard record of the name servers leads *.NAME to this machine
  --session-certificate FILE, --session-key FILE
                          the wildcard certificate for it, files on that machine (not with
                          --internal-ca)

The site's network:
  --index-url URL         the package index that uv and pip ask, here and for notebooks
  --proxy URL             the web proxy for apt, pip, uv and git
  --ca-file FILE          the site's own certificate authority (PEM), trusted beside the usual ones

  --dry-run               say what would be done, and connect to nothing
  --uninstall             remove the services and programs; all data, settings and secrets stay
  -h, --help
END
}

# --- words -------------------------------------------------------------------------------------

say() { printf '[deploy] %s\n' "$*"; }
step() { printf '[deploy] == %s\n' "$*"; }
warn() { printf '[deploy] !! %s\n' "$@" >&2; }
fail() { printf '[deploy] !! %s\n' "$@" >&2; exit 1; }
refuse() { printf '%s\n' "$@" "Try --help." >&2; exit 2; }

# Tells of something that is then done, or would be.
act() { say "${dry:+(a dry run, so not done:) }$*"; }

# Does it, or only says so in a dry run.
run() {
  if [ -z "$dry" ]; then "$@" </dev/null
  elif [ "$1" = as_account ]; then say "would run as $account: ${*:2}"
  else say "would run: $*"; fi
}

# --- options -----------------------------------------------------------------------------------

host="" key="" login=ubuntu ssh_port=22 volume=auto version="" port=8080 domain="" internal_ca=""
sso_header=X-Remote-User sso_proxy="" dry="" uninstall="" here="" program="" downgrade=""
rollback="" scratch="" remote="" remote_user="" session_domain="" session_certificate=""
session_key="" index_url="" proxy="" ca_file=""

top=/opt/mograder
data=/srv/mograder
course=$data/course
account=mograder
settings=/etc/mograder
units=/etc/systemd/system
wrapper=/usr/local/sbin/mograder-hub

parse_options() {
  while [ $# -gt 0 ]; do
    case "$1" in
      --dry-run) dry=yes ;;
      --internal-ca) internal_ca=yes ;;
      --uninstall) uninstall=yes ;;
      --downgrade) downgrade=yes ;;
      --rollback) rollback=yes ;;
      --here) here=yes ;;
      -h | --help) usage; exit 0 ;;
      --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}"; continue ;;
      --host | --key | --user | --ssh-port | --volume | --mograder-version | --mograder-source | \
        --port | --domain | --sso-header | --sso-proxy | --program | --remote-user | \
        --session-domain | --session-certificate | --session-key | --index-url | --proxy | --ca-file)
        [ $# -gt 1 ] || refuse "$1 wants a value."
        take_value "$1" "$2"
        shift ;;
      *) refuse "I do not know $1." ;;
    esac
    shift
  done
  check_options
}

take_value() {
  case "$1" in
    --host) host="$2" ;;
    --key) key="$2" ;;
    --user) login="$2" ;;
    --ssh-port) ssh_port="$2" ;;
    --volume) volume="$2" ;;
    --mograder-version | --mograder-source) version="$2" ;; # the second is 0.3.16's name
    --port) port="$2" ;;
    --domain) domain="$2" ;;
    --sso-header) sso_header="$2" ;;
    --sso-proxy) sso_proxy="$2" ;;
    --program) program="$2" ;;
    --remote-user) remote_user="$2" ;;
    --session-domain) session_domain="$2" ;;
    --session-certificate) session_certificate="$2" ;;
    --session-key) session_key="$2" ;;
    --index-url) index_url="$2" ;;
    --proxy) proxy="$2" ;;
    --ca-file) ca_file="$2" ;;
  esac
}

# What stands in files that root writes is checked here, once.
check_options() {
  local number='^[0-9]{1,5}$'
  if [ -z "$here" ]; then
    [ -n "$host" ] || refuse "--host is missing: which machine?"
    [ -n "$key" ] || refuse "--key is missing: the private key for SSH."
    [[ $host =~ ^[A-Za-z0-9._:%-]+$ && $host != -* ]] || refuse "$host is no host."
    [[ $login =~ ^[A-Za-z0-9._-]+$ && $login != -* ]] || refuse "$login is no login."
  fi
  [[ $port =~ $number && $((10#$port)) -ge 1024 && $((10#$port)) -le 65535 ]] ||
    refuse "--port wants a number from 1024 to 65535."
  [[ $ssh_port =~ $number ]] || refuse "--ssh-port wants a number."
  [[ $volume =~ ^(auto|none|/dev/[A-Za-z0-9/._-]+)$ ]] || refuse "--volume wants a device."
  [[ -z $domain || $domain =~ ^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$ ]] ||
    refuse "--domain wants a host name."
  [[ $sso_header =~ ^[A-Za-z0-9-]+$ ]] || refuse "--sso-header wants the name of a header."
  [[ $sso_proxy =~ ^[0-9A-Fa-f.:/]*$ ]] || refuse "--sso-proxy wants an address or a network."
  [ -n "$domain" ] || [ -z "$internal_ca$sso_proxy$remote_user$session_domain" ] ||
    refuse "--internal-ca and --sso-proxy go with --domain, and so do --remote-user and --session-domain."
  [ -z "$sso_proxy" ] || [ -z "$remote_user" ] ||
    refuse "Give --sso-proxy for a sign-on in front of Caddy, or --remote-user for one in Caddy."
  [[ $remote_user =~ ^(\{[A-Za-z0-9_.-]+\})?$ ]] ||
    refuse "--remote-user wants a variable of Caddy's, such as {http.auth.user.id}."
  check_sessions
  check_network
  [ -z "$rollback" ] || [ -z "$version$program$uninstall" ] ||
    refuse "--rollback goes back to the version before; it takes no version, and no --uninstall."
  check_version
  [ -n "$here$dry" ] || [ -r "$key" ] || fail "The key $key cannot be read."
}

check_sessions() {
  local file='^(/[A-Za-z0-9._/@+-]+)?$'
  if [ -z "$session_domain" ]; then
    [ -z "$session_certificate$session_key" ] ||
      refuse "--session-certificate and --session-key go with --session-domain."
    return
  fi
  [[ $session_domain =~ ^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$ ]] ||
    refuse "--session-domain wants a host name."
  [[ ".$session_domain" != *".$domain" && ".$domain" != *".$session_domain" ]] ||
    refuse "--session-domain has to be another domain than $domain, not a part of it: pages there may" \
      "set cookies for all of it."
  [[ $session_certificate =~ $file && $session_key =~ $file ]] ||
    refuse "--session-certificate and --session-key want absolute paths on the machine."
  if [ -z "$session_certificate" ] || [ -z "$session_key" ]; then
    [ -n "$internal_ca" ] || refuse "--session-domain wants a wildcard certificate for" \
      "*.$session_domain: --session-certificate FILE --session-key FILE. (Caddy gets none by itself.)"
  fi
}

check_network() {
  local address='^https?://[A-Za-z0-9._~:/@%+=-]+$'
  [[ -z $index_url || $index_url =~ $address ]] || refuse "--index-url wants an address, https://…"
  [[ -z $proxy || $proxy =~ $address ]] || refuse "--proxy wants an address, http://…"
  [[ $index_url$proxy != *@* ]] || refuse "No password belongs into --index-url or --proxy: packages" \
    "that are built for notebooks can read them."
  [ -z "$ca_file" ] || [ -n "$dry" ] || grep -qs -- '-----BEGIN CERTIFICATE-----' "$ca_file" ||
    refuse "$ca_file cannot be read, or holds no certificate (PEM)."
}

# A bare name or number would be looked up in a package index by root.
check_version() {
  local git='^git\+(https|ssh|file)://[A-Za-z0-9._~:/@%+=-]+$'
  local address='^https://[A-Za-z0-9._~:/@%+=-]+\.whl$'
  if [ -z "$version" ]; then
    [ -n "$program$uninstall$rollback" ] || [ -n "$(checkout)" ] ||
      refuse "This copy of the script belongs to no checkout of mograder, so it has nothing to build" \
        "the program from. Give its wheel file: --mograder-version mograder_hub-VERSION-py3-none-any.whl"
  elif ! [[ $version =~ $git || $version =~ $address || ($version == *.whl && $version != *://*) ]]; then
    refuse "--mograder-version wants a wheel file, https://….whl, or git+https://…@REFERENCE." \
      "\"$version\" would be looked up in a package index, where the name mograder belongs to" \
      "another program."
  fi
}

# The checkout that this file belongs to, or nothing.
checkout() {
  local place
  place="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
  if [ "${place##*/}" = scripts ] && [ -e "${place%/*}/src/mograder/__init__.py" ] &&
    grep -qsx 'name = "mograder-hub"' "${place%/*}/pyproject.toml"; then
    printf '%s' "${place%/*}"
  fi
}

# Makes a wheel of a checkout in an empty directory, and names it. The same checkout gives the same
# bytes.
build_wheel() {
  local source="$1" place="$2" builder="$1/.tools/uv/bin/uv"
  [ -x "$builder" ] || builder="$(command -v uv || true)"
  if [ -n "$builder" ]; then
    "$builder" build --quiet --wheel --out-dir "$place" "$source" </dev/null >&2
  else
    python3 -m pip wheel --quiet --no-deps --wheel-dir "$place" "$source" </dev/null >&2
  fi || fail "No wheel could be made of $source; the output of uv or pip is above." \
    "Install uv, or make the wheel elsewhere and give it with --mograder-version FILE."
  find "$place" -name 'mograder_hub-*.whl'
}

# A directory of our own, which goes when we do.
make_scratch() {
  if [ -z "$scratch" ]; then
    scratch="$(mktemp -d)"
    trap clean_up EXIT
  fi
}

# shellcheck disable=SC2317 # the trap of make_scratch calls it
clean_up() {
  if [ -n "$remote" ]; then over_ssh "rm -rf $remote" || true; fi
  if [ -n "$scratch" ]; then rm -rf "$scratch"; fi
}

# --- from afar ---------------------------------------------------------------------------------

ssh_options() {
  printf '%s\n' -i "$key" -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15 \
    -o StrictHostKeyChecking=accept-new
}

over_ssh() {
  local -a options
  mapfile -t options < <(ssh_options)
  ssh "${options[@]}" -p "$ssh_port" "$login@$host" "$@"
}

# The steps run there as root, from a copy of this file.
deploy_from_afar() {
  local place words wheel="" name from=""
  local -a arguments=(--here --volume "$volume" --port "$port" --sso-header "$sso_header")
  case "$version" in
    *://*) arguments+=(--mograder-version "$version") ;;
    ?*) [ -n "$dry" ] || [ -r "$version" ] || fail "The wheel $version cannot be read."
      wheel="$version" ;;
    *) [ -n "$uninstall$rollback" ] || from="$(checkout)" ;;
  esac
  [ -z "$domain" ] || arguments+=(--domain "$domain")
  [ -z "$sso_proxy" ] || arguments+=(--sso-proxy "$sso_proxy")
  [ -z "$internal_ca" ] || arguments+=(--internal-ca)
  [ -z "$uninstall" ] || arguments+=(--uninstall)
  [ -z "$downgrade" ] || arguments+=(--downgrade)
  [ -z "$remote_user" ] || arguments+=(--remote-user "$remote_user")
  [ -z "$session_domain" ] || arguments+=(--session-domain "$session_domain")
  [ -z "$session_certificate" ] || arguments+=(--session-certificate "$session_certificate")
  [ -z "$session_key" ] || arguments+=(--session-key "$session_key")
  [ -z "$index_url" ] || arguments+=(--index-url "$index_url")
  [ -z "$proxy" ] || arguments+=(--proxy "$proxy")
  [ -z "$rollback" ] || arguments+=(--rollback)
  if [ -n "$dry" ]; then explain "${wheel:-$from}"; return; fi
  make_scratch
  if [ -n "$from" ]; then
    step "Making a wheel of $from"
    wheel="$(build_wheel "$from" "$scratch")"
  fi
  step "Connecting to $login@$host"
  place="$(over_ssh 'mktemp -d /tmp/mograder-deploy.XXXXXXXX')" ||
    fail "SSH to $login@$host does not work." \
      "Check address, key, login (--user) and the machine's firewall (port $ssh_port)."
  remote="$place"
  over_ssh "cat > $place/deploy.sh" <"$0"
  if [ -n "$wheel" ]; then
    name="$(basename "$wheel" | tr -c 'A-Za-z0-9._+\n-' '_')"
    say "copying $name"
    over_ssh "cat > $place/$name" <"$wheel"
    arguments+=(--mograder-version "$place/$name")
  fi
  if [ -n "$ca_file" ]; then
    over_ssh "cat > $place/site.crt" <"$ca_file"
    arguments+=(--ca-file "$place/site.crt")
  fi
  words="$(printf ' %q' "${arguments[@]}")"
  over_ssh "if [ \$(id -u) = 0 ]; then s=; else s='sudo -n'; fi; \$s bash $place/deploy.sh$words"
}

explain() {
  say "A dry run: nothing is connected to, nothing is changed. On $login@$host (SSH port $ssh_port,"
  say "key $key), as root, each step only where it is not done yet:"
  if [ -n "$uninstall" ]; then
    say "  ensure_removed      stop and remove the services and programs; data and secrets stay"
    return
  fi
  if [ -n "$rollback" ]; then
    say "  roll_back           the version before, and its database if this one has changed it"
    say "  verify              services active, a sandbox run, a session opened and closed"
    return
  fi
  say "  ensure_system       Ubuntu or Debian with systemd; otherwise stop here"
  say "  ensure_network      $settings/build.env${index_url:+, packages from $index_url}" \
    "${proxy:+, by way of $proxy}${ca_file:+, certificates of $ca_file}"
  say "  ensure_packages     apt: bubblewrap python3 python3-venv ca-certificates curl${domain:+ caddy}"
  say "  ensure_account      the service user '$account', without a login"
  say "  ensure_volume       disk: $volume, at $data, by UUID, nofail; formatted only if empty"
  say "  ensure_sandbox      AppArmor's profile for bubblewrap where Ubuntu asks for one; sysctl"
  say "  ensure_mograder     mograder of ${1:-$version} in $top, the version before kept"
  say "  ensure_secret       $settings/hub-secret, 64 random hex digits, mode 600, never replaced"
  say "  ensure_course       $course with a mograder.toml, never replaced"
  say "  ensure_services     mograder-hub (port $port) and mograder-sessions, enabled and started"
  if [ -n "$domain" ]; then
    say "  ensure_front        Caddy for https://$domain/${internal_ca:+ (its own authority)}," \
      "sign-on header $sso_header ${sso_proxy:+from $sso_proxy}"
    [ -z "$session_domain" ] || say "                      sessions at https://*.$session_domain/"
  fi
  say "  verify              services active, a sandbox run, HTTP through the front, a session opened"
  say "                      and closed; then the instructor token and what to do next"
}

# --- the steps, as root on the machine ----------------------------------------------------------

ensure_system() {
  step "Looking at the machine"
  [ "$(id -u)" = 0 ] || [ -n "$dry" ] || fail "This wants root: run it with sudo."
  local name="" like=""
  if [ -r /etc/os-release ]; then
    # shellcheck source=/dev/null
    name="$(. /etc/os-release && printf '%s' "$PRETTY_NAME")"
    # shellcheck source=/dev/null
    like="$(. /etc/os-release && printf '%s' " $ID ${ID_LIKE:-} ")"
  fi
  case "$like" in
    *" debian "* | *" ubuntu "*) say "$name" ;;
    *) fail "This is for Ubuntu and Debian; here is ${name:-another system}." ;;
  esac
  [ -d /run/systemd/system ] || [ -n "$dry" ] || fail "systemd does not run here."
}

# What this site's network needs is kept where the builds of notebooks' environments read it.
ensure_network() {
  if [ -n "$index_url$proxy$ca_file" ]; then
    step "The site's network"
    run install -d -m 755 "$settings"
    if [ -n "$index_url" ]; then set_for_builds UV_DEFAULT_INDEX "$index_url"; fi
    if [ -n "$proxy" ]; then
      set_for_builds HTTP_PROXY "$proxy"
      set_for_builds HTTPS_PROXY "$proxy"
      set_for_builds NO_PROXY "localhost,127.0.0.1,::1${domain:+,$domain}"
    fi
    use_network # the next step may need packages
    if [ -n "$ca_file" ]; then trust_site_authority; fi
  fi
  use_network
}

system_bundle=/etc/ssl/certs/ca-certificates.crt
site_authority=/usr/local/share/ca-certificates/mograder-site.crt

# The system's own list, so that apt, curl, git, pip and uv all know it.
trust_site_authority() {
  if ! cmp -s "$ca_file" "$site_authority"; then
    act "trusting the certificates of $(basename "$ca_file")"
    command -v update-ca-certificates >/dev/null || install_packages ca-certificates
    run install -D -m 644 "$ca_file" "$site_authority"
    run update-ca-certificates >/dev/null
  fi
  set_for_builds SSL_CERT_FILE "$system_bundle"
}

# Sets one variable in build.env and leaves the other lines.
set_for_builds() {
  local file="$settings/build.env"
  if grep -qsxF "$1=$2" "$file"; then return; fi
  act "$1=$2 in $file"
  if [ -n "$dry" ]; then return; fi
  if [ ! -e "$file" ]; then build_env_head | put "$file" 644; fi
  { grep -v "^$1=" "$file" || true; printf '%s=%s\n' "$1" "$2"; } >"$file.new"
  chmod 644 "$file.new"
  mv "$file.new" "$file"
}

build_env_head() {
  printf '%s\n' '# What building environments needs here, if anything: HTTPS_PROXY, SSL_CERT_FILE,' \
    '# UV_DEFAULT_INDEX … No secrets: packages that are built can read it.'
}

# The install asks the network as the builds do: by the same variables, in the names of each program.
use_network() {
  local name value
  if [ ! -r "$settings/build.env" ]; then return; fi
  while IFS='=' read -r name value; do
    value="${value%\"}"
    value="${value#\"}"
    case "$name" in
      UV_DEFAULT_INDEX | UV_INDEX_URL) export "$name=$value" "PIP_INDEX_URL=$value" ;;
      SSL_CERT_FILE)
        export "$name=$value" "PIP_CERT=$value" "CURL_CA_BUNDLE=$value" "GIT_SSL_CAINFO=$value" ;;
      HTTP_PROXY | HTTPS_PROXY | ALL_PROXY | NO_PROXY | http_proxy | https_proxy | all_proxy | no_proxy)
        export "${name^^}=$value" "${name,,}=$value" ;;
      UV_* | SSL_CERT_DIR) export "$name=$value" ;;
    esac
  done < <(grep -E '^[A-Za-z_]+=' "$settings/build.env" || true)
}

installed() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

ensure_packages() {
  step "System packages"
  local package
  local -a missing=()
  for package in bubblewrap python3 python3-venv ca-certificates curl ${domain:+caddy}; do
    installed "$package" || missing+=("$package")
  done
  if [[ $version == git+* ]] && ! installed git; then missing+=(git); fi
  if [ ${#missing[@]} = 0 ]; then say "all there"; return; fi
  install_packages "${missing[@]}"
}

install_packages() {
  act "installing $*"
  run env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    "$@" >/dev/null || fail "apt could not install them; its output is above." \
    "Caddy is in Debian 12 and Ubuntu 24.04 and later."
}

ensure_account() {
  step "The service user '$account'"
  if id "$account" >/dev/null 2>&1; then say "there"; else
    run useradd --system --user-group --home-dir "/home/$account" --create-home \
      --shell /usr/sbin/nologin "$account"
  fi
}

# An EBS volume of the usual name, or nothing: an instance's own disk forgets at every stop.
usual_volume() {
  local disk=/dev/nvme1n1
  if mountpoint -q "$data"; then return; fi
  if [ ! -b "$disk" ]; then return; fi
  case "$(lsblk -dno MODEL "$disk" 2>/dev/null)" in
    *"Elastic Block Store"*) printf '%s' "$disk" ;;
  esac
}

ensure_volume() {
  step "The data's place, $data"
  local device="$volume" uuid kind
  if [ "$device" = auto ]; then device="$(usual_volume)"; fi
  if [ -z "$device" ] || [ "$device" = none ]; then
    if mountpoint -q "$data"; then say "a volume is mounted there"
    else say "on the machine's own disk (--volume gives it one that outlives the machine)"; fi
    run install -d -m 755 "$data"
    return
  fi
  [ -b "$device" ] || fail "There is no disk $device. Attach it, or choose another; here are:" \
    "$(lsblk -dno NAME,SIZE,MODEL)"
  device="$(readlink -f "$device")"
  if [ "$(findmnt -no SOURCE "$data" 2>/dev/null || true)" != "$device" ]; then
    ensure_unused "$device"
  fi
  kind="$(blkid -p -o value -s TYPE "$device" 2>/dev/null || true)"
  case "$kind" in
    "") format_volume "$device" ;;
    ext[234] | xfs | btrfs | f2fs) say "it carries $kind: kept as it is" ;;
    *) fail "$device carries $kind, which is no file system to mount; I format nothing that holds" \
      "something. If it may go: wipefs --all $device" ;;
  esac
  uuid="$(blkid -p -o value -s UUID "$device" || true)"
  [ -n "$uuid" ] || [ -n "$dry" ] || fail "$device has no UUID."
  mount_volume "$device" "$uuid"
}

ensure_unused() {
  local used
  used="$(lsblk -nro MOUNTPOINT "$1" | grep . | head -1 || true)"
  [ -z "$used" ] || fail "$1 is in use at $used."
  if [ -d "$data" ] && [ -n "$(ls -A "$data")" ]; then
    mountpoint -q "$data" && fail "Another disk is mounted at $data."
    fail "There is data in $data, which a volume mounted over it would hide." \
      "Move it away, run this again, and move it back; or say --volume none."
  fi
}

# Only what is empty to the last signature: no file system, no partition, no part of anything.
format_volume() {
  if [ "$(lsblk -nro NAME "$1" | wc -l)" != 1 ] ||
    [ -n "$(blkid -p "$1" 2>/dev/null || true)" ] || [ -n "$(wipefs "$1" 2>/dev/null || true)" ]; then
    fail "$1 is not empty (partitions or the signature of something); I format nothing that holds" \
      "something. If it may go: wipefs --all $1"
  fi
  act "$1 is empty: making a file system on it"
  run mkfs.ext4 -q -L mograder "$1"
}

mount_volume() {
  local device="$1" uuid="${2:-UUID}"
  if ! grep -qsE "^[^#]*[[:space:]]${data}[[:space:]]" /etc/fstab; then
    act "mounting it at every start, by its UUID; the machine starts without it too (nofail)"
    if [ -z "$dry" ]; then
      printf 'UUID=%s %s ext4 defaults,nofail,x-systemd.device-timeout=30s 0 2\n' \
        "$uuid" "$data" >>/etc/fstab
      sed -i "\\|^UUID=$uuid |s| ext4 | $(blkid -p -o value -s TYPE "$device") |" /etc/fstab
      systemctl daemon-reload
    fi
  fi
  if mountpoint -q "$data"; then say "mounted"; return; fi
  run mkdir -p "$data"
  run mount "$data"
}

# Writes standard input to a file, if that changes it. Says whether it did.
put() {
  local target="$1" mode="$2" text
  text="$(cat; printf x)"
  text="${text%x}"
  [ -n "$text" ] || fail "There is nothing to write to $target."
  if [ -e "$target" ] && [ "$(cat "$target"; printf x)" = "${text}x" ]; then
    [ -n "$dry" ] || is_noted "$target" || note_written "$target"
    return 1
  fi
  if [ -n "$dry" ]; then say "would write $target"; return 0; fi
  install -d -m 755 "$(dirname "$target")"
  keep_changed "$target"
  (umask 077 && printf '%s' "$text" >"$target.new")
  chmod "$mode" "$target.new"
  mv "$target.new" "$target"
  note_written "$target"
  say "wrote $target"
}

# A file that is not as we wrote it holds somebody's own lines: a copy stays when it is replaced.
keep_changed() {
  local target="$1" copy who="was not written by this script, as far as it knows"
  if [ ! -s "$target" ] || is_noted "$target"; then return; fi
  if grep -qsF "  $target" "$settings/written"; then who="was changed by somebody"; fi
  copy="$settings/kept/${target##*/}.$(date -u +%Y%m%dT%H%M%SZ)"
  install -d -m 755 "$settings"
  install -d -m 700 "$settings/kept"
  install -m 600 "$target" "$copy"
  warn "$target $who; it is written again, and that copy is kept: $copy"
}

# Whether it is as this script wrote it.
is_noted() { grep -qsxF "$(sha256sum "$1")" "$settings/written"; }

note_written() {
  local list="$settings/written"
  install -d -m 755 "$settings"
  { grep -vF "  $1" "$list" 2>/dev/null || true; sha256sum "$1"; } >"$list.new"
  mv "$list.new" "$list"
}

ensure_sandbox() {
  step "What sandboxes need of the kernel"
  if [ -e /proc/sys/kernel/apparmor_restrict_unprivileged_userns ]; then
    if apparmor_profile | put /etc/apparmor.d/mograder 644; then
      run apparmor_parser --replace /etc/apparmor.d/mograder
    else say "AppArmor: the profile is there"; fi
  else say "AppArmor does not keep bubblewrap from making namespaces here"; fi
  if kernel_settings | put /etc/sysctl.d/60-mograder.conf 644; then
    run sysctl -q -p /etc/sysctl.d/60-mograder.conf || warn "the kernel did not take all of it"
  fi
}

# Ubuntu 23.10 and later: only a program that a profile names may make user namespaces.
apparmor_profile() {
  cat <<'END'
# Written by mograder's deployment: its sandboxes are made of user namespaces.
abi <abi/4.0>,
include <tunables/global>

profile mograder flags=(unconfined) {
  userns,
  include if exists <local/mograder>
}

profile mograder-bwrap /usr/bin/bwrap flags=(unconfined) {
  userns,
  include if exists <local/mograder-bwrap>
}
END
}

kernel_settings() {
  printf '%s\n' '# Written by mograder: what hundreds of sessions of one user need.' \
    'fs.inotify.max_user_instances = 8192' 'fs.pipe-user-pages-soft = 16384'
  if [ -e /proc/sys/kernel/unprivileged_userns_clone ]; then
    printf '%s\n' 'kernel.unprivileged_userns_clone = 1'
  fi
}

uv() {
  UV_PYTHON_INSTALL_DIR="$top/python" UV_CACHE_DIR="$top/cache" "$top/tools/bin/uv" "$@"
}

ensure_mograder() {
  step "mograder in $top"
  if [ -n "$program" ]; then use_program; return; fi
  if [ -n "$dry" ]; then say "would install mograder of ${version:-$(checkout)}"; return; fi
  if [ ! -x "$top/tools/bin/uv" ]; then
    say "installing uv"
    python3 -m venv "$top/tools"
    "$top/tools/bin/python" -m pip install --quiet --disable-pip-version-check 'uv>=0.9' ||
      explain_network
  fi
  local wanted name
  take_wheel
  wanted="$(requirement)"
  name="$(resolved_name "$wanted")"
  install_version "$wanted" "$name"
  examine_version "$top/versions/$name"
  point_at "$top/versions/$name"
}

# Makes `version` a wheel file of this machine, or leaves the git reference that it is.
take_wheel() {
  make_scratch
  case "$version" in
    git+*) ;;
    https://*)
      say "fetching $version"
      curl -fsSL --proto '=https' -o "$scratch/${version##*/}" "$version" ||
        fail "$version could not be fetched."
      version="$scratch/${version##*/}" ;;
    "")
      say "making a wheel of $(checkout)"
      version="$(build_wheel "$(checkout)" "$scratch")" ;;
    *) version="$(readlink -f "$version")" ;;
  esac
  if [[ $version == *.whl ]] && [[ $(basename "$version") != mograder_hub-[0-9]* ]]; then
    fail "$version is no wheel of mograder, by its name (mograder_hub-VERSION-….whl)."
  fi
}

# Always where it is, never only a name.
requirement() {
  case "$version" in
    *.whl) printf 'mograder-hub[postgresql] @ file://%s' "$version" ;;
    git+*) printf 'mograder-hub[postgresql] @ %s' "$version" ;;
    *) fail "$version is neither a wheel nor a git reference." ;;
  esac
}

# A directory's name for what it comes to, so that the same again finds it there.
resolved_name() {
  local found
  case "$version" in
    *.whl) found="$(basename "$version" | cut -d- -f2)-$(sha256sum "$version" | head -c 8)" ;;
    *) found="$(printf '%s\n' "$1" | uv pip compile - --no-deps --quiet --no-header --no-annotate \
      --python "$(find_python)" | sed -n 's/^mograder.*@\([0-9a-f]\{40\}\).*$/git-\1/p' | head -1)" ;;
  esac
  [ -n "$found" ] || fail "There is no mograder at $version."
  printf '%s' "$found" | tr -c 'A-Za-z0-9._+-' '_'
}

# Ubuntu 22.04's own python is too old; uv then gets one.
find_python() { uv python find --system '>=3.11' 2>/dev/null || printf '3.12'; }

# Each version has a directory of its own: what runs keeps its files while another is installed.
install_version() {
  local wanted="$1" place="$top/versions/$2"
  if [ -e "$place/.complete" ]; then say "$2: there"; return; fi
  say "installing $2"
  rm -rf "$place"
  mkdir -p "$top/versions"
  uv venv --quiet --python "$(find_python)" "$place"
  uv pip install --quiet --compile-bytecode --python "$place/bin/python" "$wanted" ||
    explain_network
  "$place/bin/mograder" --version >/dev/null
  touch "$place/.complete"
  # No version needs the download cache, which takes about 300 MB.
  rm -rf "$top/cache"
}

explain_network() {
  fail "The packages could not be fetched; the output of pip or uv is above." \
    "Behind a mirror, a proxy or an authority of the site's own: --index-url, --proxy, --ca-file."
}

use_program() {
  [ -x "$program/bin/mograder" ] || fail "There is no mograder in $program."
  if [ -z "$dry" ] && ! runuser -u "$account" -- "$program/bin/mograder" --version >/dev/null; then
    fail "The service user cannot run $program/bin/mograder." \
      "Install mograder where everybody may read, such as $top, and run that one's hub install."
  fi
  examine_version "$program"
  point_at "$program"
}

unit_names="mograder-sessions.service mograder-hub.socket mograder-hub.service"

# Refuses a version that this script cannot run, before anything that runs is changed.
examine_version() {
  local place="$1" new old="" name
  new="$(version_of "$place")" || fail "$place holds no mograder that this script could run."
  if [ -x "$top/current/bin/python" ]; then old="$(version_of "$top/current" || true)"; fi
  if [ -n "$old" ] && [ -z "$downgrade$rollback" ] && is_older "$place" "$new" "$old"; then
    fail "mograder $new is older than $old, which runs here. Nothing was changed." \
      "To go back to the version before: --rollback. To install the older one" \
      "all the same: --downgrade."
  fi
  make_scratch
  rm -rf "$scratch/units"
  mkdir "$scratch/units"
  for name in $unit_names; do
    if ! unit "$name" "$place" >"$scratch/units/$name" || [ ! -s "$scratch/units/$name" ]; then
      fail "mograder $new lacks $name, which this script needs. Nothing was changed."
    fi
  done
  verify_units "$scratch/units"
}

version_of() { "$1/bin/python" -I -c \
  'import mograder; print(mograder.__version__)' 2>/dev/null; }

is_older() { "$1/bin/python" -I -c 'import sys; from packaging.version import Version as V
sys.exit(V(sys.argv[1]) >= V(sys.argv[2]))' "$2" "$3"; }

# The program that they start is not in its place yet when they are looked at.
verify_units() {
  local told
  if ! command -v systemd-analyze >/dev/null; then return; fi
  sed -i 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' "$1"/*.service
  told="$(SYSTEMD_UNIT_PATH="$1:" systemd-analyze verify --man=no "$1"/* 2>&1 | grep -F "$1/" || true)"
  [ -z "$told" ] || fail "systemd does not accept the units of this version. Nothing was changed." "$told"
}

point_at() {
  changed_program=""
  if [ "$(readlink -f "$top/current" || true)" = "$(readlink -f "$1")" ]; then
    say "current: $(basename "$1")"
    if is_replaced "$1"; then
      warn "The mograder in $1 was replaced while it was the current one, so there is no version of" \
        "before it to go back to. Next time, install into a directory of that version's own."
      changed_program=yes
      run ln -sfn "$1" "$top/current.new"
      run mv -T "$top/current.new" "$top/current"
    fi
  else
    act "current: $(basename "$1"), was $(basename "$(readlink "$top/current" || echo none)")"
    changed_program=yes
    run mkdir -p "$top"
    if [ -e "$top/current" ]; then run ln -sfn "$(readlink -f "$top/current")" "$top/previous"; fi
    run ln -sfn "$1" "$top/current.new"
    run mv -T "$top/current.new" "$top/current"
  fi
  forget_old_versions
  run ln -sfn "$top/current/bin/mograder" /usr/local/bin/mograder
  # Where the documented unit of a hand-made deployment looks.
  run as_account mkdir -p "/home/$account/.local/bin"
  run as_account ln -sfn "$top/current/bin/mograder" "$top/current/bin/uv" "/home/$account/.local/bin"
}

# Whether another mograder was installed there after the link to it was made.
is_replaced() {
  [ -n "$(find "$1"/lib/python3*/site-packages -maxdepth 1 -name 'mograder_hub-*.dist-info' \
    -newer "$top/current" 2>/dev/null)" ]
}

# What lies in the account's own directories is done as the account: root follows no link there.
as_account() { runuser -u "$account" -- "$@"; }

# The supervisor may run an earlier one for months, since only its restart ends sessions.
forget_old_versions() {
  local old
  if [ -n "$dry" ] || [ ! -d "$top/versions" ]; then return; fi
  find "$top/versions" -mindepth 1 -maxdepth 1 -printf '%T@ %p\n' | sort -rn | tail -n +6 |
    cut -d' ' -f2- | while read -r old; do
      if [ "$old" = "$(readlink -f "$top/current")" ]; then continue; fi
      if [ "$old" = "$(readlink -f "$top/previous" || true)" ]; then continue; fi
      if grep -qsaF "$old/" /proc/[0-9]*/cmdline /proc/[0-9]*/maps; then continue; fi
      say "removing the old version $(basename "$old")"
      rm -rf "$old"
    done
}

ensure_secret() {
  step "The hub's secret"
  run install -d -m 755 "$settings"
  if [ -s "$settings/hub-secret" ]; then
    say "there, and kept"
    run chmod 600 "$settings/hub-secret"
  elif [ -n "$dry" ]; then say "would write $settings/hub-secret"
  else
    { earlier_secret || new_secret; } | put "$settings/hub-secret" 600
  fi
  if [ ! -e "$settings/env" ]; then
    printf '%s\n' '# Variables of the hub, such as MOGRADER_DATABASE_URL. The secret is in' \
      '# hub-secret beside this file.' | put "$settings/env" 600
  fi
  if [ ! -e "$settings/build.env" ]; then
    build_env_head | put "$settings/build.env" 644
  fi
}

# Of a deployment made by hand or by 0.3.16: with another one, all tokens would be void.
earlier_secret() {
  local found
  found="$(sed -n 's/^\(Environment=\)\{0,1\}"\{0,1\}MOGRADER_HUB_SECRET=\([^"]*\)"\{0,1\}$/\2/p' \
    "$settings/env" "$units/mograder-hub.service" 2>/dev/null | grep -v '^<' | tail -1)"
  [ -n "$found" ] || return 1
  say "taken over from the deployment before" >&2
  printf '%s\n' "$found"
}

new_secret() { python3 -c 'import secrets; print(secrets.token_hex(32))'; }

ensure_course() {
  step "The course in $course"
  run install -d -o "$account" -g "$account" -m 750 "$course" "$data/hub-notebooks"
  # Packages and marimo's files, which a web server may read; they are built again when missing.
  run install -d -o "$account" -g "$account" -m 755 "$data/environments"
  if [ -e "$course/mograder.toml" ]; then
    say "mograder.toml: there, and kept"
    [ -z "$domain" ] || grep -qF "https://$domain" "$course/mograder.toml" ||
      warn "see that [hub] public_url in it is https://$domain"
    [ -z "$session_domain" ] || grep -qF "{session}.$session_domain" "$course/mograder.toml" ||
      fail "[hub] session_url in $course/mograder.toml has to be" \
        "\"https://{session}.$session_domain\"; write it there, and run this again."
    return
  fi
  act "writing mograder.toml"
  # shellcheck disable=SC2016 # the inner shell's
  [ -n "$dry" ] || course_settings |
    as_account sh -c 'set -C; umask 027; cat >"$1"' write "$course/mograder.toml"
}

course_settings() {
  local public=""
  if [ -n "$domain" ]; then
    public="public_url = \"https://$domain\""
  fi
  if [ -n "$session_domain" ]; then
    public+=$'\n'"session_url = \"https://{session}.$session_domain\""
  fi
  cat <<END
# The settings of this course; "mograder config show" lists all of them.
# How students hand in: add [moodle] or [https] here (docs, "Files and settings").

[hub]
host = "127.0.0.1"
port = $port
notebooks_dir = "$data/hub-notebooks"
environments_dir = "$data/environments"
trusted_header = "$sso_header"
instructors = []
$public

[security]
use_bubblewrap = true
END
}

# Where a file is that comes with a version of mograder, the one that runs unless another is named.
shipped() { "${2:-$top/current}/bin/python" -I -c \
  'import sys; from mograder.operations.deploy_files import shipped_file; print(shipped_file(sys.argv[1]))' \
  "$1" 2>/dev/null; }

# Its unit of that name, for this port.
unit() {
  local file
  file="$(shipped "$@")" || return 1
  sed -e "s/127\\.0\\.0\\.1:8080/127.0.0.1:$port/" "$file"
}

ensure_services() {
  step "The services"
  local name text changed="" sessions="" socket=""
  if [ -n "$dry" ] && [ ! -e "$top/current" ]; then say "would write and start them"; return; fi
  keep_foreign_unit
  for name in $unit_names; do
    text="$(unit "$name" && printf x)" || fail "$name cannot be read."
    if printf '%s' "${text%x}" | put "$units/$name" 644; then
      changed=yes
      case "$name" in
        mograder-sessions.service) sessions=yes ;;
        mograder-hub.socket) socket=yes ;;
      esac
    fi
  done
  if wrapper_text | put "$wrapper" 755; then changed=yes; fi
  for name in mograder-backup.service mograder-backup.timer mograder-alarm@.service; do
    if shipped "$name" >/dev/null && unit "$name" | put "$units/$name" 644; then changed=yes; fi
  done
  if [ -n "$changed" ]; then run systemctl daemon-reload; fi
  run systemctl enable --quiet mograder-sessions.service mograder-hub.socket mograder-hub.service
  if systemctl is-active --quiet mograder-sessions.service; then
    if [ -n "$sessions$changed_program" ]; then
      say "the session supervisor goes on as it is, since its restart ends every session. When"
      say "nobody is at work: systemctl restart mograder-sessions"
    fi
  else
    run systemctl start mograder-sessions.service || explain_failure mograder-sessions
  fi
  if ! systemctl is-active --quiet mograder-hub.service; then
    run systemctl reset-failed mograder-hub.service 2>/dev/null || true
    run systemctl start mograder-hub.socket mograder-hub.service || explain_failure mograder-hub
  elif [ -n "$changed$changed_program" ]; then
    act "restarting the hub; sessions go on"
    # A socket that listens takes another port only when it is started anew, which the hub has to let go.
    run systemctl restart ${socket:+mograder-hub.socket} mograder-hub.service ||
      explain_failure mograder-hub
  fi
}

keep_foreign_unit() {
  local old="$units/mograder-hub.service"
  if [ ! -s "$old" ] || grep -qs 'Wants=mograder-sessions.service' "$old"; then return; fi
  act "a unit of your own is there: keeping it as $settings/mograder-hub.service.before"
  run install -m 600 "$old" "$settings/mograder-hub.service.before"
  run systemctl stop mograder-hub.service
}

explain_failure() {
  journalctl -u "$1" -n 20 --no-pager -o cat >&2 || true
  fail "$1 did not start; its last log lines are above."
}

# `mograder hub …` as the service's user with its secret, for an administrator. systemd-run ends with
# 0 when systemd could not start the command at all, so a file in $ran says that it was started.
wrapper_text() {
  cat <<END
#!/bin/sh
# Runs "mograder hub ARGUMENTS" as the hub's user, with its settings and its secret. Ends with the
# command's own status, or with 69 and the cause if the command could not be started.
ran=\$(mktemp -d) || exit 69
trap 'rm -rf "\$ran"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
authority=\${SSL_CERT_FILE:-/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt}
set -- $top/current/bin/mograder hub "\$@"
if [ -r "\$authority" ]; then
  # systemd knows nothing of the working directory.
  set -- -p "LoadCredential=authority:\$(readlink -f "\$authority")" "\$@"
fi
systemd-run --quiet --collect --wait --pipe --service-type=exec \\
  -p ExecStartPre="+/usr/bin/touch \$ran/yes" \\
  -p User=$account -p Group=$account -p WorkingDirectory=$course \\
  -p LoadCredential=hub-secret:$settings/hub-secret -p EnvironmentFile=-$settings/env \\
  -p EnvironmentFile=-$settings/build.env \\
  -p AppArmorProfile=-mograder -p Delegate=yes -p LimitNOFILE=65536 \\
  -E MOGRADER_COURSE_DIR=$course -E MOGRADER_HUB_RUNTIME_DIR=/run/mograder \\
  -E MOGRADER_HUB_SUPERVISOR_SOCKET=/run/mograder/supervisor.sock \\
  -E PATH=$top/current/bin:/usr/local/bin:/usr/bin:/bin \\
  "\$@"
status=\$?
if [ -e "\$ran/yes" ]; then exit \$status; fi
mount=\$(systemd-escape --path --suffix=mount $data)
say() { printf 'Error: %s\\n' "\$@" >&2; }
if [ "\$(systemctl show -P LoadState "\$mount")" = loaded ] && ! mountpoint -q $data; then
  say "The volume of $data is not mounted (\$mount is \$(systemctl show -P ActiveState "\$mount"))." \\
    "Attach its disk, then run: systemctl start \$mount. Why it failed: journalctl -u \$mount"
elif [ ! -d $course ]; then
  say "The course's directory $course does not exist. Restore it from a backup, or run the deployment."
elif [ ! -x $top/current/bin/mograder ]; then
  say "There is no program $top/current/bin/mograder. Run the deployment again."
elif [ ! -r $settings/hub-secret ]; then
  say "The hub's secret $settings/hub-secret is missing. Put it back from where you keep passwords."
elif ! id $account >/dev/null 2>&1; then
  say "There is no user $account. Run the deployment again."
else
  say "systemd could not start the command. Its reason: journalctl -b -n 20 _PID=1"
fi
exit 69
END
}

ensure_front() {
  if [ -z "$domain" ]; then return; fi
  step "Caddy for https://$domain/"
  local main=/etc/caddy/Caddyfile changed="" text
  if [ -n "$dry" ]; then say "would write its configuration, and have Caddy take it"; return; fi
  demand_free_ports
  own_lines site "Lines of your own for the hub's site, such as \"log\"."
  own_lines route "Lines of your own before everything else, such as a sign-on's: see Single sign-on."
  text="$(front_text)" || fail "mograder hub proxy-config does not work; its output is above."
  if printf '%s\n' "$text" | put /etc/caddy/mograder.caddy 644; then changed=yes; fi
  if ! grep -qsx 'import mograder.caddy' "$main"; then
    say "importing it in $main"
    changed=yes
    printf '\nimport mograder.caddy\n' >>"$main"
  fi
  if [ -z "$changed" ]; then say "as it should be"; return; fi
  caddy validate --config "$main" --adapter caddyfile >/dev/null 2>&1 ||
    fail "Caddy refuses its configuration: caddy validate --config $main --adapter caddyfile"
  run systemctl enable --quiet caddy
  run systemctl reload-or-restart caddy || explain_caddy
}

# Made once, and never touched again.
own_lines() {
  local file="/etc/caddy/mograder.d/$1.caddy"
  if [ -e "$file" ]; then return; fi
  printf '# %s\n# mograder never changes this file.\n' "$2" | put "$file" 644
}

# Another web server there would keep Caddy from starting, or would be what browsers see.
demand_free_ports() {
  local taken
  taken="$(ss -ltnpH '( sport = :80 or sport = :443 )' 2>/dev/null | grep -v '"caddy"' || true)"
  if [ -z "$taken" ] || systemctl is-active --quiet caddy; then return; fi
  fail "Another program listens on port 80 or 443, which Caddy needs:" "$taken" \
    "Stop it, or deploy without --domain and put that web server in front of the hub:" \
    "mograder hub proxy-config nginx --domain $domain"
}

explain_caddy() {
  journalctl -u caddy -n 10 --no-pager -o cat >&2 || true
  fail "Caddy did not start or did not take its configuration; its last log lines are above."
}

# What mograder writes for Caddy, with this site's own lines after the site's address.
front_text() {
  local -a options=(--domain "$domain")
  [ -z "$sso_proxy" ] || options+=(--remote-user '{http.vars.mograder_user}')
  [ -z "$remote_user" ] || options+=(--remote-user "$remote_user")
  [ -z "$session_certificate" ] || options+=(--session-certificate "$session_certificate"
    --session-certificate-key "$session_key")
  (cd / && "$top/current/bin/mograder" hub proxy-config caddy -C "$course" "${options[@]}") |
    while IFS= read -r line; do
      printf '%s\n' "$line"
      if [ "$line" = "https://$domain {" ]; then site_lines; fi
      if [ "$line" = "https://*.$session_domain {" ] && [ -z "$session_certificate" ]; then
        printf '\ttls internal\n'
      fi
    done
}

# Before everything else in the site: whom a sign-on in front names, read only where it comes from.
site_lines() {
  if [ -n "$internal_ca" ]; then printf '\ttls internal\n'; fi
  if [ -n "$sso_proxy" ]; then
    printf '\t@mograder_sso remote_ip %s\n' "$sso_proxy"
    printf '\tvars @mograder_sso mograder_user {http.request.header.%s}\n' "$sso_header"
  fi
}

# --- verification ------------------------------------------------------------------------------

problems=0
verified() { say "ok: $*"; }
unverified() { warn "$@"; problems=$((problems + 1)); }

verify() {
  local name url="http://127.0.0.1:$port"
  if [ -n "$dry" ]; then say "A dry run: nothing was changed."; return; fi
  step "Trying all of it"
  for name in mograder-sessions mograder-hub ${domain:+caddy}; do
    if systemctl is-active --quiet "$name"; then verified "$name is active"
    else unverified "$name is not active: systemctl status $name"; fi
  done
  if curl --noproxy '*' -fsS -m 20 -o /dev/null "$url/health"; then verified "the hub answers at $url"
  else unverified "the hub does not answer at $url: journalctl -u mograder-hub"; fi
  if [ -n "$domain" ]; then verify_front; fi
  say "a session is opened and closed, and a sandbox looked at from inside (some minutes the first"
  say "time, since packages are downloaded):"
  if "$wrapper" check --session; then verified "mograder-hub check finds nothing wrong"
  else unverified "mograder-hub check found something: its lines are above"; fi
}

# A certificate from the internet takes a moment, and a name that leads here.
verify_front() {
  local -a options=(--noproxy '*' -fsS -m 20 -o /dev/null --retry 20 --retry-delay 3 --retry-all-errors
    --resolve "$domain:443:127.0.0.1")
  if [ -n "$internal_ca" ]; then
    options+=(--cacert /var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt)
  fi
  if curl "${options[@]}" "https://$domain/health" 2>/dev/null; then
    verified "https://$domain/ answers through Caddy"
  else
    unverified "https://$domain/ does not answer: does the name lead to this machine, and are ports" \
      "80 and 443 open? journalctl -u caddy tells what the certificate lacks."
  fi
}

next_steps() {
  local address="${domain:+https://$domain}"
  if [ -n "$dry" ]; then return; fi
  # No token is printed: this output may be kept in a log.
  cat <<END

The hub runs${address:+ at $address/}.
An instructor's token, to be kept secret: sudo mograder-hub generate-token --role instructor admin

What to do next:
  1. Edit $course/mograder.toml: how students hand in ([moodle] or [https]), [hub] instructors.
     Then: sudo systemctl restart mograder-hub (sessions go on)
  2. Publish, from the machine where the course is written:
     mograder hub publish A1 --url ${address:-http://127.0.0.1:$port} --token TOKEN
     (with --force if the course is not on Moodle)
  3. Prepare the environments: sudo mograder-hub warm-cache --all
$([ -n "$domain" ] || printf '  4. Put a web server with HTTPS and your sign-in in front: mograder hub proxy-config --help\n')
Look after it: sudo mograder-hub check · journalctl -u mograder-hub -f · systemctl status mograder-hub
Back it up:    umask 077; sudo mograder-hub backup - > backup.tar.gz
END
}

# --- back to the version before ------------------------------------------------------------------

# The older program; the newer one again where the older does not start.
roll_back() {
  step "Going back to the version before"
  local old new
  new="$(readlink -f "$top/current" || true)"
  old="$(readlink -f "$top/previous" || true)"
  if [ -z "$old" ] || [ ! -x "$old/bin/mograder" ]; then
    fail "There is no version before to go back to in $top."
  fi
  port="$(sed -n 's/^ListenStream=127\.0\.0\.1:\([0-9]*\)$/\1/p' "$units/mograder-hub.socket")"
  say "from $(version_of "$new" || echo "$new") to $(version_of "$old" || echo "$old")"
  if [ -n "$dry" ]; then say "would stop the hub and start $old"; return; fi
  examine_version "$old"
  say "stopping the hub; sessions go on"
  systemctl stop mograder-hub.socket mograder-hub.service
  point_at "$old"
  if ! run systemctl start mograder-hub.socket mograder-hub.service; then
    journalctl -u mograder-hub -n 20 --no-pager -o cat >&2 || true
    warn "The version before does not start, for the reason above. So the newer one is started again."
    systemctl stop mograder-hub.socket mograder-hub.service
    point_at "$new"
    run systemctl start mograder-hub.socket mograder-hub.service || explain_failure mograder-hub
    exit 1
  fi
  ensure_services
}

# --- the reverse -------------------------------------------------------------------------------

ensure_removed() {
  step "Removing the services and programs; what is in $data and $settings stays"
  local name
  for name in mograder-hub.service mograder-hub.socket mograder-sessions.service \
    mograder-backup.timer mograder-backup.service mograder-alarm@.service; do
    if [ -e "$units/$name" ]; then
      # A template is not enabled, and has no instance that goes on.
      [[ $name == *@.service ]] || run systemctl disable --quiet --now "$name"
      run rm -f "$units/$name"
    fi
  done
  run systemctl daemon-reload
  if grep -qsx 'import mograder.caddy' /etc/caddy/Caddyfile; then
    run sed -i '/^import mograder.caddy$/d' /etc/caddy/Caddyfile
    run rm -f /etc/caddy/mograder.caddy
    run systemctl reload caddy || true
  fi
  if [ -e /etc/apparmor.d/mograder ]; then
    run apparmor_parser --remove /etc/apparmor.d/mograder || true
    run rm -f /etc/apparmor.d/mograder
  fi
  if [ -e "$site_authority" ]; then
    run rm -f "$site_authority"
    run update-ca-certificates >/dev/null || true
  fi
  if id "$account" >/dev/null 2>&1; then
    run as_account rm -f "/home/$account/.local/bin/mograder" "/home/$account/.local/bin/uv"
  fi
  run rm -rf "$wrapper" /usr/local/bin/mograder /etc/sysctl.d/60-mograder.conf "$top" /run/mograder
  say "Left as they are: $data, $settings, the user '$account' and its home," \
    "installed packages, /etc/fstab, /etc/caddy/mograder.d; and Caddy goes on, with what else" \
    "is in its Caddyfile. The kernel's settings stay in force until the next start."
}

deploy_here() {
  ensure_system
  if [ -n "$uninstall" ]; then ensure_removed; return; fi
  if [ -n "$rollback" ]; then
    roll_back
    verify
    [ "$problems" = 0 ] || fail "$problems thing(s) are not as they should be; see above."
    return
  fi
  ensure_network
  ensure_packages
  ensure_account
  ensure_volume
  ensure_sandbox
  ensure_mograder
  ensure_secret
  ensure_course
  ensure_services
  ensure_front
  verify
  next_steps
  [ "$problems" = 0 ] || fail "$problems thing(s) are not as they should be; see above. Run this again."
}

main() {
  changed_program=""
  parse_options "$@"
  if [ -n "$here" ]; then deploy_here; else deploy_from_afar; fi
}

main "$@"
exit 0
