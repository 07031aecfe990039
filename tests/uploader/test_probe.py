"""Trying the bucket says in words what works, what does not, and what to do about it."""

import ssl
from typing import Any

import pytest
import trio

from tests.support.bucket import Bucket, Fault, FaultScript, Operation
from tests.support.stores import OpenStore
from trio_collector.config.settings import AwsSection
from trio_collector.errors import StoreUnavailable
from trio_collector.store.client import Client
from trio_collector.store.credentials import CredentialChain
from trio_collector.store.object_store import ObjectInfo
from trio_collector.store.s3 import S3Store
from trio_collector.uploader.probe import ProbeFinding, probe_store

AWS = AwsSection(bucket="archive")
STEPS = ["bucket", "put", "head", "get", "verify", "condition", "delete"]


def failed(findings: list[ProbeFinding]) -> list[ProbeFinding]:
    return [each for each in findings if not each.is_ok]


async def test_all_is_well(start_bucket: Any, store_of: OpenStore) -> None:
    """Each step is told, and nothing is left in the bucket."""
    bucket = await start_bucket(is_created=False)
    findings = await probe_store(AWS, store_of(bucket))
    assert [each.step for each in findings] == STEPS
    assert not failed(findings)
    assert not any(each.remedy for each in findings)
    assert bucket.is_created
    assert not bucket.objects


async def test_real_store(swift: dict[str, str], store_of: OpenStore) -> None:
    """So it is with OpenStack Swift."""
    findings = await probe_store(AWS, store_of({**swift, "bucket": "probed"}))
    assert not failed(findings)
    assert [each.step for each in findings] == STEPS


@pytest.mark.parametrize(
    ("operation", "step", "right"),
    [
        (Operation.PUT_OBJECT, "put", "s3:PutObject"),
        (Operation.GET_OBJECT, "get", "s3:GetObject"),
    ],
)
async def test_missing_right(
    operation: Operation, step: str, right: str, start_bucket: Any, store_of: OpenStore
) -> None:
    """A right that is missing is named."""
    bucket = await start_bucket(denied=frozenset({operation}))
    (finding,) = failed(await probe_store(AWS, store_of(bucket)))
    assert finding.step == step
    assert finding.remedy == f"allow {right} on arn:aws:s3:::archive/*"


async def test_rights_that_are_not_needed(start_bucket: Any, store_of: OpenStore) -> None:
    """Looking at the bucket and deleting from it may be forbidden."""
    denied = frozenset({Operation.HEAD_BUCKET, Operation.DELETE_OBJECT})
    bucket = await start_bucket(denied=denied)
    findings = await probe_store(AWS, store_of(bucket))
    assert not failed(findings)
    assert "stays" in findings[-1].text
    assert len(bucket.objects) == 1


@pytest.mark.parametrize(
    ("changes", "words", "remedy"),
    [
        ({"region": "eu-other-1"}, "AuthorizationHeaderMalformed", "set aws.region"),
        ({"bucket": "another", "create_bucket": False}, "is missing", "create it"),
        ({"endpoint_url": "http://127.0.0.1:1"}, "refused", "host and port"),
    ],
)
async def test_wrong_settings(
    changes: dict[str, Any], words: str, remedy: str, start_bucket: Any, store_of: OpenStore
) -> None:
    """A wrong setting is named."""
    store = store_of(await start_bucket(), **changes)
    (finding,) = failed(await probe_store(AWS, store))
    assert words in finding.text
    assert remedy in finding.remedy


