"""What each option means, in one or two sentences: for the tables of the documentation, and for editors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MAPPING: Final[Mapping[str, str]] = {
    "function": "The function, by name. Required; in Python it is the first argument.",
    "qualifier": "A version, by its number, or an alias, which is followed. Else `$LATEST`. AWS: behind the "
    "function's name.",
    "circuit_breaker": "`true`, or how: the function is not called for a while when it fails again and again "
    "([semantics.md](semantics.md#circuit-breakers)).",
    "source": "What is read: a URI, or in Python a source object. Required. AWS: `EventSourceArn`, or "
    "`SelfManagedEventSource` with `Topics`.",
    "name": "Unique, and part of the consumer group: another name begins anew. Else `function-source`.",
    "enabled": "Off: it waits until it is resumed.",
    "batch_size": "Most records of one invocation.",
    "maximum_batching_window_in_seconds": "Longest wait for a batch to fill. With 0 whatever is there goes.",
    "parallelization_factor": "Batches of one shard in flight at a time, split by key.",
    "starting_position": "Where a new group begins: `TRIM_HORIZON`, `LATEST`, `AT_TIMESTAMP` (not DynamoDB).",
    "starting_position_timestamp": "With `AT_TIMESTAMP`: epoch seconds or ISO 8601.",
    "on_failure": "Where records go that are given up. AWS: `DestinationConfig.OnFailure.Destination`.",
    "maximum_record_age_in_seconds": "Older records are given up. -1: never.",
    "maximum_retry_attempts": "Tries after the first. -1: without end (10 for Kafka with `OnFailure`).",
    "bisect_batch_on_function_error": "Split a failed batch in two until the bad record is alone.",
    "function_response_types": "`[ReportBatchItemFailures]`: the function's answer names what failed.",
    "filters": "Event patterns, objects or JSON text, of which a record has to fit one; at most ten. What "
    "fits none counts as done. AWS: `FilterCriteria`.",
    "filter": "A predicate of a record; what it refuses counts as done. Python only. With patterns as well, "
    "both have to take a record.",
    "consumer_group_id": "The group whose checkpoints are used. Else `app.mapping`.",
    "tags": "Kept, and given no meaning.",
    "source_access_configurations": "How Kafka is signed in to, by secrets ([api.md](api.md)).",
    "ordering": "Which records wait for which: `shard`, `key` or `none`. Streams and Kafka only.",
    "maximum_concurrency": "Batches in flight: of a queue in all (AWS: `ScalingConfig`); of a shard with "
    "ordering `key` or `none`, which is beyond AWS.",
    "minimum_pollers": "Pollers that wait while the queue is idle, 2 or more; else 1. AWS: "
    "`ProvisionedPollerConfig`, of which either option is enough: 2 and 200 stand for the other.",
    "maximum_pollers": "2 or more, with ten batches in flight for each. Not with `MaximumConcurrency`.",
    "when_destination_fails": "`block`: send until it is taken. `drop`: what AWS does, counted and logged.",
    "on_position_lost": "When records were removed unread: `fail`, `trim_horizon` or `latest`.",
    "revoke_grace": "Seconds that batches in flight have when their shard goes to another worker.",
    "retry_backoff": "`{First, Factor, Cap}`: seconds between tries of a stream.",
    "retry_delay": "Seconds until a failed message comes again. Else its visibility timeout decides.",
    "maximum_receive_count": "Receives after which a message that fails is kept as a dead letter, and "
    "removed. Else the queue's own redrive policy decides.",
    "dead_letters": "Every record given up is also kept there, whole, as a dead letter: a URI, or in Python "
    "a destination; `true`: `local:queue/dead-letters`. Else as the app has it.",
    "sequenced": "With ordering `key`: once a record of a key is given up, later records of that key are "
    "parked behind it and released in order after its redrive.",
    "sequenced_limit": "Records parked at most.",
}

INVOKING: Final[Mapping[str, str]] = {
    "function": "The function, by name or ARN; a qualifier behind it counts. Under a function it is known.",
    "qualifier": "For a version, by its number, or an alias alone. Else `$LATEST`.",
    "maximum_retry_attempts": "Tries after the first, for function errors. AWS takes 0 to 2.",
    "maximum_event_age_in_seconds": "Events that would be older at their next try are given up.",
    "on_success": "Where the record of a success goes. AWS: `DestinationConfig.OnSuccess.Destination`.",
    "on_failure": "Where the record of a failure goes. AWS: `DestinationConfig.OnFailure.Destination`.",
    "dead_letter_queue": "Takes the event alone, with the reason in attributes. AWS: "
    "`DeadLetterConfig.TargetArn`.",
    "retry_delays": "Seconds from each function error to its retry; the last one holds for all that follow.",
    "dead_letters": "Where events given up are kept, whole: a URI, or in Python a destination; `true`: "
    "`local:queue/dead-letters`; `false`: nowhere. Else as the app has it, or `true` where there is neither "
    "`OnFailure` nor `DeadLetterQueue`.",
    "when_destination_fails": "`drop`: after four tries it is counted, logged and kept as a dead letter. "
    "`block`: send until it is taken.",
}

FUNCTION: Final[Mapping[str, str]] = {
    "code_uri": "A folder, a zip, also in S3, or what runs elsewhere: `http://...`, `lambda:NAME`, "
    "`docker:IMAGE`. SAM's.",
    "inline_code": "The source of a Python or Node.js function. SAM's.",
    "runtime": "`python3.12`, `nodejs20.x`, `provided.al2023`, … Required of a package.",
    "handler": "`module:name` in this process; of a package as on Lambda, such as `app.handler`.",
    "layers": "Folders or zips, also in S3, at most five, merged in order.",
    "environment": "Variables. AWS: `Environment.Variables`.",
    "kms_key_arn": "The key of variables that are stored: `file:PATH`, `env:NAME`, or a KMS key.",
    "timeout": "Seconds of one invocation; 3 for what is deployed, 60 in this process.",
    "memory_size": "MB. 128 to 10,240 for what is deployed, and enforced; else only told.",
    "ephemeral_storage": "MB of `/tmp`. AWS: `EphemeralStorage.Size`.",
    "reserved_concurrency": "Invocations at a time, kept for it and its limit; 0 switches it off. AWS: "
    "`ReservedConcurrentExecutions`.",
    "provisioned_concurrency": "Environments of `$LATEST` that are kept initialised; AWS: of versions.",
    "maximum_concurrency": "Invocations of one environment at a time, where its runtime can.",
    "aliases": "By name: `function_version`, `additional_version_weights`, `provisioned_concurrency`.",
    "auto_publish_alias": "The alias that follows `$LATEST`: a version is published at each change. SAM's.",
    "description": "Of the versions that are published.",
    "batch": "In this process: called with the `Batch`.",
    "each": "In this process: called record by record with this model.",
    "network": "`none`, or a network namespace of the machine.",
    "log_format": "`Text` or `JSON`. AWS: `LoggingConfig.LogFormat`.",
    "region": "What it is told as its region.",
    "strict_runtime": "Whether an interpreter of another minor version is refused; else it is warned of.",
    "credentials": "`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` that it gets.",
    "scaling_rate": "Environments that are added in ten seconds at most.",
    "idle_timeout": "Seconds after which an environment that nobody used is ended.",
    "adaptive_concurrency": "`gradient`, `aimd`, or options of theirs.",
    "event_invoke_config": "In files: options of asynchronous invocation, or a list of sets of them.",
    "dead_letter_config": "Where events go that it could not process. AWS: `DeadLetterConfig.TargetArn`.",
    "logging_config": "AWS's form of `LogFormat`; levels and group are kept and shown.",
    "role": "Kept and shown.",
    "architectures": "Kept and shown.",
    "package_type": "Kept and shown.",
    "vpc_config": "Kept and shown: it reaches what the machine reaches.",
    "tracing_config": "Kept and shown.",
    "image_config": "Of `docker:IMAGE`: `Command`, `EntryPoint`, `WorkingDirectory` instead of its own.",
    "snap_start": "Kept and shown: environments start without snapshots.",
    "tags": "Names and values.",
    "file_system_configs": "Not yet.",
    "code_signing_config_arn": "Not yet.",
    "tenancy_config": "Not yet.",
    "capacity_provider_config": "Not yet.",
    "durable_config": "Not yet.",
    "facts": "More that is kept with it and its versions, and shown by the API.",
}

_OTHERS: Final[Mapping[str, Mapping[str, str]]] = {
    "_Top": {
        "name": "The app's name, part of its consumer groups.",
        "state_dir": "The folder for checkpoints, queues, versions and dead letters.",
        "functions": "By name: `module:name` of this process, or its options.",
        "event_source_mappings": "What is read, and the functions that are called with it.",
        "dead_letters": "Where all keep what is given up that say nothing: `true`, `false` or a URI.",
        "logging": "How to log, unless the command line says otherwise.",
    },
    "AwsForms": {
        "event_source_arn": "The ARN of what is read, instead of `Source`.",
        "self_managed_event_source": "The Kafka brokers that are read, instead of `Source`.",
        "topics": "The topic that is read there.",
        "amazon_managed_kafka_event_source_config": "`ConsumerGroupId` of an MSK cluster.",
        "self_managed_kafka_event_source_config": "`ConsumerGroupId` of other Kafka.",
        "destination_config": "AWS's form of `OnFailure`.",
        "scaling_config": "AWS's form of `MaximumConcurrency`, of a queue.",
        "provisioned_poller_config": "AWS's form of `MinimumPollers` and `MaximumPollers`.",
        "filter_criteria": "AWS's form of `Filters`.",
    },
    "InvokeForms": {
        "destination_config": "AWS's form of `OnSuccess` and `OnFailure`.",
        "dead_letter_config": "AWS's form of `DeadLetterQueue`.",
    },
    "Endpoint": {
        "account": "Of the ARN.",
        "access_key_id": "Of AWS credentials, which are the ordinary chain's else. May be `env:NAME`.",
        "secret_access_key": "The same; `env:NAME` keeps it out of the file.",
        "session_token": "The same.",
        "profile": "A profile of the AWS CLI's files.",
        "role_arn": "A role to assume.",
        "external_id": "What the role asks for.",
        "sts_endpoint_url": "Where roles are assumed.",
        "ca_bundle": "A file of certificates to trust.",
    },
    "LoggingEntry": {
        "level": "The least that is logged.",
        "format": "Else `console` on a terminal, and `json` elsewhere.",
    },
    "RetryBackoff": {
        "first": "Seconds before the second try.",
        "factor": "By which each delay is longer than the one before.",
        "cap": "Seconds of the longest delay.",
    },
    "BackoffSettings": {
        "first": "Seconds before the second try.",
        "factor": "By which each delay is longer than the one before.",
        "cap": "Seconds of the longest delay.",
    },
    "CircuitBreaker": {
        "window": "Seconds over which the share is taken.",
        "maximum_delay": "Seconds of the longest delay between probes.",
    },
    "ProvisionedEntry": {
        "schedule": "When the number changes.",
        "minimum": "The least, whatever is in use.",
    },
    "Settings": {
        "asynchronous": "Of asynchronous invocation.",
        "stream": "Of streams and Kafka.",
        "sqs": "Of queues.",
        "kinesis": "Of Kinesis.",
        "dynamodb": "Of DynamoDB Streams.",
        "kafka": "Of Kafka.",
        "mapping": "Of mappings that the API makes.",
        "function": "Of functions that the API makes.",
        "async.first_retry_delay": "Seconds from the first function error of an event to its retry.",
        "async.second_retry_delay": "Seconds from the second to the last retry.",
        "async.maximum_event_age": "Seconds after which an event is given up.",
        "throttling.first": "Seconds before a call that was throttled is tried again.",
        "throttling.factor": "By which each delay is longer than the one before.",
        "throttling.cap": "Seconds of the longest delay.",
        "stream.retry_backoff.first": "Seconds before a batch is tried for the second time.",
        "stream.retry_backoff.factor": "By which each delay is longer than the one before.",
        "stream.retry_backoff.cap": "Seconds of the longest delay.",
        "sqs.wait_time": "Seconds that a look at an empty queue waits.",
        "kinesis.poll_interval": "Seconds between looks at a shard.",
        "dynamodb.poll_interval": "Seconds between looks at a shard.",
        "kafka.batching_window": "Seconds that a batch waits to fill, where nothing is said.",
        "mapping.transition_delay": "Seconds that states such as `Creating` last at least.",
        "function.transition_delay": "Seconds that states such as `Pending` last at least.",
    },
    "ScheduleEntry": {"number": "Environments from then on."},
}

BY_MODEL: Final[Mapping[str, Mapping[str, str]]] = {
    **_OTHERS,
    "EventSourceMapping": MAPPING,
    "EventInvokeConfig": INVOKING,
    "FunctionConfig": FUNCTION,
}
"""By the names of models."""
