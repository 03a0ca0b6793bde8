"""The `/v1` surfaces: OpenAI's and Anthropic's own clients, with nothing but a base URL (docs/surfaces.md).

routes.py          the paths under `/api/{uuid}/v1/`, and what all of them demand of a caller
openai_errors.py   failures in OpenAI's shape
model_limits.py    OpenAI's and Anthropic's header fields for limits
chat/              Chat Completions
responses/         Responses
embeddings/        Embeddings
messages/          Anthropic's Messages, and the count of tokens
"""
