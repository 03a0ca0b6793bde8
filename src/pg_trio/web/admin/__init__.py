"""The admin address: pages, metrics and the admin API, for operators.

admin_app.py         the application: its routes, its errors, its header fields
operator_access.py   who is asking, by key or by a page's session; what only an operator may do
api_changes.py       the admin API's changes: providers, endpoints, the configuration
metrics_route.py     `/metrics`, here and (if the settings say so) on the public address
"""
