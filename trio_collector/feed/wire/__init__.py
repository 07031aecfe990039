"""From a URL to whole messages, and from what ends a connection to one reason.

    connect ─▶ transport ─┬─ frames ─▶ data messages ─▶ the session
     TCP, TLS             └─ control bytes ─▶ trio-websocket ─▶ pongs, close codes
    websocket     what a session has of it: open, send, wait for the end, say goodbye
    keepalive     what is sent so that the exchange keeps the connection
    failures      an exception ─▶ end_reason, one of a fixed list
    http          one GET, for books that come by HTTP

`feed` and `books` come in; `app` presets the metrics of the reasons. `frames` and `end_reason` are
pure.
"""
