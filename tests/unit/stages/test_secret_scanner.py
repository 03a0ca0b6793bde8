"""Secrets in the forms that their issuers gave them, and look-alikes. Random parts are made from a seed."""

from __future__ import annotations

import base64
import random
import re
import string

import pytest

from pg_trio.domain.detected_types import SECRET_LABELS
from pg_trio.stages.guardrails.detection import mask_matches
from pg_trio.stages.guardrails.secret_scanner import secret_finder

ALL = secret_finder(None)
ALPHABETS = {
    "a": string.ascii_letters + string.digits,
    "A": string.ascii_uppercase + "234567",
    "h": "0123456789abcdef",
    "w": string.ascii_letters + string.digits + "_-",
    "b": string.ascii_letters + string.digits + "+/",
    "d": string.digits,
    "l": string.ascii_lowercase + string.digits,
}


def fill(template: str) -> str:
    """`{a36}`: 36 random characters of an alphabet."""
    rng = random.Random(template)

    def draw(slot: re.Match[str]) -> str:
        return "".join(rng.choice(ALPHABETS[slot[1]]) for _ in range(int(slot[2])))

    return re.sub(r"\{([aAhwbdl])(\d+)\}", draw, template)


def token(*parts: str) -> str:
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


JWT = token('{"alg":"HS256","typ":"JWT"}', '{"sub":"1234567890","name":"Max"}', "signature of it all")
KEY_BODY = "\n".join(fill(f"{{b64}}{line * ' '}").strip() for line in range(4))

