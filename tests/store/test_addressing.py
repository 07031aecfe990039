"""Where a bucket is, for AWS and for others, by path or by virtual host."""

import urllib.parse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_collector.config.settings import AwsSection
from trio_collector.store.addressing import plan_address


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "https://rows.s3.eu-west-1.amazonaws.com/a/b"),
        ({"region": "cn-north-1"}, "https://rows.s3.cn-north-1.amazonaws.com.cn/a/b"),
        ({"bucket": "my.rows"}, "https://s3.eu-west-1.amazonaws.com/my.rows/a/b"),
        ({"bucket": "Rows_1"}, "https://s3.eu-west-1.amazonaws.com/Rows_1/a/b"),
        ({"addressing_style": "path"}, "https://s3.eu-west-1.amazonaws.com/rows/a/b"),
        ({"endpoint_url": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000/rows/a/b"),
        ({"endpoint_url": "http://[::1]:9000/"}, "http://[::1]:9000/rows/a/b"),
        ({"endpoint_url": "http://localhost:9000"}, "http://localhost:9000/rows/a/b"),
        ({"endpoint_url": "https://minio:9000"}, "https://minio:9000/rows/a/b"),
        ({"endpoint_url": "https://r2.example"}, "https://rows.r2.example/a/b"),
        (
            {"endpoint_url": "https://r2.example", "addressing_style": "path"},
            "https://r2.example/rows/a/b",
        ),
        ({"endpoint_url": "https://x.example/s3/"}, "https://rows.x.example/s3/a/b"),
        (
            {"endpoint_url": "https://127.0.0.1/s3", "addressing_style": "virtual"},
            "https://rows.127.0.0.1/s3/a/b",
        ),
    ],
)
def test_urls(settings: dict[str, Any], url: str) -> None:
    """Auto takes the virtual host where it can work."""
    aws = AwsSection(**{"region": "eu-west-1", "bucket": "rows", **settings})
    assert plan_address(aws).url("a/b") == url


def test_bucket_itself() -> None:
    """The bucket has a URL, too."""
    path = AwsSection(bucket="rows", endpoint_url="http://127.0.0.1:1")
    assert plan_address(path).url() == "http://127.0.0.1:1/rows"
    virtual = AwsSection(bucket="rows", endpoint_url="https://r2.example")
    assert plan_address(virtual).url() == "https://rows.r2.example/"


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("https://127.0.0.1:443", "127.0.0.1"),
        ("http://127.0.0.1:80", "127.0.0.1"),
        ("http://127.0.0.1:443", "127.0.0.1:443"),
        ("HTTP://LOCALHOST:9000", "localhost:9000"),
    ],
)
def test_host(endpoint: str, host: str) -> None:
    """The Host header has no port that is the scheme's own, for so it is signed."""
    assert plan_address(AwsSection(bucket="rows", endpoint_url=endpoint)).host == host


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_any_key(key: str, value: str) -> None:
    """A key and a query are told apart again, whatever is in them."""
    address = plan_address(AwsSection(bucket="rows", endpoint_url="http://127.0.0.1:1"))
    parts = urllib.parse.urlsplit(address.url(key, [("uploadId", value)]))
    assert urllib.parse.unquote(parts.path) == (f"/rows/{key}" if key else "/rows")
    assert urllib.parse.parse_qs(parts.query, keep_blank_values=True) == {"uploadId": [value]}
