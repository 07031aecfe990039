"""Certificates for this machine, sound and flawed, and who imports what makes them."""

import ssl
import subprocess
import sys

import pytest
import trio
import trio.testing

from trio_collector.simulator.net.tls import create_identity


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
async def test_clients_that_trust_the_ca_trust_the_server(name: str) -> None:
    """The certificate stands for this machine under all its names."""
    identity = create_identity()
    context = ssl.create_default_context(cadata=identity.ca_pem.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    near, far = trio.testing.memory_stream_pair()
    client = trio.SSLStream(near, context, server_hostname=name)
    server = trio.SSLStream(far, identity.context, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)
        nursery.start_soon(server.do_handshake)


async def test_others_do_not() -> None:
    """A client that does not know the CA refuses, and so does one that wants another host."""
    identity = create_identity()
    trusting = ssl.create_default_context(cadata=identity.ca_pem.decode())
    for context, name in ((ssl.create_default_context(), "localhost"), (trusting, "okx.com")):
        near, far = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_in_vain, far, identity.context)
            with pytest.raises(trio.BrokenResourceError) as caught:
                await trio.SSLStream(near, context, server_hostname=name).do_handshake()
            await near.aclose()
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


async def serve_in_vain(stream: trio.abc.Stream, context: ssl.SSLContext) -> None:
    with pytest.raises(trio.BrokenResourceError):
        await trio.SSLStream(stream, context, server_side=True).do_handshake()


def test_only_tls_imports_the_certificate_authority() -> None:
    """A simulator without TLS runs without `cryptography`."""
    code = (
        "import sys, trio_collector.simulator.server;"
        "sys.exit(any(name.startswith('cryptography') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
