"""Whether an exchange still sends what it should.

    data of a topic ─▶ staleness ─▶ adaptive_timeout    how long may this topic be silent?
    frames          ─▶ breaker                          can they be read?
    kinds           ─▶ mix                              are their shares what they were?

`feed` comes in, and `planning`, which opens the timeouts. Everything is pure; `now` is an argument.
"""
