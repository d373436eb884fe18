"""Signatures and ids of messages."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.errors import ConfigurationError
from streamfn.ports import Message
from streamfn_http.signing import keys_of, message_id, signatures
from tests.http.receiver import Got, verified

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "QUJD" * 16

texts = st.text(max_size=4) | st.none()
sent = st.builds(
    Message,
    st.binary(max_size=8),
    texts,
    st.lists(st.tuples(st.text(max_size=3), st.binary(max_size=3)), max_size=3).map(tuple),
    texts,
)


def test_the_vector_of_the_reference_libraries() -> None:
    """It stands in the tests of the libraries that the specification's authors keep."""
    said = signatures(keys_of(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert said == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.binary(max_size=200), st.binary(min_size=24, max_size=64), st.integers(0, 2**40))
def test_what_is_signed_is_verified_and_nothing_else(body: bytes, key: bytes, now: int) -> None:
    secret = f"whsec_{b64encode(key).decode()}"
    said = signatures([b"another" * 4, key], "msg_1", now, body)

    def got(body: bytes = body, identifier: str = "msg_1", at: int = now) -> Got:
        headers = [("webhook-id", identifier), ("webhook-timestamp", str(at)), ("webhook-signature", said)]
        return Got("", headers, body)

    assert verified(got(), secret, now + 300)
    assert not verified(got(), secret, now + 301)
    assert not verified(got(body + b" "), secret, now)
    assert not verified(got(identifier="msg_2"), secret, now)
    assert not verified(got(at=now + 1), secret, now)
    assert not verified(got(), SECRET, now)


def test_secrets_are_given_in_one_text_or_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", f" {SECRET}\n{OTHER}\n")
    both = keys_of([SECRET, OTHER])
    assert len(both) == 2
    assert keys_of(f"{SECRET} {OTHER}") == keys_of("env:HOOK") == both
    assert keys_of([f"env:HOOK {SECRET}"]) == (*both, both[0])
    assert keys_of(None) == ()


@pytest.mark.parametrize(
    "given",
    [
        "hunter2-hunter2-hunter2",
        "whsec_",
        "whsec_hunter2=hunter2",
        "whsec_aHVudGVyMg==",  # too short
        "whsec_" + "QUJD" * 22,  # too long
        SECRET.replace("f", " "),  # what becomes of a + in a URI
        [],
        "",
        "   ",
    ],
)
def test_what_is_no_secret_is_refused_and_not_repeated(given: str | list[str]) -> None:
    with pytest.raises(ConfigurationError) as error:
        keys_of(given)
    assert error.value.field == "secret"
    assert error.value.fix
    for part in ("hunter2", "aHVud", "QUJD", "MfKQ9"):
        assert part not in str(error.value)


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(ConfigurationError, match="STREAMFN_NO_SUCH is not set") as error:
        keys_of("env:STREAMFN_NO_SUCH")
    assert error.value.field == "secret"


@given(sent, sent)
def test_a_message_has_one_id_and_another_has_another(one: Message, other: Message) -> None:
    same = Message(bytes(one.body), one.key, list(one.headers), one.name)
    assert message_id(one) == message_id(same)
    assert (message_id(one) == message_id(other)) == (one == other)
    assert message_id(one).removeprefix("msg_").isalnum()


def test_where_a_part_ends_is_part_of_the_id() -> None:
    alike = [
        Message(b"c", "b", name="a"),
        Message(b"c", "", name="ab"),
        Message(b"c", "ab"),
        Message(b"c", name="ab"),
        Message(b"bc", "", name="a"),
        Message(b"c", headers=(("a", b"b"),)),
        Message(b"c", headers=(("ab", b""),)),
        Message(b"c", headers=(("a", b""), ("b", b""))),
    ]
    assert len({message_id(message) for message in alike}) == len(alike)


def test_the_id_does_not_change_from_one_version_to_the_next() -> None:
    """Receivers keep it for as long as messages may come again, and that is beyond an upgrade."""
    message = Message(b'{"a":1}', "key", (("h", b"v"),), "name")
    assert message_id(message) == "msg_bb3fc5a3e8f429a83358b13fff6fe27c"
