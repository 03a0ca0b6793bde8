"""Sets Python's clock of the day off by CLOCK_OFF_S seconds. Python imports this file by itself, if it is on the path.

The monotonic clock stays as it is: nobody can set a machine's.
"""

import os
import time

_OFF_S = float(os.environ["CLOCK_OFF_S"])
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + _OFF_S
time.time_ns = lambda: _time_ns() + int(_OFF_S * 1e9)
