#!/bin/sh
# Makes a cluster in $PGDATA on the first start, with the roles of the scenarios, then becomes PostgreSQL.
# APP_PASSWORD and MONITOR_PASSWORD come from a Secret.
set -eu
if [ ! -f "$PGDATA/PG_VERSION" ]; then
    initdb --username postgres --encoding UTF8 --locale C --auth-local trust --auth-host scram-sha-256 --no-sync > /dev/null
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    postgres --single -D "$PGDATA" postgres > /dev/null << SQL
CREATE ROLE app LOGIN PASSWORD '$APP_PASSWORD';
CREATE ROLE helios_monitor LOGIN PASSWORD '$MONITOR_PASSWORD' IN ROLE pg_monitor;
CREATE DATABASE app OWNER app;
SQL
fi
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp -c jit=off -c fsync=off \
    -c password_encryption=scram-sha-256 -c "max_connections=${MAX_CONNECTIONS:-200}"