# (type, the secret's template); each stands in several sentences.
SECRETS = [
    ("aws_access_key", "AKIA{A16}"),
    ("aws_access_key", "ASIA{A16}"),
    ("aws_access_key", "AKIAIOSFODNN7EXAMPLE"),
    ("google_api_key", "AIza{w35}"),
    ("azure_key", "AccountKey={b86}=="),
    ("anthropic_key", "sk-ant-api03-{w93}AA"),
    ("openai_key", "sk-proj-{a48}T3BlbkFJ{a48}"),
    ("openai_key", "sk-{a48}"),
    ("openai_key", "sk-svcacct-{w80}a1"),
    ("provider_key", "hf_{a34}"),
    ("provider_key", "gsk_{a52}"),
    ("provider_key", "sk-or-v1-{h64}"),
    ("provider_key", "xai-{a80}"),
    ("github_token", "ghp_{a36}"),
    ("github_token", "ghs_{a36}"),
    ("github_token", "github_pat_{a22}_{a59}"),
    ("gitlab_token", "glpat-{a20}"),
    ("slack_token", "xoxb-{d12}-{d13}-{a24}"),
    ("slack_token", "xapp-1-A{A10}-{d13}-{h64}"),
    ("slack_token", "hooks.slack.com/services/T{A10}/B{A10}/{a24}"),
    ("stripe_key", "sk_live_{a24}"),
    ("stripe_key", "rk_test_{a99}"),
    ("stripe_key", "whsec_{a32}"),
    ("package_token", "npm_{a36}"),
    ("package_token", "pypi-AgEIcHlwaS5vcmc{w70}a"),
    ("service_token", "SG.{a22}.{a43}"),
    ("service_token", "{d10}:AA{a33}"),
    ("service_token", "dop_v1_{h64}"),
    ("service_token", "shpat_{h32}"),
    ("provider_key", "hf_abcdefghijKLMNopqrstuvwxyzABCDEFGH"),
    ("github_token", "ghp_1234567890abcdefghijklmnopqrstuvwxyz"),
    ("openai_key", "sk-1234567890abcdef1234567890abcdef"),
    ("slack_token", "xoxb-123456789012-123456789012-abcdefghijklmnopqrstuvwx"),
    # with a hyphen at the end, where no word ends
    ("service_token", "figd_{a39}-"),
    ("package_token", "dckr_pat_{a26}-"),
    ("openai_key", "sk-service-{a48}"),
    ("google_api_key", "AQ.Ab8{w47}"),
    ("google_api_key", "1//04{w98}"),
    ("azure_key", "{a52}JQQJ99BA{a24}"),
    ("azure_key", "{a76}AZDO{a4}"),
    ("gitlab_token", "glpat-{a27}.01.{l9}"),
    ("provider_key", "ABSK{b120}=="),
    ("provider_key", "tvly-dev-{a32}"),
    ("provider_key", "fc-{h32}"),
    ("provider_key", "sk_{h48}"),
    ("provider_key", "e2b_{h40}"),
    ("service_token", "GR1348941{a20}"),
    ("service_token", "discord.com/api/webhooks/{d18}/{a68}"),
    ("service_token", "ATATT3xFfGF0{a171}=0A1B2C3D"),
    ("service_token", "secret_{a43}"),
    ("service_token", "pat{a14}.{h64}"),
    ("service_token", "{a14}.atlasv1.{a67}"),
    ("service_token", "CCIPAT_{a22}_{h40}"),
    ("service_token", "sqp_{h40}"),
    ("service_token", "pat-na1-{h8}-{h4}-{h4}-{h4}-{h12}"),
    ("service_token", "tskey-auth-{a16}-{a32}"),
    ("service_token", "re_{a8}_{a24}"),
    ("service_token", "vcp_{a56}"),
    ("service_token", "sb_secret_{a22}_{a8}"),
    ("service_token", "pscale_tkn_{a43}"),
    ("connection_string", "postgres://admin:secret@db.internal:5432/prod"),
    ("connection_string", "mysql://root:hunter2@localhost/app"),
    ("jwt", JWT),
    ("connection_string", "postgresql://app:{a16}@db.example.com:5432/app?sslmode=require"),
    ("connection_string", "mongodb+srv://root:{a12}@cluster0.example.net"),
    ("connection_string", "amqp://:{a12}@10.0.0.4:5672/"),
    ("private_key", f"-----BEGIN RSA PRIVATE KEY-----\n{KEY_BODY}\n-----END RSA PRIVATE KEY-----"),
    ("private_key", f"-----BEGIN OPENSSH PRIVATE KEY-----\n{KEY_BODY}\n-----END OPENSSH PRIVATE KEY-----"),
    ("private_key", f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{KEY_BODY}\n-----END PGP PRIVATE KEY BLOCK-----"),
]
SENTENCES = ["{}", "Here: {} – keep it.", 'export X="{}"', "curl -H 'X: {}' https://example.com", "`{}`,", "a {}\nb"]

# (type, text, what is found)
NAMED = [
    ("aws_secret_key", 'aws_secret_access_key = "{b40}"', "{b40}"),
    ("aws_secret_key", "AWS_SECRET_ACCESS_KEY={b40}", "{b40}"),
    ("generic_secret", 'api_key = "{a32}"', "{a32}"),
    ("generic_secret", "MY_SERVICE_TOKEN={h40}", "{h40}"),
    ("generic_secret", '"client_secret": "{w40}"', "{w40}"),
    ("generic_secret", "Authorization: Bearer {w43}", "{w43}"),
    ("generic_secret", "Authorization: Basic bWJuZHVuOjJDbVdnQThOdktMVkVX", "bWJuZHVuOjJDbVdnQThOdktMVkVX"),
    (
        "openai_key",
        "sk-svcacct-HZ-SqrumauNMUgpnF_zxF6Htd_my_d8-1ZNi9L",
        "sk-svcacct-HZ-SqrumauNMUgpnF_zxF6Htd_my_d8-1ZNi9L",
    ),
    # 3.3 bits a character: one in ten of 32 hexadecimal digits has less than 3.4
    ("generic_secret", "TWILIO_AUTH_TOKEN=8096911e968cd1eb5cbf15b3669386e6", "8096911e968cd1eb5cbf15b3669386e6"),
    (
        "generic_secret",
        "ZHIPU_API_KEY=eb41e1af5fa744c41c24265007d2ef12.6jCDRPYX9qIWVZpk",
        "eb41e1af5fa744c41c24265007d2ef12.6jCDRPYX9qIWVZpk",
    ),
    ("generic_secret", "ASSEMBLYAI_KEY: {h32}", "{h32}"),
    ("generic_secret", "EXA_API_KEY=123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
    (
        "generic_secret",
        "SECRET_KEY = 'django-insecure-d5jqs-(kcm4$g&q8l#k+qo8=z0u'",
        "django-insecure-d5jqs-(kcm4$g&q8l#k+qo8=z0u",
    ),
    ("generic_secret", "my password is Tr0ub4dor&3, keep it", "Tr0ub4dor&3"),
    ("generic_secret", "The password is: Summer2024!", "Summer2024"),
    ("generic_secret", 'with the password "s3cr3T-pw!".', "s3cr3T-pw!"),
    ("generic_secret", "Das Passwort lautet: Tr0ub4dor&3", "Tr0ub4dor&3"),
    ("generic_secret", "Le mot de passe est Tr0ub4dor&3", "Tr0ub4dor&3"),
    ("generic_secret", "La contraseña es Tr0ub4dor&3", "Tr0ub4dor&3"),
    ("generic_secret", "密码是Tr0ub4dor&3", "Tr0ub4dor&3"),
    ("generic_secret", "パスワード：Tr0ub4dor&3", "Tr0ub4dor&3"),
    ("generic_secret", "password: Tr0ub4dor&3", "Tr0ub4dor&3"),
    ("generic_secret", "DB_PASSWORD='s3cr3T-pw!'", "s3cr3T-pw!"),
    (
        "connection_string",
        "Server=db1;Database=app;User Id=sa;Password=Pa55w0rd!x;",
        "Server=db1;Database=app;User Id=sa;Password=Pa55w0rd!x",
    ),
]

HARMLESS = [
    'LOCAL_STORAGE_KEY = "cookieConsentAccepted2024"',
    'S3_OBJECT_KEY = "Reports/2024/Q3/Summary_Final_v2.pdf"',
    'ROW_KEY = "2024-11-30T12:00:00Z#user-42"',
    "The password is WPA2-PSK.",
    "The password is 2FA-protected, the other one IPv6-only.",
    "Password is HTML5-escaped.",
    "Votre mot de passe est Windows10-compatible.",
    "Passwort: „Pflichtfeld“ ist rot.",
    "password: “Required”",
    "credentials = standard_b64encode(text)",
    "http://userid:password@example.com:8080",
    "token = request.headers.get('Authorization')",
    "const apiKey = process.env.OPENAI_API_KEY;",
    'api_key: "${API_KEY}"',
    "api_key = os.environ['KEY']",
    'password = "<your password>"',
    "password: required|min:8",
    "OPENAI_API_KEY=sk-your-key-here",
    "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "The token is a word; the secret is patience.",
    "Set max_tokens: 4096 and token_type: Bearer",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "request_id: 123e4567-e89b-12d3-a456-426614174000",
    "token: 123e4567-e89b-12d3-a456-426614174000",
    "class sk-folding-cube { }",
    "pk_live_is_public and xoxb is a prefix",
    "eyJhbGciOi without the rest",
    "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "https://user:password@example.com",
    "postgres://localhost:5432/app",
    "key = sorted(items, key=lambda item: item.count)",
    "secret_key_base: <%= ENV['SECRET_KEY_BASE'] %>",
    "auth: https://auth.example.com/oauth2/authorize",
    "password=password",
    "tokenizer = AutoTokenizer.from_pretrained('bert-base-uncased')",
    "access_token: string; refresh_token: string",
    "The password is Base64-encoded, and stored as PBKDF2-HMAC-SHA256.",
    "Your password is case-sensitive and the Password is Case-Sensitive.",
    "Das Passwort ist Passwort-geschützt. Le mot de passe est obligatoire.",
    "密码是什么？ パスワードは8文字以上です",
    "PRIMARY_KEY=order_id_2024_x1y2z3 CACHE_KEY=user42profile8f3kq1",
    "SECRET_NAME=prod/db/main-2024 and tokenizer: cl100k_base-v2.1",
    "secret: projects/123456/secrets/x/versions/2",
]


@pytest.mark.parametrize(("name", "template"), SECRETS)
def test_secret_is_found_whole(name: str, template: str) -> None:
    secret = fill(template)

    for sentence in SENTENCES:
        text = sentence.format(secret)
        assert sentence.format(f"[{SECRET_LABELS[name]} REDACTED]") == mask_matches(text, ALL.find(text))


@pytest.mark.parametrize(("name", "template", "value"), NAMED)
def test_named_secret_is_found(name: str, template: str, value: str) -> None:
    secret = fill(value)
    text = template.replace(value, secret)

    found = ALL.find(text)

    assert [(name, secret)] == [(match.rule, text[match.start : match.end]) for match in found]


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_passes(text: str) -> None:
    assert [] == ALL.find(text)


def test_types_choose() -> None:
    text = fill("AKIA{A16} and ghp_{a36}")

    assert ["github_token"] == [match.rule for match in secret_finder(("github_token",)).find(text)]
    assert [] == secret_finder(()).find(text)


def test_unknown_type_is_named() -> None:
    with pytest.raises(ValueError, match="'shoe_size'"):
        secret_finder(("shoe_size",))


def test_cut_key_is_found_as_far_as_it_goes() -> None:
    text = f"-----BEGIN PRIVATE KEY-----\n{KEY_BODY}"

    assert "[Private key REDACTED]" == mask_matches(text, ALL.find(text))
