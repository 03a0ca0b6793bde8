"""The provider's failures, after every candidate was tried."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from pg_trio.errors.gateway_error import CallerError, UpstreamError

# Candidates that an error names: more would not be read.
UNFIT_SHOWN = 5


@define(slots=False, eq=False)
class ProviderCallFailed(UpstreamError):
    """Every candidate failed; `said` is the last one's message, masked and cut.

    `retry_after_s` is set if the time for a new try is known: each candidate asked for a pause, or the only candidate
    keeps failing and was not asked. `is_final`: the provider refuses this request, so a new try cannot help.
    """

    status = 502
    said: str
    retry_after_s: int | None = None
    is_final: bool = False

    @property
    def text(self) -> str:
        return f"Provider call failed: {self.said}"

    def headers(self) -> dict[str, str]:
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


@define(slots=False, eq=False)
class EmbeddingsUnsupported(CallerError):
    """No candidate's provider has embeddings. If one has them, but not a parameter, it is `ParameterUnsupported`."""

    status = 400
    provider: str

    @property
    def text(self) -> str:
        return f"Provider '{self.provider}' does not support embeddings."


@define(slots=False, eq=False)
class NoFitCandidate(CallerError):
    """No candidate's wire or model can carry what the request holds. None was asked.

    `reasons`: what is not supported (`audio`, `tools`, …), and by which `provider/model`, in the endpoint's order.
    """

    status = 422
    reasons: Sequence[tuple[str, str]] = field(converter=tuple[tuple[str, str], ...])

    @property
    def text(self) -> str:
        said = [f"{what} is not supported by {whom}" for what, whom in self.reasons]
        return f"No candidate can take this request: {'; '.join(said[:UNFIT_SHOWN])}{'; …' * (len(said) > UNFIT_SHOWN)}"


@define(slots=False, eq=False)
class ParameterUnsupported(CallerError):
    """No candidate's wire has a parameter of the request, and without it the answer would be another kind of answer.

    None was asked. `reasons`: as of NoFitCandidate, with the parameters' names.
    """

    status = 400
    reasons: Sequence[tuple[str, str]] = field(converter=tuple[tuple[str, str], ...])

    @property
    def text(self) -> str:
        said = [f"{what} is not supported by {whom}" for what, whom in self.reasons]
        return f"{self.reasons[0][0]}: {'; '.join(said[:UNFIT_SHOWN])}{'; …' * (len(said) > UNFIT_SHOWN)}."


@define(slots=False, eq=False)
class OutputInvalid(UpstreamError):
    """The answer is not JSON, or does not match the endpoint's `output_schema`."""

    status = 502
    where: str
    why: str

    @property
    def text(self) -> str:
        return f"Validation failed: {self.where}: {self.why}"
