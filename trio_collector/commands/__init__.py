"""The commands: what the command line calls once it has read its arguments.

    cli ─▶ run       sets the process up (logs, open files), collects until a signal
       ├─▶ check     shows what a configuration asks for
       ├─▶ demo      collects from the simulator, then compares (demo_archive) what was stored
       ├─▶ simulate  serves the simulator alone
       └─▶ status    shows a running collector, over HTTP

`signals` ends what `run`, `demo` and `simulate` wait for. Only `cli` comes in here.
"""
