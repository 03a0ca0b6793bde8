"""The gateway's HTTP APIs as OpenAPI 3.1 documents, made from what is served.

document_parts.py    schemas, parameters and error answers that both documents use
public_document.py   `/openapi.json` of the public address: the Gateway API, `/v1`, introspection, health
admin_document.py    `/admin/openapi.json` of the admin address
document_page.py     either as a page that needs no script
"""
