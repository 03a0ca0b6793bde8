"""Decides what a refusal concerns: the request, which every candidate would refuse, or this candidate alone.

Rules:
1. Only for 400, 413 and 422, which cause no failover without a concern; other statuses are clear.
2. A provider's own code decides, in any field. Then its documented words decide.
3. Words for a key and for credit count only outside of quotation marks, because quoted text may be the client's own,
   and a client must not be able to disable a credential. An unknown model concerns one candidate, and a context window
   counts against no breaker, so their words may stand anywhere.
4. A missing ability of the model (tools, images, a parameter) concerns the request: the contract names only key,
   credit, model and context.

Sources, read 2026-11: error references of OpenAI, Azure, Anthropic, Google (ErrorInfo reasons), Groq, Mistral, Cohere,
DeepSeek, Alibaba, Moonshot, OpenRouter, AWS Bedrock; the sources of vLLM, llama.cpp, LiteLLM, Ollama, one-api.
"""

from __future__ import annotations

import re

import orjson

from pg_trio.domain.chat import Json
from pg_trio.errors import Concern
from pg_trio.providers.json_text import read_json
from pg_trio.providers.retry_after import ERROR_BODY_BYTES

STATUSES = frozenset({400, 413, 422})

# The fields with codes: `code`, `type`, Google's `status` and `reason`, AWS's `__type`, and what others call them.
_CODE_FIELDS = ("code", "type", "status", "reason", "__type", "error_code", "errorCode", "error_type", "error", "Code")
_ENVELOPES = ("error", "errors", "err", "Error", "Response", "response", "details", "innererror", "fault", "message")
# A gateway behind a gateway has four; Google's details are three.
_MAX_OBJECTS = 32

# Characters of a message that are checked; the reason is at its beginning.
_LOOKED_AT_CHARS = 2_000

_CODES: dict[Concern, str] = {
    "key": (
        "invalid_api_key api_key_invalid api_key_expired api_key_not_found api_key_missing incorrect_api_key "
        "invalid_key authentication_error authentication_failed authentication_required auth_error "
        "invalid_authentication invalid_authentication_error unauthorized unauthorized_error unauthenticated "
        "permission_denied permission_error access_denied invalid_token token_expired expired_token "
        "no_api_key missing_api_key api_key_service_blocked "
        "unrecognized_client unrecognized_client_exception expired_token_exception invalid_signature_exception "
        "missing_authentication_token access_denied_exception account_deactivated organization_deactivated "
        "organization_restricted consumer_invalid consumer_suspended"
    ),
    "credit": (
        "insufficient_quota insufficient_user_quota insufficient_balance insufficient_credit insufficient_credits "
        "insufficient_funds quota_exceeded exceeded_current_quota_error billing_hard_limit_reached billing_not_active "
        "billing_error billing_disabled payment_required credit_balance_too_low out_of_credits credits_exhausted "
        "arrearage budget_exceeded spend_limit_reached pre_consume_token_quota_failed allocation_quota "
        "free_tier_only usage_limit_reached"
    ),
    "model": (
        "model_not_found model_not_found_error model_not_found_exception model_decommissioned model_deprecated "
        "model_retired model_not_active model_not_available model_unavailable model_not_loaded model_not_supported "
        "model_not_exist model_access_denied model_terms_required unknown_model invalid_model invalid_model_id "
        "invalid_model_name invalid_model_error unsupported_model no_such_model deployment_not_found "
        "resource_not_found_exception operation_not_supported no_available_channel"
    ),
    "context": (
        "context_length_exceeded exceed_context_size_error context_window_exceeded context_window_exceeded_error "
        "context_size_exceeded model_context_window_exceeded max_context_length_exceeded prompt_too_long "
        "input_too_long input_tokens_exceeded tokens_limit_reached context_length_error context_overflow"
    ),
}
_CONCERN_OF: dict[str, Concern] = {
    code.replace("_", ""): concern for concern, codes in _CODES.items() for code in codes.split()
}

