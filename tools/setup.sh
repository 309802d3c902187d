#!/usr/bin/env bash
# Make .venv with everything that Forehand's tests and demo need, and see to the system's rendering libraries.
set -euo pipefail
cd "$(dirname "$0")/.."

# Debian's names. EGL or OSMesa draws what simulated cameras see; FFmpeg's libraries decode videos faster than PyAV.
PACKAGES=(libegl1 libgles2 libgl1-mesa-dri libosmesa6 ffmpeg)

say() { printf 'setup: %s\n' "$*" >&2; }

works() { "$@" >/dev/null 2>&1; }

is_new_enough() { works "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))'; }

find_python() {
  local candidate
  # 3.12 first: it is what constraints.txt was tested with.
  for candidate in python3.12 python3 python python3.13; do
    if is_new_enough "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  # pyenv hides what .python-version does not name exactly.
  for candidate in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python; do
    if is_new_enough "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

make_environment() {
  local python
  if python=$(find_python); then
    say "Python: $python"
    if works uv --version; then
      uv venv --clear --quiet --python "$python" .venv
    elif ! "$python" -m venv --clear .venv; then
      say "this Python cannot make virtual environments: apt-get install python3-venv, or install uv"
      exit 1
    fi
  elif works uv --version; then
    say "no Python 3.12 or newer found; uv fetches one"
    uv venv --clear --quiet --python 3.12 .venv
  else
    say "Forehand needs Python 3.12 or newer, and found neither that nor uv. Install one: https://docs.astral.sh/uv"
    exit 1
  fi
}

install_packages() {
  say "installing Forehand and what it needs; the first time this takes a minute or more"
  local uv=uv
  if ! works uv --version; then
    # pip alone takes several times as long.
    .venv/bin/python -m pip install --quiet uv
    uv=.venv/bin/uv
  fi
  "$uv" pip install --quiet --python .venv/bin/python --constraint constraints.txt --editable '.[dev]'
  # A real client to try a front door with. It asks for numpy 1 and works with 2.
  "$uv" pip install --quiet --python .venv/bin/python --no-deps openpi-client==0.1.2
}

install_libraries() {
  local missing=() root=() package
  if ! works dpkg-query --version || ! works apt-get --version; then
    say "not a Debian system: see that it has what Debian calls ${PACKAGES[*]}; .venv/bin/forehand doctor tells"
    return
  fi
  for package in "${PACKAGES[@]}"; do
    works dpkg-query --show "$package" || missing+=("$package")
  done
  [[ ${#missing[@]} -eq 0 ]] && return
  if [[ $EUID -ne 0 ]]; then
    if ! works sudo -n true; then
      say "rendering needs libraries that only an administrator can install: apt-get install ${missing[*]}"
      return
    fi
    root=(sudo -n)
  fi
  say "installing ${missing[*]}"
  "${root[@]}" apt-get update -qq || say "apt-get update failed; trying with the lists as they are"
  for package in "${missing[@]}"; do
    # One by one: releases differ in which of them they have, and one renderer is enough.
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null ||
      say "could not install $package; .venv/bin/forehand doctor tells whether it is missed"
  done
}

install_libraries
[[ -x .venv/bin/python ]] && is_new_enough .venv/bin/python || make_environment
install_packages
say "done; try: .venv/bin/forehand --help"
