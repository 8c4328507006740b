#!/usr/bin/env bash
# Installs what the end-to-end tests and benchmarks need: the clients (Python), the S3 service, and Spark's jars where
# Java and Maven exist. Idempotent; everything lies in a cache outside the checkout and is kept between runs.
# Usage: e2e/setup.sh [all|demo]     prints the path of the Python to use as its last line
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
what=${1:-all}
cache=${VDT_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vdt-e2e}
mkdir -p "$cache"

say() { echo "setup: $*" >&2; }
have() { type -P "$1" >/dev/null; } # a program: not a function of this script

# One set-up at a time: two checkouts share the cache.
if have flock; then
    exec 9>"$cache/lock"
    flock -w 1800 9
fi

python_of() { # NAME REQUIREMENTS...: a virtual environment that holds exactly these requirements. Checkouts with other ones have their own
    local name=$1 venv stamp
    shift
    stamp=$(cat "$@" | sha256sum | cut -c1-16)-$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    venv="$cache/$name-$stamp"
    if [ ! -e "$venv/stamp" ]; then
        find "$cache" -maxdepth 1 -name "$name-*" -mtime +30 -exec rm -rf {} +
        say "Python packages of $name into $venv"
        rm -rf "$venv"
        if ! python3 -m venv "$venv" >&2; then
            # Debian and Ubuntu keep venv in a package of its own.
            if [ "$(id -u)" = 0 ] && have apt-get; then
                say "python3-venv is missing: installing it"
                { apt-get update -q && apt-get install -y -q --no-install-recommends python3-venv; } >&2
                rm -rf "$venv"
                python3 -m venv "$venv" >&2
            else
                say "python3 cannot make virtual environments: sudo apt-get install python3-venv"
                exit 1
            fi
        fi
        local args=()
        for r in "$@"; do args+=(-r "$r"); done
        "$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check "${args[@]}" >&2
        echo "$stamp" >"$venv/stamp"
    fi
    echo "$venv/bin/python"
}

spark_jars() { # copies the jars of spark/pom.xml, 570 MB, into the cache
    local jars="$cache/spark-jars" stamp
    stamp=$(sha256sum "$here/spark/pom.xml" | cut -c1-16)
    if [ "$(cat "$jars/stamp" 2>/dev/null)" = "$stamp" ]; then return; fi
    say "Spark's jars into $jars (570 MB, once)"
    rm -rf "$jars"
    mvn -q -B -f "$here/spark/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$jars" >&2
    echo "$stamp" >"$jars/stamp"
}

browser() { # Chromium for the admin page: Debian's, where we may install it
    for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do
        if have "$name"; then return; fi
    done
    if [ -n "${VDT_CHROMIUM:-}" ]; then return; fi
    if [ "$(id -u)" = 0 ] && have apt-get; then
        say "Chromium is missing: installing it"
        { apt-get update -q && apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core; } >&2 && return
    fi
    if [ "${CI:-}" = true ]; then
        say "Chromium is missing, and CI=true needs it for the admin page: apt-get install chromium"
        exit 1
    fi
    say "no Chromium: the tests of the admin page will be skipped (apt-get install chromium, or name one in \$VDT_CHROMIUM)"
}

have python3 || { say "python3 is missing: sudo apt-get install python3 python3-venv"; exit 1; }

case $what in
demo) python_of venv-demo "$here/requirements-demo.txt" ;;
all)
    requirements=("$here/requirements.txt")
    if have java && have mvn; then
        requirements+=("$here/requirements-spark.txt")
        spark_jars
    elif [ "${CI:-}" = true ]; then
        say "Java and Maven are missing, and CI=true needs them for Spark: apt-get install default-jdk-headless maven"
        exit 1
    else
        say "no Java or no Maven: the Spark tests will be skipped"
    fi
    browser
    python_of venv "${requirements[@]}"
    ;;
*)
    say "unknown part: $what (all, demo)"
    exit 2
    ;;
esac
