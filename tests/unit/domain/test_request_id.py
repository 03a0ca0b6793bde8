import pickle
import subprocess
import sys
from uuid import RFC_4122, UUID

from pg_trio.domain.request_id import new_request_id


def test_request_id_is_a_random_uuid() -> None:
    made = new_request_id()

    assert (4, RFC_4122) == (made.version, made.variant)
    assert UUID(str(made)) == made == UUID(bytes=made.bytes)


def test_request_ids_differ() -> None:
    assert 1000 == len({new_request_id() for _ in range(1000)})


def test_request_id_is_a_uuid_in_every_way() -> None:
    made = new_request_id()

    assert (made, hash(made)) == (pickle.loads(pickle.dumps(made)), hash(UUID(int=made.int)))
    assert repr(UUID(int=made.int)) == repr(made)


FORKING = """
import os
from pg_trio.domain.request_id import new_request_id
new_request_id()
child = os.fork()
if child:
    os.waitpid(child, 0)
print(*[new_request_id() for _ in range(100)], flush=True)
"""


def test_forked_process_makes_other_ids() -> None:
    printed = subprocess.run([sys.executable, "-c", FORKING], check=True, capture_output=True, text=True, timeout=60)

    ids = printed.stdout.split()
    assert [200, 200] == [len(ids), len(set(ids))]
