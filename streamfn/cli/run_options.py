"""Options of `streamfn run` about Lambda's API, and of all that take a TARGET about what it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamfn.cli import _Parser


def add_to(parser: _Parser) -> None:
    """All of them."""
    api = parser.add_argument_group("Lambda's API")
    api.add_argument(
        "--api",
        metavar="HOST:PORT",
        help="serve it here, such as 127.0.0.1:9000, or unix:PATH; functions and mappings that it makes are "
        "kept in the state directory",
    )
    api.add_argument(
        "--api-keys", metavar="FILE", help="access keys: requests must be signed with one of them"
    )
    api.add_argument(
        "--api-open",
        action="store_true",
        help="serve other machines without keys, where the address is no loopback address",
    )
    api.add_argument("--api-cert", metavar="FILE", help="serve https: the certificate chain, as PEM")
    api.add_argument("--api-cert-key", metavar="FILE", help="its private key, as PEM")
    api.add_argument(
        "--code-dir",
        metavar="DIR",
        action="append",
        default=[],
        help="a folder that code of functions may be taken from (S3Bucket __local__); may be given again",
    )
    add_target(parser)


def add_target(parser: _Parser) -> None:
    """Those about a TARGET."""
    more = parser.add_argument_group("templates, ARNs and settings")
    more.add_argument(
        "--parameter",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a parameter of a template; may be given again",
    )
    more.add_argument("--region", default="us-east-1", metavar="NAME", help="in ARNs (us-east-1)")
    more.add_argument("--account", default="000000000000", metavar="NUMBER", help="in ARNs (000000000000)")
    more.add_argument(
        "--endpoints", metavar="FILE", help="which server stands behind which ARN (docs/api.md)"
    )
    more.add_argument("--secrets", metavar="FILE", help="secrets by ARN, instead of AWS Secrets Manager")
    more.add_argument(
        "--set",
        dest="settings",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="change a delay that AWS fixes, such as async.first_retry_delay=1; may be given again",
    )
