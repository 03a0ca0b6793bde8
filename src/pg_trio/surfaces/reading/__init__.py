"""Read a client's body: the parts that surfaces share. Each raises a 400 that names the wrong part.

json_body.py        the bytes of a body as a JSON object
content_type.py     the types and codings that a body may have
field_checks.py     one field of a kind
chat_messages.py    OpenAI's messages, with message_content.py and signed_fields.py for their parts
tool_fields.py      tool calls, definitions of tools, `response_format`
"""
