"""What an endpoint's requests may cost: its cap, its prices and its budget, ready for calculation."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, field, frozen

from pg_trio.domain.chat import estimate_tokens
from pg_trio.domain.options import limit_answer
from pg_trio.domain.prices import NANO, Rates, TokenPrice, to_nano_usd
from pg_trio.domain.project import Candidate, Endpoint
from pg_trio.errors import TokenCapExceeded
from pg_trio.stages.budget.reservation import Reservation

# `Rates.source` of a candidate without a price, if other candidates of its endpoint have one.
DEAREST = "dearest of the endpoint"
# The longest message about a failed answer in a further round (stages/schemas/ask_again.py).
ASK_AGAIN_CHARS = 1024


@frozen(slots=True)
class LongInput:
    """The highest rates for a request with more than `from_tokens` of input (see `SpendPlan`)."""

    from_tokens: int
    input_rate: int
    output_rate: int

    @classmethod
    def of(cls, dearest: Rates | None, candidates: int) -> LongInput | None:
        """The rates for so many candidates; None if a long input costs the same."""
        if dearest is None or dearest.long is None:
            return None
        return cls(dearest.long_from, dearest.long.dearest_input * candidates, dearest.long.output)


@frozen(slots=True, eq=False)
class SpendPlan:
    """An endpoint's cap, prices and budget, ready for calculation. A field is None if the endpoint has none.

    `rates` has each candidate with a price. `dearest` has the highest price of each kind of token; it is None if no
    candidate has a price. `budget_nano_usd` is None without a price, because no cost can be compared with it.
    `input_rate` is the highest cost of a token of input, summed over all candidates that may receive it; `output_rate`
    is the highest cost of a token of one answer. `output_tokens` is the reserved length of an answer;
    `output_limit_tokens` is the limit that the provider gets.
    """

    key: bytes
    cap_tokens: int | None
    rates: dict[Candidate, Rates]
    dearest: Rates | None
    budget_nano_usd: int | None
    prompt_chars: int
    output_tokens: int
    output_limit_tokens: int | None
    input_rate: int
    output_rate: int
    # The same for an estimated input of more than `long_from` tokens; None if it costs the same.
    long: LongInput | None
    # The number of candidates that may each send a complete answer to a stream.
    stream_answers: int
    # The endpoint's own maximum: a client may ask for less, and for more only without one.
    ceiling_tokens: int | None = None
    # How many further rounds an answer that does not match may cause (`output_repair_attempts`).
    more_rounds: int = 0
    # Whether the budget is a holder's, not the endpoint's.
    is_holders: bool = False
    # An empty reservation, which all requests share because it never changes. None if each request has its own cost.
    free: Reservation | None = field(init=False, repr=False)

    @free.default
    def _make_free(self) -> Reservation | None:
        return Reservation(self) if self.dearest is None else None

    @classmethod
    def of(cls, endpoint: Endpoint, default_output_tokens: int) -> SpendPlan:
        """The endpoint's plan."""
        budget_usd = endpoint.monthly_budget_usd
        rates = _find_rates(endpoint)
        dearest = _find_dearest(rates)
        has_budget = dearest is not None and budget_usd is not None
        if dearest is not None and budget_usd is not None:
            rates = {candidate: rates.get(candidate, dearest) for candidate in endpoint.candidates}
        output_tokens = endpoint.max_output_tokens or default_output_tokens
        return cls(
            key=endpoint.uuid.bytes,
            cap_tokens=endpoint.usage_hard_limit_tokens,
            rates=rates,
            dearest=dearest,
            budget_nano_usd=None if budget_usd is None or dearest is None else int(budget_usd * NANO),
            prompt_chars=endpoint.prompt_chars,
            output_tokens=output_tokens,
            output_limit_tokens=output_tokens if has_budget else endpoint.max_output_tokens,
            input_rate=0 if dearest is None else dearest.dearest_input * len(endpoint.candidates),
            output_rate=0 if dearest is None else dearest.output,
            long=LongInput.of(dearest, len(endpoint.candidates)),
            stream_answers=_count_answers(endpoint),
            ceiling_tokens=endpoint.max_output_tokens,
            more_rounds=endpoint.more_rounds,
        )

    def check_cap(self, characters: int) -> None:
        """Raises TokenCapExceeded if an input of this many characters is over the cap."""
        cap = self.cap_tokens
        if cap is not None and (input_tokens := estimate_tokens(characters)) > cap:
            raise TokenCapExceeded(input_tokens, cap)

    def for_input(self) -> SpendPlan:
        """The plan for requests that are answered without output, and without the endpoint's prompt."""
        return evolve(self, prompt_chars=0, output_tokens=0, output_rate=0, more_rounds=0)

    def for_holders(self, candidates: Sequence[Candidate]) -> SpendPlan:
        """The plan for requests that a holder's budget pays (rule 6). `candidates` are the endpoint's."""
        if self.dearest is None or self.budget_nano_usd is not None:
            return self
        rates = {candidate: self.rates.get(candidate, self.dearest) for candidate in candidates}
        return evolve(self, rates=rates, output_limit_tokens=self.output_tokens)

    def cost_nano_usd(self, characters: int, answers: int, asked_tokens: int | None = None) -> int:
        """The highest cost of a request with this many characters and complete answers; 0 without a price.

        `asked_tokens` is the client's own limit of an answer.
        """
        input_tokens = estimate_tokens(characters + self.prompt_chars)
        output_tokens = self.output_tokens
        if asked_tokens is not None:
            output_tokens = limit_answer(asked_tokens, self.ceiling_tokens, output_tokens)
        if self.long is None and not self.more_rounds:
            # No models of the endpoint cost more for a long input.
            return to_nano_usd(input_tokens * self.input_rate + output_tokens * answers * self.output_rate)
        return to_nano_usd(self._cost_of_rounds(input_tokens, output_tokens, answers))

    def _cost_of_rounds(self, input_tokens: int, output_tokens: int, answers: int) -> int:
        """The nth further round also sends the n earlier answers, and the message about each."""
        earlier_tokens = output_tokens + estimate_tokens(ASK_AGAIN_CHARS)
        input_rate, output_rate = self.input_rate, self.output_rate
        if self.long is not None and input_tokens + self.more_rounds * earlier_tokens > self.long.from_tokens:
            input_rate, output_rate = self.long.input_rate, self.long.output_rate
        cost = input_tokens * input_rate + output_tokens * answers * output_rate
        return sum([cost + number * earlier_tokens * input_rate for number in range(self.more_rounds + 1)])


