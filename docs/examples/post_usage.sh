#!/bin/sh
# Post usage to meter's `ingest` collector with curl.
#
#   METER_URL=https://meter.example.com METER_INGEST_SECRET=… sh post_usage.sh
#
# The same facts again are answered `duplicate`: when in doubt, send again.
set -eu
: "${METER_URL:?where meter answers, such as https://meter.example.com}"
: "${METER_INGEST_SECRET:?what the ingest collector has as its secret}"

# post PATH JSON: print what meter answers for each item.
# The secret goes through a pipe, so that no list of processes shows it.
post() {
    printf 'Authorization: Bearer %s\n' "$METER_INGEST_SECRET" |
        curl --silent --show-error --fail-with-body \
            --retry 8 --retry-connrefused --max-time 60 \
            --header @- --header 'Content-Type: application/json' \
            --data-binary "$2" "${METER_URL%/}/v1/$1"
    echo
}

# A pre-recorded job: how long it was, and whose it is.
post events '{
    "kind": "async_completed", "provider_id": "job-1", "customer_id": "acme",
    "occurred_at": "2026-11-01T12:00:00Z", "seconds": 61.5
}'

# A streaming session: the messages that AssemblyAI sent, just as they came.
post sessions '[
    {"customer_id": "acme", "dimensions": {"project_id": "p1"},
     "received_at": "2026-11-01T12:00:00.5Z",
     "message": {"type": "Begin", "id": "session-1", "expires_at": 1793545200}},
    {"session_id": "session-1", "received_at": "2026-11-01T12:05:00Z",
     "message": {"type": "Termination", "audio_duration_seconds": 290,
                 "session_duration_seconds": 299.123456789}}
]'
