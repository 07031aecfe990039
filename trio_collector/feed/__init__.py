"""The feeds: from the exchanges' sockets to rows on their way to the writer.

    task       a feed: one connection of the plan, on one line or on two side by side
    line       the sessions of one line; a successor takes over before a planned end
    session    one life of a connection: connect, subscribe, receive, and one reason for its end

    the path of a frame, one plain call from the socket to the writer's channel:

        wire.transport ─▶ wire.frames ─▶ session ─▶ decoder ─▶ sender ═▶ writer
                                            │          └─ exchanges, continuity
                                            └─ monitor ─▶ actions, performed by the session

    requests, subscriptions    what is sent to the exchange, and how it answers
    session_log, drift         the session in the ledger, the metrics and the log
    listening_clock            time that stands still while nothing can be read
    context                    what all feeds share, and what the sessions of one line share

Rooms: `wire` (from a URL to whole messages), `continuity` (what ids prove), `books` (snapshots),
`health` (staleness, error rate, mix), `limits` (rates of an exchange), `planning` (what to connect).
They import nothing of this level. `app` starts `run_feed`, and `commands` reads the plan; nothing
else comes in. Files that wait import trio; all others are pure, and tested as functions.
"""
