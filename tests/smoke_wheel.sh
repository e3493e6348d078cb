#!/usr/bin/env bash
# Build the wheel, install it in a second environment, and use it from outside the checkout.
# The second environment borrows the first one's dependencies through a .pth file: they are large, and the same.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

rm -rf build  # left-overs of an earlier build would be packed too
"$root/.venv/bin/python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$work/wheel" .
"$root/.venv/bin/python" -m venv "$work/env"
site=$("$work/env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
before=$(ls "$site")
"$work/env/bin/python" -m pip install --quiet --no-deps "$work"/wheel/*.whl
added=$(comm -13 <(sort <<<"$before") <(ls "$site" | sort) | tr '\n' ' ')
case "$added" in
    "petl_bench petl_bench-"*".dist-info ") echo "site-packages gained: $added" ;;
    *) echo "the wheel put more than petl_bench into site-packages: $added" >&2; exit 1 ;;
esac
"$root/.venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$site/borrowed.pth"

cd "$work"
export XDG_CACHE_HOME=$work/cache
bench=$work/env/bin/petl-bench
where=$("$work/env/bin/python" -c 'import petl_bench, petl_bench.methods; print(petl_bench.__file__)')
case "$where" in
    "$site"/*) ;;
    *) echo "petl_bench was imported from $where, not from the wheel" >&2; exit 1 ;;
esac
"$bench" --version
"$bench" list methods
"$bench" list profiles
"$bench" show msta | head -5
"$bench" run --methods zero_shot,lora --setting base2novel --seeds 0 --epochs 1 --output "$work/runs"
"$bench" report --runs "$work/runs" --table base2novel --format latex | grep -q '\\toprule'
"$bench" report --runs "$work/runs" --output "$work/site/" && grep -q 'id="table-base2novel"' "$work/site/index.html"
echo "the wheel works"
