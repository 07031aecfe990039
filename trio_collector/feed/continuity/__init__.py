"""What the exchange's ids prove, and which copy of a message is kept.

    one session         event ─▶ sequence ─▶ gap or duplicate
    several sessions    event ─▶ arbitration ─┬─▶ by_id: keep the first copy
                                              │      └─▶ pending_gaps, until another session fills them
                                              └─▶ by_leader: keep the leader, hold back the others

Only `feed` comes in. Nothing waits here; times are arguments or a function that is passed in.
"""
