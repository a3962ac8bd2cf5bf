#!/bin/sh
# Installs what tests are skipped for otherwise, where that can be done: as root, on Debian or its
# like, with a network. Never fails: what is still missing is said, and its tests are skipped.
set -u
PATH=$PATH:/usr/sbin

# A command and the package it comes from, for what tests want: a browser for the report's page,
# shells for completions, other makers and readers of manifests, a pooler, an older server.
WANTED='
chromium chromium
zsh zsh
fish fish
hashdeep hashdeep
pgbouncer pgbouncer
shasum perl
b3sum b3sum
mandoc mandoc
filefrag e2fsprogs
ionice util-linux
cc gcc
'

missing() {
    echo "$WANTED" | while read -r command package; do
        [ -z "$command" ] || command -v "$command" >/dev/null 2>&1 || echo "$package"
    done
    ls /usr/lib/postgresql/1[4-7]/bin/postgres >/dev/null 2>&1 || echo postgresql
}

packages=$(missing)
[ -n "$packages" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "make test-tools: not installed, for that takes root and apt:" $packages
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
export RUNLEVEL=1 # services that come along are not started: the tests start their own
log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly() {
    "$@" >"$log" 2>&1 || { echo "make test-tools: failed: $*: $(tail -n 1 "$log")"; return 1; }
}
echo "make test-tools: installing" $packages
quietly apt-get -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20 update
case " $packages " in
*postgresql*)
    # The tests start servers of their own: no cluster of the system's is made or started.
    mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/fasthash-tests.conf
    ;;
esac
# At one go, or where one of them is not to be had, one by one.
quietly apt-get -qq install --no-install-recommends --yes $packages ||
    for package in $packages; do
        quietly apt-get -qq install --no-install-recommends --yes "$package"
    done
left=$(missing)
[ -z "$left" ] || echo "make test-tools: still missing:" $left
exit 0
