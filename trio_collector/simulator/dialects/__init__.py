"""The wire formats of the five exchanges, one file each, all pure.

A dialect is the state of one connection. It answers what the client sends and passes on what its
exchange publishes; everything that is to be sent goes through `pending`, in order.
"""
