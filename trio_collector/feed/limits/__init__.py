"""What an exchange allows: rates, who goes next, bans.

    exchange_limits    waits; one for each exchange, shared by all feeds
      └─ rate_queue    the order of those who wait
           └─ rate_limiter    when the next slot is

`feed`, `books` and `planning` come in. Only `exchange_limits` waits, the rest is pure.
"""
