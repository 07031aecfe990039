"""What the collector tells of itself while it runs.

    stages ─▶ metrics (Prometheus) ─────▶ /metrics, minute_line
          └─▶ live_state (streams now) ──▶ endpoint ─▶ status_document ─▶ page, `status`

Every stage may write here; nobody here knows a stage.
"""