def _count_answers(endpoint: Endpoint) -> int:
    """How many candidates may each send a complete answer to a request for a stream."""
    carries_on = endpoint.streaming_enabled and endpoint.on_stream_failure != "error"
    return len(endpoint.candidates) if carries_on else 1


def _find_rates(endpoint: Endpoint) -> dict[Candidate, Rates]:
    """The rates of each candidate with a price, its own or the flat one."""
    flat = endpoint.estimated_cost_per_1k_tokens_usd
    otherwise = None if flat is None else TokenPrice.flat(flat)
    prices = endpoint.prices or (None,) * len(endpoint.candidates)
    found = {candidate: price or otherwise for candidate, price in zip(endpoint.candidates, prices, strict=True)}
    return {candidate: Rates.of(price) for candidate, price in found.items() if price is not None}


def _find_dearest(rates: dict[Candidate, Rates]) -> Rates | None:
    """The highest rate of each kind of token; None if there is no price."""
    all_rates = list(rates.values())
    if not all_rates:
        return None
    with_long = [one for one in all_rates if one.long is not None]
    return evolve(
        _highest(all_rates),
        long_from=min([one.long_from for one in with_long], default=0),
        long=_highest([one.long or one for one in all_rates]) if with_long else None,
    )


def _highest(all_rates: Sequence[Rates]) -> Rates:
    return Rates(
        input=max(one.input for one in all_rates),
        output=max(one.output for one in all_rates),
        cached_input=max(one.cached_input for one in all_rates),
        cache_write=max(one.cache_write for one in all_rates),
        source=DEAREST,
    )
