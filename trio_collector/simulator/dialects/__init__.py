"""Five ways to speak: one file for each exchange, all pure.

A dialect is the state of one connection. It answers what the client sends and passes on what its
venue publishes; everything that is to be sent goes through `pending`, in order.
"""
