"""`streamfn export`: an app as a SAM or CloudFormation template."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import orjson

from streamfn.cli import CLEAN, target

if TYPE_CHECKING:
    import argparse

    from streamfn.cli import _Parser


def add_to(parser: _Parser) -> None:
    """The options."""
    from streamfn.cli.run_options import add_target

    parser.add_argument("form", choices=("sam", "cloudformation"), help="the kind of template")
    parser.add_argument("target", metavar="TARGET", help="as of `streamfn run`")
    parser.add_argument("--json", action="store_true", help="print JSON, not YAML")
    add_target(parser)


def export(options: argparse.Namespace) -> int:
    """Prints the template. Paths of code are as from the working folder; what is left out is told of."""
    from streamfn.templates.exporting import exported

    app = target.load_all(options).app
    done = exported(
        options.form,
        app.deployments,
        list(app.declared.values()),
        list(app.event_invoke_configs.values()),
        [name for name in app.functions if name not in app.deployments],
    )
    for sentence in done.left_out:
        sys.stderr.write(f"streamfn: {sentence}\n")
    if options.json:
        print(orjson.dumps(done.template, option=orjson.OPT_INDENT_2).decode())
    else:
        print(_yaml(done.template), end="")
    return CLEAN


def _yaml(template: dict[str, Any]) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, _data: object) -> bool:
            return True  # CloudFormation knows no anchors

    return yaml.dump(template, Dumper=Dumper, sort_keys=False, width=110, allow_unicode=True)
