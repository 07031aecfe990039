"""What the command line does beside collecting: check, demo, status.

Only `cli` comes in here.
"""
