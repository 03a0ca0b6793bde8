"""`scripts/bench/race`: what the race promises, measured from outside.

A gateway (`pg-trio serve`, one worker, a core of its own), providers (`pg-trio simulate`) and clients of ours are real
processes over real sockets. What a provider received, and when it saw a client leave, is asked of the provider.

site.py        the gateway and its providers
client.py      one request over a connection of its own
"""
