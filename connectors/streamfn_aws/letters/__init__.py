"""Dead letters in queues and buckets of AWS, and the records of its streams that they tell of."""

from streamfn_aws.letters.dynamodb import DynamoDbFetcher as DynamoDbFetcher
from streamfn_aws.letters.kinesis import KinesisFetcher as KinesisFetcher
from streamfn_aws.letters.s3 import S3Letters as S3Letters
from streamfn_aws.letters.sqs import SqsLetters as SqsLetters
