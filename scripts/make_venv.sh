# Sourced by setup_python and setup_peers.

# make_venv FOLDER PACKAGE==VERSION...: a virtual environment that holds these packages, and what they
# need in the releases of python_constraints.txt. Does nothing where the folder was already made for the
# same lists; a half-made one is made again.
make_venv() {
  local folder=$1 stamp="$1/.packages" constraints=scripts/python_constraints.txt made_for
  shift
  made_for="$* $(sha256sum <"$constraints")"
  if [[ -f $stamp && $(<"$stamp") == "$made_for" ]]; then
    return
  fi
  echo "making $folder: $*" >&2
  if ! python3 -m venv --clear "$folder" >&2; then
    echo "error: cannot make a virtual environment; install python3-venv" >&2
    return 1
  fi
  if ! "$folder/bin/pip" install --quiet --disable-pip-version-check \
    --constraint "$constraints" "$@" >&2; then
    echo "error: cannot install into $folder; is the network up?" >&2
    return 1
  fi
  echo "$made_for" >"$stamp"
}
