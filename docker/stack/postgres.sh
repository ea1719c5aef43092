#!/bin/sh
# The account that rowhook reads with. `rowhook setup` grants what it lacks.
set -e
psql -v ON_ERROR_STOP=1 -v password="$ROWHOOK_PASSWORD" -U postgres -d library <<'END'
CREATE ROLE rowhook LOGIN REPLICATION PASSWORD :'password';
END
