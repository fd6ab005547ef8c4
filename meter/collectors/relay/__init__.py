"""The collector `streaming`: a relay between applications and AssemblyAI's streaming API.

Read `session.py` first: one session from its token to its Termination.
"""