async def test_wrong_clock(start_bucket: Any, store_of: OpenStore) -> None:
    """A wrong clock is told."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(plan=(None, Fault.SKEWED)))
    (finding,) = failed(await probe_store(AWS, store_of(bucket)))
    assert (finding.step, "clock" in finding.remedy) == ("put", True)


async def test_wrong_keys(start_bucket: Any, store_of: OpenStore) -> None:
    """A key that the store does not know is told."""
    bucket = await start_bucket()
    bucket.credentials.clear()
    (finding,) = failed(await probe_store(AWS, store_of(bucket)))
    assert "InvalidAccessKeyId" in finding.text
    assert "check the access key" in finding.remedy


async def test_no_keys(start_bucket: Any) -> None:
    """So it is when there are none at all."""

    class NoSession:
        def get_credentials(self) -> None:
            return None

    aws = AwsSection(bucket="archive", endpoint_url=(await start_bucket()).endpoint_url)
    client = Client(aws, CredentialChain({}, NoSession), ssl.create_default_context())
    (finding,) = failed(await probe_store(aws, S3Store(aws, client)))
    assert finding.text == "no credentials found"
    assert "AWS_ACCESS_KEY_ID" in finding.remedy


async def test_untrusted_certificate(start_bucket: Any, store_of: OpenStore) -> None:
    """A certificate that nobody vouches for is told, with how to vouch for it."""
    bucket = await start_bucket(is_tls=True)
    store = store_of(facts_without_authority(bucket))
    (finding,) = failed(await probe_store(AWS, store))
    assert "untrusted CA" in finding.text
    assert "SSL_CERT_FILE" in finding.remedy


def facts_without_authority(bucket: Bucket) -> dict[str, str]:
    names = ("endpoint_url", "access_key", "secret_key", "region", "bucket")
    return {name: getattr(bucket, name) for name in names}


async def test_no_tls(start_bucket: Any, store_of: OpenStore) -> None:
    """A port that does not speak TLS is told."""
    bucket = await start_bucket()
    url = bucket.endpoint_url.replace("http:", "https:")
    (finding,) = failed(await probe_store(AWS, store_of(bucket, endpoint_url=url)))
    assert "TLS" in finding.text
    assert "https" in finding.remedy


class NoNames(trio.abc.HostnameResolver):
    """A name server that knows nothing."""

    async def getaddrinfo(self, *_: object) -> list[object]:  # type: ignore[override]  # never returns
        raise trio.socket.gaierror(trio.socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *_: object) -> tuple[str, str]:
        raise NotImplementedError


async def test_no_such_name(start_bucket: Any, store_of: OpenStore) -> None:
    """A name that is not found is told, with what it was made of."""
    store = store_of(await start_bucket(), endpoint_url="https://store.invalid")
    trio.socket.set_custom_hostname_resolver(NoNames())
    (finding,) = failed(await probe_store(AWS, store))
    assert "name not found" in finding.text
    assert "aws.addressing_style" in finding.remedy


async def test_store_without_conditions(start_bucket: Any, store_of: OpenStore) -> None:
    """A store that overwrites is told, with advice; one can live with it."""
    findings = await probe_store(AWS, Overwriting(store_of(await start_bucket())))
    condition = findings[STEPS.index("condition")]
    assert condition.is_ok
    assert "overwrites" in condition.text
    assert "home_server_name" in condition.remedy


class Overwriting:
    """A store that has no conditions."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def put(self, key: str, content: Any) -> ObjectInfo:
        if await self._store.head(key):
            await self._store.delete(key)
        return await self._store.put(key, content)


async def test_lying_store(start_bucket: Any, store_of: OpenStore) -> None:
    """A store that tells wrong sizes is found out."""
    bucket = await start_bucket()
    bucket.set_faults(FaultScript(rate=1.0, kinds=(Fault.FALSE_CHECKSUM,)))
    findings = failed(await probe_store(AWS, store_of(bucket)))
    assert [each.step for each in findings] == ["verify"]
    assert "checksum" in findings[0].text


async def test_nothing_is_raised(store_of: OpenStore) -> None:
    """Whatever the store does is a finding."""

    class Down:
        async def ensure_bucket(self) -> None:
            raise StoreUnavailable("down")

    (finding,) = await probe_store(AWS, Down())  # type: ignore[arg-type]  # it comes no further
    assert finding == ProbeFinding(
        "bucket", False, "down", "try again; if it lasts, ask whoever runs the store"
    )
