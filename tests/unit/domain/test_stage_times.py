import json

from pg_trio.domain.stage_times import NO_TIMES, StageTimes

TIMES = StageTimes(("auth", "read", "provider"), (0.0414, 0.01, 1234.5))


def test_server_timing_lists_stages_in_order() -> None:
    expected = b"auth;dur=0.041, read;dur=0.010, provider;dur=1234.500, overhead;dur=0.051"
    assert expected == TIMES.as_server_timing()


def test_json_is_an_object_by_stage() -> None:
    assert {"auth": 0.041, "read": 0.01, "provider": 1234.5} == json.loads(TIMES.as_json())


def test_no_stage_is_no_time() -> None:
    assert (b"overhead;dur=0.000", "{}") == (NO_TIMES.as_server_timing(), NO_TIMES.as_json())
