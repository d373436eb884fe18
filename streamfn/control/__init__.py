"""Lambda's API: what boto3, the AWS CLI and SDKs say over HTTP, carried out on a running app.

A request goes `server` -> `signing` -> `api` (routes, parses and checks it by botocore's service model) ->
one operation -> `api` again, which writes the answer. Operations hold no state: that is in `plane`.
"""
