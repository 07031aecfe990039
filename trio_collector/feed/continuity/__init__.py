"""What the exchange's ids prove, and which copy of a message is kept.

    one session         event ─▶ sequence ─▶ gap or duplicate
    several sessions    event ─▶ arbitration ─┬─ ids alike everywhere: the first copy is kept
                                              │     └─▶ pending_gaps, until another session fills them
                                              └─ else: the leader is kept, the others are held back

Only `feed` comes in. Nothing waits here; times are arguments or a function that is passed in.
"""
