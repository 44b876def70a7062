#!/bin/bash
# Installs Self-Streme, or another version of it over the one that is there. Runs as root in a container of its own, where
# the server's folder is /mnt/server. Cache, settings and whatever else is in there stay.
set -euo pipefail

server=/mnt/server
source=${SOURCE_URL:?set SOURCE_URL to the address of a .tar.gz archive or of a git repository}
ref=${SOURCE_REF:-HEAD}

mkdir -p "$server"
staging=$(mktemp -d "$server/.install-XXXXXX")
trap 'rm -rf -- "$staging"' EXIT
mkdir "$staging/app"
cd "$staging/app"

case "$source" in
  *.tar.gz | *.tgz)
    echo "Fetching $source"
    curl --fail --silent --show-error --location --retry 3 --output "$staging/archive.tar.gz" -- "$source"
    tar --extract --gzip --strip-components=1 --no-same-owner --file "$staging/archive.tar.gz"
    ;;
  *)
    echo "Fetching $ref of $source"
    git init --quiet
    git fetch --quiet --depth 1 -- "$source" "$ref"
    git checkout --quiet FETCH_HEAD
    ;;
esac
if [ ! -f index.js ] || [ ! -f package-lock.json ]; then
  echo "There is no Self-Streme in $source: index.js or package-lock.json is missing." >&2
  exit 1
fi

npm ci --omit=dev --no-audit --no-fund

# Only when all of it is here is anything of the old version replaced.
shopt -s dotglob
for path in *; do
  case "$path" in
    cache | temp | .env | .git) continue ;;
  esac
  rm -rf -- "${server:?}/$path"
  mv -- "$path" "$server/$path"
done
mkdir -p "$server/cache"
echo "Installed Self-Streme $(node --print 'require("/mnt/server/package.json").version')"
