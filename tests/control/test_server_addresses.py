"""The server: where it listens, and TLS."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from streamfn.control.addresses import Address, parse_address
from streamfn.control.addresses import _fix as fix_of
from streamfn.control.server import Limits, exposed, serving, tls_context
from streamfn.errors import ConfigurationError
from tests.control.clients import ANY, Wire, echo, post, wire

# -------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9000", Address("127.0.0.1", 9000)),
        ("[::1]:0", Address("::1", 0)),
        ("some.host:65535", Address("some.host", 65_535)),
        ("unix:/run/s.sock", Address(path=Path("/run/s.sock"))),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    ["", "9000", ":9000", "host", "host:", "host:x", "host:65536", "host:-1", "::1:9000", "[x]:1", "unix:"],
)
def test_what_is_no_address_is_refused_with_a_fix(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--api: .*\. Fix: write ") as caught:
        parse_address(text)
    assert caught.value.field == "--api"


@pytest.mark.parametrize(
    ("text", "others"),
    [
        ("127.0.0.1:1", False),
        ("127.9.9.9:1", False),
        ("[::1]:1", False),
        ("localhost:1", False),
        ("unix:x", False),
        ("0.0.0.0:1", True),
        ("[::]:1", True),
        ("192.168.0.1:1", True),
        ("some.host:1", True),
    ],
)
def test_who_reaches_an_address(text: str, others: bool) -> None:
    assert exposed(text) is others


async def test_ipv6_and_names() -> None:
    for address in ("[::1]:0", "localhost:0"):
        async with serving(echo, address) as url, wire(url) as client:
            assert url.startswith(f"http://{address[:-1]}")
            await client.send(post())
            assert (await client.answer()).status == 200


async def test_an_address_that_is_taken_is_refused() -> None:
    async with serving(echo, ANY) as url:
        address = url.removeprefix("http://")
        with pytest.raises(
            ConfigurationError, match=f"{address} cannot be listened on: Address already in use"
        ):
            async with serving(echo, address):
                pass


@pytest.mark.parametrize("address", ["192.0.2.1:0", "no-such-host.invalid:0"])
async def test_an_address_that_is_not_here_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be listened on") as caught:
        async with serving(echo, address):
            pass
    assert caught.value.fix


async def test_a_unix_socket_is_for_its_owner_alone_and_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    async with serving(echo, f"unix:{path}") as url:
        assert url == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with wire(url) as client:
            await client.send(post(b"", "/", "Host: anything.example"))
            assert (await client.answer()).status == 200
        with pytest.raises(ConfigurationError, match="Address already in use"):
            async with serving(echo, url):
                pass
        async with wire(url) as client:
            await client.send(post())
            assert (await client.answer()).status == 200
    assert not path.exists()


async def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with serving(echo, f"unix:{path}") as url, wire(url) as client:
        await client.send(post())
        assert (await client.answer()).status == 200
        path.unlink()
        path.write_text("another's")
    assert path.read_text() == "another's"


async def test_a_file_is_not_taken_for_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("mine")
    with pytest.raises(ConfigurationError, match="is there, and is no socket"):
        async with serving(echo, f"unix:{path}"):
            pass
    assert path.read_text() == "mine"
    for missing in (tmp_path / "none" / "s", tmp_path / ("long" * 50)):
        with pytest.raises(ConfigurationError, match=r"cannot be listened on: .* Fix: give a short path"):
            async with serving(echo, f"unix:{missing}"):
                pass


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (OSError(errno.EACCES, "Permission denied"), "give a port above 1023"),
        (OSError(errno.EADDRINUSE, "In use"), "end what listens there"),
        (socket.gaierror(-2, "Name unknown"), "give a host that has an address"),
        (OSError(errno.EADDRNOTAVAIL, "Not here"), "give an address of this machine"),
    ],
)
def test_what_cannot_be_listened_on_has_a_fix(error: OSError, fix: str) -> None:
    assert fix_of(Address("127.0.0.1", 80), error).startswith(fix)


# -------------------------------------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, plain, serialization.NoEncryption()))
    locked = serialization.BestAvailableEncryption(b"secret")
    (folder / "locked.pem").write_bytes(key.private_bytes(pem, plain, locked))
    return folder / "cert.pem", folder / "key.pem"


async def test_tls(certificate: tuple[Path, Path]) -> None:
    trust = ssl.create_default_context(cafile=str(certificate[0]))
    async with serving(echo, ANY, tls=tls_context(*certificate), limits=Limits(body_bytes=1000)) as url:
        assert url.startswith("https://127.0.0.1:")
        port = int(url.rpartition(":")[2])
        for body, status in ((b"x", 200), (b"x" * 100_000, 413)):
            client = Wire(
                *await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname="localhost")
            )
            await client.send(post(body))
            assert (await client.answer()).status == status
            client.writer.close()
        async with wire(url) as plain:
            await plain.send(post())
            await plain.ended()


def test_what_is_no_certificate_is_refused(certificate: tuple[Path, Path]) -> None:
    good, key = certificate
    with pytest.raises(ConfigurationError, match=r"--api-cert-key: .*none\.pem cannot be read"):
        tls_context(good, key.with_name("none.pem"))
    for other in (good, key.with_name("locked.pem")):
        with pytest.raises(ConfigurationError, match="are no certificate and its key"):
            tls_context(good, other)
