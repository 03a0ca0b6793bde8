"""Guardrails that ask another server: `webhook` and `moderation`.

webhook.py      a webhook's request, signed, and its answer
moderation.py   a moderation's request and its answer
remote_call.py  one call over a transport: its limits, and the pause of a server that is dead
beside.py       a check that runs beside the provider's call
"""
