"""The feeds: from an exchange's sockets to rows on their way to the writer.

    task      a feed: one connection of the plan, on one leg or two
    leg       sessions one after another, each relieved by the next where its end is known ahead
    session   one life: connect, ask, receive, and one reason for its end

    the way of a frame    connect ▶ transport ▶ frames ▶ intake ▶ reading ▶ outflow
    what it means         standing, with subscribing, silence, breaker, continuity, rebasing, drift
    what is told          sessionlog: ledger, metrics and log alike
    what sessions share   arbiter (one copy of what several receive), holes, bases, rhythm
    what feeds share      context, venue (whose turn it is), turns, startup (the same on paper)

Files that wait import trio; all others are pure, and tested as functions.
"""
