"""Lambda's API as boto3 and the AWS CLI use it: programs in an environment of their own, and the daemon."""