_KEY_WORDS = re.compile(
    r"(?:api[ _-]?key|x-api-key|access token|bearer token|auth(?:entication|orization)? token|credentials?"
    r"|security token|subscription key)\b[^.]{0,60}?\b(?:not valid|not found|invalid|incorrect|expired|missing|required"
    r"|disabled|revoked|leaked|blocked|deactivated|not provided|inactive)"
    r"|\b(?:invalid|incorrect|expired|missing|wrong|no|bad|disabled|revoked)\s(?:\w+\s){0,2}(?:api[ _-]?key|x-api-key"
    r"|access token|bearer token|authentication|auth credentials|credentials)\b"
    r"|authentication (?:fails|failed|error)|\bunauthori[sz]ed\b|user location is not supported"
    r"|(?:account|organi[sz]ation)\b[^.]{0,40}\b(?:deactivated|suspended|disabled|restricted|banned)",
    re.IGNORECASE,
)
_CREDIT_WORDS = re.compile(
    r"credit balance|insufficient (?:account )?(?:balance|credits?|funds|quota)|(?:not enough|no|out of|more) "
    r"(?:credits?|balance|quota|funds)\b|exceeded your (?:current |monthly |daily )?(?:quota|budget|usage)"
    r"|quota (?:has been |is )?(?:exceeded|exhausted|used up|insufficient)|budget has been exceeded"
    r"|billing (?:hard limit|is not|not active|account)|enable billing|payment (?:is )?required"
    r"|specified api usage limits|spend(?:ing)? limit|account is in "
    r"good standing|overdue (?:payment|balance|bill)|reached your [^.]{0,40}(?:quota|usage|spend)",
    re.IGNORECASE,
)
_MODEL_WORDS = re.compile(
    r"\bmodel(?:\s+(?:name|id|identifier))?[\s:=]+(?:\S{1,120}\s+){0,6}?(?:does not exist|doesn't exist|not found"
    r"|decommissioned|deprecated|retired|discontinued|sunset|shut down|no longer (?:available|supported|offered)"
    r"|is not (?:available|found|a valid|valid|loaded|active|recogni[sz]ed|known|deployed"
    r"|supported\b(?! (?:by|with|for|in)))|is (?:unavailable|unknown|invalid)|not exist)"
    r"|\b(?:invalid|unknown|unsupported|unrecogni[sz]ed|nonexistent|no such|not a valid) model"
    r"\b(?! (?:output|response|parameter|input))"
    r"|invalid model name|model identifier is invalid|no endpoints found|no healthy deployments?"
    r"|no models? loaded|on-demand throughput isn.t supported|try pulling it|unable to find model|no available channel"
    r"|\b(?:deployment|engine)\b[^.\n]{0,80}(?:does not exist|not found)|do not have access to (?:the )?model",
    re.IGNORECASE,
)
_CONTEXT_WORDS = re.compile(
    r"context (?:length|window|size|limit)|context_length|(?:prompt|input|request|message|conversation|messages)"
    r"(?: is| are|'s length is)? too (?:long|large) (?:for|to fit)|prompt is too long|input is too long|input too long"
    r"|(?:prompt|input) (?:contains|has) too many tokens|too many (?:input |prompt |total )?tokens"
    r"|(?:token count|input tokens?|prompt tokens?|number of tokens|tokens)\b[^.\n]{0,80}\bexceed"
    r"|exceed\w*\b[^.\n]{0,60}\b(?:max_model_len|maximum (?:input |prompt |number of )?tokens?|token limit"
    r"|max(?:imum)? input)"
    r"|\bmax(?:imum)? (?:prompt|input|sequence|context|model|token) length|exceeds? (?:the )?max(?:imum)? len(?:gth)?"
    r"|inputs.{0,3} (?:tokens \+|must have less than \d+ tokens)"
    r"|max_model_len|reduce the length of (?:the |your )?(?:messages|prompt|input)|request too large for model"
    r"|request body too large for [^.\n]{0,60}\bmodel|range of input length|tokens? limit (?:is )?(?:exceeded|reached)",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"\"[^\"]*\"|`[^`]*`|(?<!\w)'(?:[^']|(?<=\w)'(?=\w))*'(?!\w)|\u201c[^\u201d]*\u201d")


def read_concern(status: int, body: bytes, words: str | None) -> Concern | None:
    """The concern of a refusal with this body and these words; None if it is the request.

    `words` are not masked yet, and are not passed on.
    """
    if status not in STATUSES:
        return None
    by_code = _read_codes(body)
    if by_code is not None or words is None:
        return by_code
    words = words[:_LOOKED_AT_CHARS]
    if _CONTEXT_WORDS.search(words):
        return "context"
    own_words = _QUOTED.sub("''", words)
    if _CREDIT_WORDS.search(own_words):
        return "credit"
    if _KEY_WORDS.search(own_words):
        return "key"
    return "model" if _MODEL_WORDS.search(words) else None


def _read_codes(body: bytes) -> Concern | None:
    if len(body) > ERROR_BODY_BYTES:
        return None
    try:
        answer: Json = read_json(body)
    except orjson.JSONDecodeError:
        return None
    concerns = [_CONCERN_OF.get(_plain_code(code)) for code in find_codes(answer)]
    return next((concern for concern in concerns if concern is not None), None)


def find_codes(answer: Json) -> list[str]:
    """Every code of an error, outermost first. The part of a body that repeats the request (FastAPI's `input`) is not
    read."""
    codes, rest = list[str](), [answer]
    for _ in range(_MAX_OBJECTS):
        if not rest:
            break
        node = rest.pop(0)
        if isinstance(node, list):
            rest.extend(node[:_MAX_OBJECTS])
        elif isinstance(node, dict):
            codes += [node[name] for name in _CODE_FIELDS if isinstance(node.get(name), str)]
            rest.extend([node[name] for name in _ENVELOPES if isinstance(node.get(name), dict | list)])
    return codes


def _plain_code(code: str) -> str:
    # AWS writes a namespace before the code: `com.amazon.coral.service#UnrecognizedClientException`.
    name = code.rpartition("#")[2]
    return "".join(filter(str.isalnum, name)).lower() if len(name) <= 64 else ""
