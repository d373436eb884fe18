"""As the documentation of Powertools has it: event source data classes, on a DynamoDB stream."""

from aws_lambda_powertools.utilities.data_classes import DynamoDBStreamEvent, event_source
from aws_lambda_powertools.utilities.typing import LambdaContext


@event_source(data_class=DynamoDBStreamEvent)
def handler(event: DynamoDBStreamEvent, context: LambdaContext):
    return [[record.event_name.name, record.dynamodb.new_image] for record in event.records]
