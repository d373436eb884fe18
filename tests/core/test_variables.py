"""Environment variables: what Lambda takes."""

from __future__ import annotations

import pytest

from streamfn.core.variables import LIMIT, RESERVED, check_variables, measured
from streamfn.errors import ConfigurationError


def test_these_can_be_set() -> None:
    check_variables({})
    check_variables({"TABLE": "", "a1": "Zürich", "LANG": "C", "PATH": "/bin", "TZ": ":UTC", "x_": "=\n"})


def test_the_limit_is_measured_as_json() -> None:
    frame = len('{"TABLE":""}')
    assert measured({"TABLE": "x"}) == frame + 1
    assert measured({"TABLE": "é"}) == frame + 2
    assert measured({"TABLE": '"'}) == frame + 2
    assert measured({"TABLE": "\udc80"}) == frame + 3
    assert measured({"A1": "", "B1": ""}) == len('{"A1":"","B1":""}')
    check_variables({"TABLE": "x" * (LIMIT - frame)})
    with pytest.raises(ConfigurationError) as error:
        check_variables({"TABLE": "x" * (LIMIT - frame + 1)})
    assert error.value.field == "Environment"
    assert error.value.problem == (
        "Lambda was unable to configure your environment variables because the environment variables you "
        "have provided exceeded the 4KB limit. String measured: 4097 bytes"
    )


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_reserved_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Reserved keys used in this request: {name}"):
        check_variables({name: "x", "TABLE": "x"})


def test_all_reserved_names_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as error:
        check_variables({"_HANDLER": "secret", "AWS_REGION": "secret"})
    assert error.value.problem == (
        "Lambda was unable to configure your environment variables because the environment variables you "
        "have provided contains reserved keys that are currently not supported for modification. Reserved "
        "keys used in this request: AWS_REGION, _HANDLER"
    )


@pytest.mark.parametrize("name", ["", "A", "1A", "_A", "A-B", "A B", "É1", "AB\n", "A.B"])
def test_names_have_letters_digits_and_underscores(name: str) -> None:
    with pytest.raises(ConfigurationError, match="Map keys must satisfy constraint") as error:
        check_variables({name: "secret"})
    assert "secret" not in str(error.value)


def test_no_value_has_a_nul() -> None:
    with pytest.raises(ConfigurationError, match=r"Environment\.TABLE") as error:
        check_variables({"TABLE": "secret\0"})
    assert "secret" not in str(error.value)
