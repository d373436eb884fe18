"""Kafka for streamfn: topics as sources, as destinations, and as stores of dead letters.

kafka://host:9092,other:9092/topic?sasl_username=me&sasl_password=env:KAFKA_PASSWORD
"""

from __future__ import annotations

from streamfn_kafka.destination import KafkaDestination as KafkaDestination
from streamfn_kafka.fetcher import KafkaFetcher as KafkaFetcher
from streamfn_kafka.letters import KafkaLetters as KafkaLetters
from streamfn_kafka.source import KafkaSource as KafkaSource
