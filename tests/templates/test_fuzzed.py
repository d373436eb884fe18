"""Templates with anything in any place."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamfn.config.document import Document
from streamfn.errors import ConfigurationError
from streamfn.templates import Stack
from streamfn.templates.loading import described
from streamfn.templates.reading import read
from tests.templates.test_loading import CLOUDFORMATION, SAM

_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "F", "Arn", "a.b", "${", "${F.x}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Ref", "Fn::Sub", "Fn::If", "Fn::GetAtt", "Fn::Select", "a"]), inner, max_size=2
        )
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module", params=[CLOUDFORMATION, SAM], ids=["cloudformation", "sam"])
def document(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Document:
    path = tmp_path_factory.mktemp("fuzzed") / "template.yaml"
    path.write_text(request.param)
    return read(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_template_loads_or_says_what_is_wrong(document: Document, data: st.DataObject) -> None:
    template = copy.deepcopy(document.data)
    for _ in range(data.draw(st.integers(1, 2))):
        node: Any = template
        while True:
            key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
            inner = node[key]
            if not isinstance(inner, dict | list) or not inner or data.draw(st.integers(0, 3)) == 0:
                break
            node = inner
        node[key] = data.draw(_ANY)
    try:
        found = described(Path("template.yaml"), Document(template, document.places), {}, Stack())
    except ConfigurationError as error:
        assert str(error)  # noqa: PT017 - one of the two has to be
    else:
        assert found.name == "streamfn"
