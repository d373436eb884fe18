"""A template at work, with its queues in the embedded broker."""

from __future__ import annotations

from pathlib import Path

from streamfn import App, plugins
from streamfn.ports import Message
from streamfn.templates import load
from tests.waiting import until

EXAMPLE = Path(__file__).parents[2] / "examples" / "sam" / "template.yaml"


async def test_messages_of_the_templates_queue_reach_its_function(tmp_path: Path) -> None:
    template = load(EXAMPLE, {"Stage": "prod"}).localised(lambda arn: True)
    logs = tmp_path / "logs"
    app = App(name=template.name, state_dir=tmp_path / "state", function_logs=logs)
    for name, config in template.functions.items():
        app.deploy_config(name, config)
    app.declared.update({mapping.name: mapping for mapping in template.mappings})
    app.event_invoke_configs.update({config.key: config for config in template.event_invoke_configs})
    queue = plugins.destination("local:queue/orders-prod", {"state_dir": tmp_path / "state"})
    async with app:
        assert not await queue.send([Message(b'{"item": "tea", "city": "Porto"}')])
        await until(lambda: "shipping tea to Porto" in _written(logs))
    await queue.close()


def _written(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.rglob("*") if path.is_file())
