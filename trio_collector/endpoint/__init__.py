"""The collector seen from outside: /metrics, /health, /ready, /live and a page for people.

    vitals (feeds, writer, uploader) ─▶ board: a sample every 2 s ─▶ snapshot ─▶ verdict
                                                                        │
    clients ─▶ server: hypercorn, one scope for each ─▶ app: routes ◀───┘

Nothing here can end or slow what is collected: clients are few, their requests small, their
replies have deadlines, and an error of any kind ends one connection.
"""
