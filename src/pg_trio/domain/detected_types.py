"""The types of personal data and of secrets that guardrails detect, and what masks and refusals call them.

The order is the order of the checks: text that an earlier type matched is not checked by later ones. So a type whose
matches contain another type's (a URL's password and host look like an address of e-mail) comes first.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

# The published ones, then ours.
PiiType: TypeAlias = Literal[
    "email",
    "ip_address",
    "iban",
    "credit_card",
    "ssn_us",
    "phone_us",
    "phone_de",
    "phone_generic",
    "url_credentials",
    "ipv6",
    "mac_address",
    "us_passport",
    "de_tax_id",
    "uk_nino",
    "fr_nir",
    "es_nif",
    "it_codice_fiscale",
    "crypto_wallet",
    "vin",
    "date_of_birth",
]

# In the order of the checks.
PII_LABELS: dict[str, str] = {
    "url_credentials": "URL credentials",
    "email": "E-Mail",
    "ip_address": "IP address",
    "ipv6": "IPv6 address",
    "mac_address": "MAC address",
    "iban": "IBAN",
    "credit_card": "Credit card",
    "ssn_us": "SSN",
    "us_passport": "US passport number",
    "de_tax_id": "German tax ID",
    "uk_nino": "UK national insurance number",
    "fr_nir": "French social security number",
    "es_nif": "Spanish tax ID",
    "it_codice_fiscale": "Italian tax code",
    "crypto_wallet": "Crypto wallet",
    "vin": "VIN",
    "date_of_birth": "Date of birth",
    "phone_us": "Phone number",
    "phone_de": "Phone number",
    "phone_generic": "Phone number",
}
# What `pii_filter.types` means if it is absent. The others are off unless named.
PUBLISHED_PII_TYPES: tuple[PiiType, ...] = (
    "email",
    "ip_address",
    "iban",
    "credit_card",
    "ssn_us",
    "phone_us",
    "phone_de",
    "phone_generic",
)

SecretType: TypeAlias = Literal[
    "private_key",
    "aws_access_key",
    "aws_secret_key",
    "google_api_key",
    "azure_key",
    "openai_key",
    "anthropic_key",
    "provider_key",
    "github_token",
    "gitlab_token",
    "slack_token",
    "stripe_key",
    "package_token",
    "service_token",
    "jwt",
    "connection_string",
    "generic_secret",
]

SECRET_LABELS: dict[str, str] = {
    "private_key": "Private key",
    "aws_access_key": "AWS access key",
    "aws_secret_key": "AWS secret key",
    "google_api_key": "Google API key",
    "azure_key": "Azure key",
    "openai_key": "OpenAI API key",
    "anthropic_key": "Anthropic API key",
    "provider_key": "Provider API key",
    "github_token": "GitHub token",
    "gitlab_token": "GitLab token",
    "slack_token": "Slack token",
    "stripe_key": "Stripe key",
    "package_token": "Package registry token",
    "service_token": "Service token",
    "jwt": "JWT",
    "connection_string": "Connection string",
    "generic_secret": "Secret",
}
