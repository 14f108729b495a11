#!/bin/sh
# Makes the ClickHouse user that Grafana reads with. It may read the tables of kalshi and nothing
# else, and change nothing but how long a query may take, which Grafana's data source sets.
#
# The ClickHouse image runs this when its volume is new. On a server of your own run it once, with a
# user that may make users:
#
#   GRAFANA_PASSWORD_FILE=... CLICKHOUSE_USER=... CLICKHOUSE_PASSWORD=... sh grafana-user.sh
set -eu

password_file=${GRAFANA_PASSWORD_FILE:-/run/secrets/grafana_password}
if [ -z "${CLICKHOUSE_PASSWORD:-}" ] && [ -n "${CLICKHOUSE_PASSWORD_FILE:-}" ]; then
    CLICKHOUSE_PASSWORD=$(cat "$CLICKHOUSE_PASSWORD_FILE")
fi
export CLICKHOUSE_USER CLICKHOUSE_PASSWORD

# The server gets the hash only, and it is no part of a command line.
hash=$(printf %s "$(cat "$password_file")" | sha256sum | cut -d ' ' -f 1)

clickhouse-client --host "${CLICKHOUSE_HOST:-127.0.0.1}" --port "${CLICKHOUSE_PORT:-9000}" <<SQL
CREATE SETTINGS PROFILE IF NOT EXISTS grafana
    SETTINGS readonly = 1, max_execution_time = 60 CHANGEABLE_IN_READONLY;
CREATE USER IF NOT EXISTS grafana IDENTIFIED WITH sha256_hash BY '$hash' SETTINGS PROFILE grafana;
GRANT SELECT ON kalshi.* TO grafana;
SQL
