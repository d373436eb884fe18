"""Fails as functions do."""


class OutOfStock(Exception):
    pass


def handler(event, context):
    raise OutOfStock(event["what"])


def returns_no_json(event, context):
    return {"this": object()}
