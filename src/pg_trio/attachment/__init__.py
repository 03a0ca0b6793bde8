"""How a client is attached to the work of its request, and what its leaving means for the work.

Rules:
1. The work of a request ends with its client, unless the work itself says that it may go on (`WorkPort.outlive`). This
   is the `DirectAttachment`: the client's own task does the work, and the server cancels it. It costs nothing.
2. A request that may turn out to outlive its client has an `OwnedAttachment` from its start. The gateway's nursery runs
   the work (`OwnedWorks`), which sends its output into a bounded memory (`KeptOutput`); the client's task reads from
   there. So can a client that comes later, and several at once.
3. Before `outlive` the two policies are the same: the client leaves, and the work is cancelled at once.
4. After `outlive` the work goes on for `grace_s` without a client. A client that attaches in time gets the output from
   the place that it asks for. `stop` cancels the work at once, a drain after the drain's time.
5. Output that outgrows `keep_bytes` is not kept: clients that are attached get the rest, and the work ends with them.

attachments.py  the two policies, and how a client's leaving is noticed under a server that does not tell
owned_works.py  works that the gateway owns: grace, stop, drain
kept_output.py  what a work has sent, for readers that come and go
"""

from pg_trio.attachment.attachments import Attachment, DirectAttachment, OwnedAttachment, follow, while_connected
from pg_trio.attachment.kept_output import KeptOutput, OutputCut, OutputDropped
from pg_trio.attachment.owned_works import Outlives, OwnedWork, OwnedWorks, Work, WorkPort

__all__ = [
    "Attachment",
    "DirectAttachment",
    "KeptOutput",
    "Outlives",
    "OutputCut",
    "OutputDropped",
    "OwnedAttachment",
    "OwnedWork",
    "OwnedWorks",
    "Work",
    "WorkPort",
    "follow",
    "while_connected",
]
