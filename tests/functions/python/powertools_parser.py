"""As the documentation of Powertools has it: the parser, with a model in the records of a Kinesis stream."""

from aws_lambda_powertools.utilities.parser import BaseModel, event_parser
from aws_lambda_powertools.utilities.parser.models import KinesisDataStreamModel
from aws_lambda_powertools.utilities.typing import LambdaContext


class Order(BaseModel):
    id: int
    item: str


class Answer(BaseModel):
    orders: list[Order]
    shards: list[str]


@event_parser(model=KinesisDataStreamModel)
def handler(event: KinesisDataStreamModel, context: LambdaContext):
    orders = [Order.model_validate_json(record.kinesis.data) for record in event.Records]
    shards = [record.eventID.partition(":")[0] for record in event.Records]
    return Answer(orders=orders, shards=shards).model_dump()
