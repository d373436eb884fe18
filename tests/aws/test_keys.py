"""Keys of KMS on a real server: the suite, how often it is asked, and what it refuses."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from streamfn import plugins
from streamfn.errors import ConfigurationError
from streamfn.ports import Key
from streamfn.stores.keys import LocalKey, seal_variables, unseal_variables
from streamfn.testing.conformance import KeyHarness, KeySuite
from streamfn_aws import KmsKey
from streamfn_aws.api import Api
from streamfn_aws.options import Connection
from tests.servers.aws import KEY, SECRET, Ministack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

VARIABLES = {f"VARIABLE_{number}": f"value {number}" for number in range(20)}


def options(server: Ministack) -> dict[str, Any]:
    return {
        "endpoint_url": server.endpoint,
        "region": server.region,
        "access_key_id": KEY,
        "secret_access_key": SECRET,
    }


async def made(server: Ministack) -> tuple[str, str]:
    """The id and the ARN of a new key."""
    async with server.client("kms") as kms:
        answer = await kms.create_key()
    return answer["KeyMetadata"]["KeyId"], answer["KeyMetadata"]["Arn"]


@pytest.fixture(autouse=True)
async def one_client(aws: Ministack) -> AsyncIterator[None]:
    """Held by the test, or each call would make one."""
    async with Api.shared(Connection(**options(aws)), "kms"):
        yield


class KmsHarness(KeyHarness):
    def __init__(self, server: Ministack, ids: list[str]) -> None:
        self._server = server
        self._ids = ids

    def key(self) -> Key:
        return KmsKey(self._ids[0], **options(self._server))

    def another(self) -> Key:
        return KmsKey(self._ids[1], **options(self._server))

    def unreachable(self) -> Key:
        return KmsKey(self._ids[0], **{**options(self._server), "endpoint_url": "http://127.0.0.1:9"})


class TestKmsKey(KeySuite):
    @pytest.fixture
    async def harness(self, aws: Ministack) -> KeyHarness:
        return KmsHarness(aws, [(await made(aws))[0] for _ in range(2)])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often KMS was asked, by operation; the server answers as ever."""
    counted = Counter[str]()
    call: Callable[..., Awaitable[Any]] = Api.call

    async def counting(self: Api, operation: str, *more: Any, **named: Any) -> Any:
        counted[operation] += 1
        return await call(self, operation, *more, **named)

    monkeypatch.setattr(Api, "call", counting)
    return counted


async def test_all_names_of_a_key_open_the_same(aws: Ministack) -> None:
    key_id, arn = await made(aws)
    alias = f"alias/{aws.unique()}"
    async with aws.client("kms") as kms:
        await kms.create_alias(AliasName=alias, TargetKeyId=key_id)
    query = "&".join(f"{name}={value}" for name, value in options(aws).items())
    uris = [f"kms:{key_id}", f"kms:{alias}", f"kms://{alias}", arn]
    keys = [plugins.key(f"{uri}?{query}", {}) for uri in uris]
    assert [key.name for key in keys] == [f"kms:{key_id}", f"kms:{alias}", f"kms:{alias}", arn]
    sealed = await keys[0].seal(b"plain")
    for key in keys:
        assert await key.unseal(sealed) == b"plain"
        assert SECRET not in repr(key)


async def test_many_variables_are_one_call(aws: Ministack, calls: Counter[str]) -> None:
    key_id, _ = await made(aws)
    sealed = await seal_variables(VARIABLES, KmsKey(key_id, **options(aws)))
    assert calls == {"GenerateDataKey": 1}
    reader = KmsKey(key_id, **options(aws))
    assert await unseal_variables(sealed, reader) == VARIABLES
    assert await unseal_variables(sealed, reader) == VARIABLES
    assert calls == {"GenerateDataKey": 1, "Decrypt": 1}


async def test_a_data_key_is_used_for_five_minutes(
    aws: Ministack, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id, _ = await made(aws)
    key = KmsKey(key_id, **options(aws))
    sealed = await key.seal(b"plain")
    now = asyncio.get_running_loop().time()
    monkeypatch.setattr("streamfn_aws.keys._now", lambda: now + 299)
    assert await key.unseal(await key.seal(b"plain")) == b"plain"
    assert calls == {"GenerateDataKey": 1}
    monkeypatch.setattr("streamfn_aws.keys._now", lambda: now + 301)
    assert await key.unseal(sealed) == b"plain"
    assert calls == {"GenerateDataKey": 1, "Decrypt": 1}
    await key.seal(b"plain")
    assert calls == {"GenerateDataKey": 2, "Decrypt": 1}


async def test_no_more_data_keys_are_kept_than_some(aws: Ministack) -> None:
    key_id, _ = await made(aws)
    reader = KmsKey(key_id, **options(aws))
    for number in range(70):
        sealed = await KmsKey(key_id, **options(aws)).seal(b"%d" % number)
        assert await reader.unseal(sealed) == b"%d" % number
    assert len(reader._known) == 64


async def test_what_was_sealed_here_is_not_of_kms_and_the_other_way(aws: Ministack) -> None:
    key_id, _ = await made(aws)
    kms, local = KmsKey(key_id, **options(aws)), LocalKey(bytes(32), "env:KEY")
    with pytest.raises(ConfigurationError, match=f"was sealed with another key than kms:{key_id}"):
        await kms.unseal(await local.seal(b"plain"))
    with pytest.raises(ConfigurationError, match="was sealed with another key than env:KEY"):
        await local.unseal(await kms.seal(b"plain"))


async def test_a_key_that_is_not_there_is_told(aws: Ministack) -> None:
    key = KmsKey("alias/nobody-made-it", **options(aws))
    with pytest.raises(ConfigurationError, match="kms:alias/nobody-made-it: GenerateDataKey") as error:
        await key.seal(b"plain")
    assert error.value.field == "KMSKeyArn"
    assert error.value.fix


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("kms:", "names nothing"),
        ("kms:alias/x?regoin=eu-west-1", "did you mean region"),
        ("arn:aws:s3:::bucket", "is no key of KMS"),
        ("arn:aws:kms:eu-west-1:000000000000:key/x?region=us-east-1", "is not the region of the ARN"),
    ],
)
async def test_what_is_no_key_is_refused(uri: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        KmsKey.from_uri(uri, {})
