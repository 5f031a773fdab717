# Sourced by local.sh and test.sh: `install FILE` makes .venv and installs FILE into it, once for each content of FILE.
install() {
  local python="${PYTHON:-python3}" stamp
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: $python is older than 3.11; set PYTHON to a newer one" >&2
    exit 2
  fi
  stamp=".venv/installed-$(cat requirements*.txt constraints.txt "$1" | sha256sum | cut -c1-16)"
  [ -f "$stamp" ] && return
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  echo "installing $1 into .venv" >&2
  .venv/bin/python -m pip install --quiet --upgrade pip
  .venv/bin/python -m pip install --quiet --requirement "$1" --constraint constraints.txt
  touch "$stamp"
}
