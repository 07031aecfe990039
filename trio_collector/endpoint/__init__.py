"""The collector seen from outside: /metrics, /health, /ready, /live, /api/status and a page for people.

    live state (telemetry), byte budget
        │  every 2 s
        ▼
    sampler ─▶ status_builder (with history, health) ─▶ status document
        │                                                     │
        ▼                                                     ▼
    visitor ─▶ server ─▶ http_connection (hypercorn) ─▶ routes ─▶ responses, page

The door is `task.run_endpoint`; `app` alone comes in. Nothing here can end or slow the collecting:
connections are few, requests are small, sends have deadlines, and an error ends one connection.
"""
