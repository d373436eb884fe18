"""Event source mappings: CreateEventSourceMapping and the four others."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import anyio

from streamfn.control import mapping_documents as documents
from streamfn.control import mapping_ends as ends
from streamfn.control import mapping_rules as rules
from streamfn.control.errors import ApiError, conflict, invalid, not_found
from streamfn.control.mapping_declared import declared
from streamfn.control.mapping_index import LARGEST_PAGE, MappingIndex, claims
from streamfn.control.mapping_states import KIND, MappingStates
from streamfn.control.naming import function_of
from streamfn.control.tags import check_tags
from streamfn.core.lifecycle import MappingState
from streamfn.engine.plan import mapping_id
from streamfn.errors import StreamfnError
from streamfn.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streamfn.control.mapping_rules import SourceType
    from streamfn.control.plane import Operations, Params, Plane, Result


class EventSourceMappings:
    """The mappings that were made through the API, and those that the app declares."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._index = MappingIndex()
        self._states = MappingStates(plane, self._index.remove)
        self._declared: dict[str, tuple[str, Mapping[str, Any]]] = {}
        """By UUID: the names and documents of mappings that are declared."""
        for name, mapping in plane.app.declared.items():
            uuid = mapping_id(plane.app.name, name)
            self._declared[uuid] = name, declared(uuid, mapping, plane.identity, plane.clock())
            self._index.add(uuid, self._declared[uuid][1])

    def operations(self) -> Operations:
        """By AWS's names."""
        return {
            "CreateEventSourceMapping": self._create,
            "GetEventSourceMapping": self._get,
            "ListEventSourceMappings": self._list,
            "UpdateEventSourceMapping": self._update,
            "DeleteEventSourceMapping": self._delete,
        }

    async def restore(self) -> None:
        """Lets all go on that were, and finishes what was begun. What cannot go on is tried again later."""
        stored = dict(self._plane.resources.all(KIND))
        for uuid, document in stored.items():
            self._index.add(uuid, document)
        for uuid, document in stored.items():
            if (document["Enabled"] or document.get("Deleting")) and not await self._states.settle(uuid):
                self._plane.tasks.start_soon(self._states.carry_out, uuid)

    # ------------------------------------------------------------------------------------------ reading

    async def _get(self, params: Params) -> Result:
        return self._shown(params["UUID"])

    async def _list(self, params: Params) -> Result:
        function = None
        if params.get("FunctionName"):
            function = function_of(params, self._plane.identity)
        marker = params.get("Marker") or ""
        if marker and not re.fullmatch(_UUID, marker):
            raise invalid("Invalid Marker: take the NextMarker of an answer.")
        limit = params.get("MaxItems") or LARGEST_PAGE
        found, following = self._index.page(params.get("EventSourceArn") or None, function, marker, limit)
        # What is being stored just now is not there yet.
        there = [uuid for uuid in found if uuid in self._declared or self._plane.resources.get(KIND, uuid)]
        return {"EventSourceMappings": [self._shown(uuid) for uuid in there], "NextMarker": following}

    # ------------------------------------------------------------------------------------------ changing

    async def _create(self, params: Params) -> Result:
        plane, uuid = self._plane, str(uuid4())
        source = rules.check(params)
        reference = function_of(params, plane.identity)
        check_tags(params.get("Tags") or {})
        function = ends.function_meant(plane, reference)
        document = documents.created(uuid, source, params, reference, plane.identity, plane.clock())
        mapping = ends.loaded(document)
        self._refuse_another(source, document)
        await ends.reach(plane.app, mapping, source, function)
        # Others may have been made meanwhile.
        self._refuse_another(source, document)
        self._states.begin(uuid, MappingState.CREATING)
        with self._or_nothing(uuid):
            await self._store(uuid, None, document)
        return documents.shown(document, MappingState.CREATING.value, None)

    async def _update(self, params: Params) -> Result:
        uuid = params["UUID"]
        if uuid in self._declared:
            return self._switch(uuid, params)
        old = self._stored(uuid)
        wanted = params.get("Enabled")
        change = MappingState.UPDATING
        if wanted is not None and wanted != old["Enabled"]:
            change = _SWITCHED[wanted]
        self._begin(uuid, old, change, "update")
        with self._or_nothing(uuid):
            # Its tags may change at the same time.
            async with self._plane.changing(f"mapping/{uuid}"):
                old = self._stored(uuid)
                new = await self._updated(old, params)
                await self._store(uuid, old, new)
        return documents.shown(new, change.value, self._states.result(uuid))

    async def _updated(self, old: Params, params: Params) -> Params:
        plane = self._plane
        function = None
        arn = old["FunctionArn"]
        if params.get("FunctionName"):
            reference = function_of(params, plane.identity)
            function, arn = ends.function_meant(plane, reference), reference.arn(plane.identity)
        given = {name: value for name, value in params.items() if value is not None}
        rules.fixed(old, given)
        source = rules.source_type(old)
        new = documents.changed(old, source, given, arn, plane.clock())
        rules.check(new)
        mapping = ends.loaded(new)
        if function is not None:
            self._refuse_another(source, new)
            await ends.check_timeout(plane.app, mapping, source, function)
            self._refuse_another(source, new)
        elif new["Enabled"] or given.keys() - {"UUID", "Enabled"}:
            # Whatever has become of its source, a mapping can be switched off.
            ends.fitting(plane.app, mapping)
        return new

    async def _delete(self, params: Params) -> Result:
        uuid = params["UUID"]
        if uuid in self._declared:
            raise self._is_declared(uuid)
        old = self._stored(uuid)
        self._begin(uuid, old, MappingState.DELETING, "delete")
        with self._or_nothing(uuid):
            async with self._plane.changing(f"mapping/{uuid}"):
                old = self._stored(uuid)
                await self._store(uuid, old, {**old, "Deleting": True})
        return documents.shown(old, MappingState.DELETING.value, self._states.result(uuid))

    @contextmanager
    def _or_nothing(self, uuid: str) -> Iterator[None]:
        """What is stored in the block is carried out afterwards; if the block raises, nothing is."""
        try:
            yield
        except BaseException:
            self._states.give_up(uuid)
            raise
        self._plane.tasks.start_soon(self._states.carry_out, uuid)

    async def _store(self, uuid: str, old: Params | None, new: Params) -> None:
        """Stores what is wanted. Raises OSError; then nothing was changed."""
        if old is not None:
            self._index.remove(uuid, old)
        self._index.add(uuid, new)
        try:
            # Whoever asked may leave; what is stored has to be known.
            with anyio.CancelScope(shield=True):
                await self._plane.resources.put(KIND, uuid, new)
        except BaseException:
            self._index.remove(uuid, new)
            if old is not None:
                self._index.add(uuid, old)
            raise

    # ------------------------------------------------------------------------------------------ declared

    def _switch(self, uuid: str, params: Params) -> Result:
        """A mapping that is declared can be switched on and off, until the app starts again."""
        name, document = self._declared[uuid]
        wanted = params.get("Enabled")
        others = {each for each, value in params.items() if value is not None} - {"UUID", "Enabled"}
        if wanted is None or others:
            raise self._is_declared(uuid)
        change = _SWITCHED[wanted]
        self._begin(uuid, document, change, "update")
        document = {**document, "Enabled": wanted}
        self._declared[uuid] = name, document
        self._plane.tasks.start_soon(self._switch_in_app, uuid, name, wanted)
        return documents.shown(document, change.value, None)

    async def _switch_in_app(self, uuid: str, name: str, wanted: bool) -> None:
        app = self._plane.app
        try:
            async with self._plane.changing(f"mapping/{uuid}"):
                await (app.resume(name) if wanted else app.pause(name))
        except StreamfnError as error:
            logger()[0].warning("event source mapping %s cannot be switched: %s", name, error)
        finally:
            self._states.give_up(uuid)

    def _is_declared(self, uuid: str) -> ApiError:
        name, _ = self._declared[uuid]
        return ApiError(
            "ResourceInUseException",
            f"The event source mapping {name} is declared by the app that runs here: change it there.",
        )

    # ------------------------------------------------------------------------------------------ inside

    def _stored(self, uuid: str) -> Params:
        document = self._plane.resources.get(KIND, uuid)
        if document is None:
            raise not_found(rules.GONE)
        return document

    def _begin(self, uuid: str, document: Params, change: MappingState, verb: str) -> None:
        if document.get("Deleting") or not self._states.begin(uuid, change):
            raise ApiError("ResourceInUseException", rules.IN_USE.format(verb))

    def _shown(self, uuid: str) -> Result:
        name, document = self._declared.get(uuid) or (uuid, self._stored(uuid))
        state = self._states.state(uuid, document, name)
        return documents.shown(document, state.value, self._states.result(uuid, name))

    def _refuse_another(self, source: SourceType, document: Params) -> None:
        uuid, arn = document["UUID"], document["FunctionArn"]
        wanted = claims(document)
        ours = [claim for claim in wanted if claim[1] == arn]
        if (other := self._index.holder(ours, uuid)) is not None:
            function = arn.split(":function:")[1]
            raise rules.duplicate(source, document, function, arn, other)
        if (other := self._index.holder(wanted, uuid)) is not None:
            raise conflict(
                "An event source mapping with this ConsumerGroupId already exists. Please update or delete "
                f"the existing mapping with UUID {other}"
            )


_SWITCHED: Final = {True: MappingState.ENABLING, False: MappingState.DISABLING}
_UUID: Final = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
