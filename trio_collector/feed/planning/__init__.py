"""What a configuration asks for.

    markets ─▶ connections ─▶ one feed for each plan
                    └─▶ start_up_time ─▶ how long until all are subscribed; hints; what has no room

`app`, `commands` and the rest of `feed` come in. Everything is pure.
"""
