"""What the benches share.

cli.py          options, progress, reports, exit status       tables.py    tables, percentiles, ratios
machine.py      cores, tools, facts about this machine        timing.py    microseconds of a call in this process
processes.py    processes on a core, stopped with their block  process_stats.py  CPU time, memory and files of processes
target.py       one request and where it goes                 gateway.py   a gateway's configuration, token and log
site.py         gateways, simulators and upstreams that run   upstream.py  nginx: the upstream, and a plain proxy
wrk.py          closed-loop load                              open_loop.py load at a fixed rate
client.py       clients on Trio, one or many                  store_files.py   databases of any size
source.py, streams.py   streams: their provider, and their client with its figures
"""
