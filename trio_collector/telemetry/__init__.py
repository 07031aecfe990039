"""What the collector shows of itself while it runs.

    stages ─▶ metrics (Prometheus) ──────────────▶ /metrics, and minute_line for the log
          └─▶ live_state: stream_state, ─────────▶ endpoint ─▶ status_document ─▶ page, `status`
              storage_state, recent_events

`loop_lag` measures the event loop itself. Every stage may write here; nothing here imports a stage.
"""
