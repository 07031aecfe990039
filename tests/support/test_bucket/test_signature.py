"""Signatures are checked as Amazon documents it: its own examples pass, and nothing near them."""

import datetime

import pytest

from tests.support.bucket.http.error import S3Error
from tests.support.bucket.request.head import Request
from tests.support.bucket.request.signature import check_signature
from tests.support.bucket.settings import Credential

# The keys and the requests of
# https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
NOW = datetime.datetime(2013, 5, 24, tzinfo=datetime.UTC).timestamp()
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
WELCOME = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"

EXAMPLES = {
    "get": (
        "GET",
        "/test.txt",
        {"range": "bytes=0-9", "x-amz-content-sha256": EMPTY},
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    "put": (
        "PUT",
        "/test$file.text",
        {
            "date": "Fri, 24 May 2013 00:00:00 GMT",
            "x-amz-content-sha256": WELCOME,
            "x-amz-storage-class": "REDUCED_REDUNDANCY",
        },
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    "lifecycle": (
        "GET",
        "/?lifecycle",
        {"x-amz-content-sha256": EMPTY},
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    "list": (
        "GET",
        "/?max-keys=2&prefix=J",
        {"x-amz-content-sha256": EMPTY},
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
}


def example(name: str, scope: str = f"{ACCESS_KEY}/20130524/us-east-1/s3/aws4_request") -> Request:
    method, target, headers, signature = EXAMPLES[name]
    headers = {
        "host": "examplebucket.s3.amazonaws.com",
        "x-amz-date": "20130524T000000Z",
        **headers,
    }
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={scope},SignedHeaders={';'.join(sorted(headers))},"
        f"Signature={signature}"
    )
    return Request(method, target, [*headers.items(), ("authorization", authorization)])


def code_of(
    request: Request, *, secret: str = SECRET_KEY, now: float = NOW, token: str = ""
) -> str:
    """Return the code of the error; "" if there is none."""
    credentials = {ACCESS_KEY: Credential(secret, token or None)}
    try:
        check_signature(request, credentials, "us-east-1", now)
    except S3Error as error:
        return error.code
    return ""


@pytest.mark.parametrize("name", EXAMPLES)
def test_documented_examples(name: str) -> None:
    """The signatures in Amazon's documents are good."""
    assert code_of(example(name)) == ""


def test_spaces_in_values() -> None:
    """Spaces around a header's value and runs of them inside count as one."""
    request = example("put")
    request.headers = [
        (name, f"  {value.replace(' ', '   ')} ") if name == "date" else (name, value)
        for name, value in request.headers
    ]
    assert code_of(request) == ""


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("part", ["method", "path", "query", "host", "x-amz-content-sha256"])
def test_any_change_is_seen(name: str, part: str) -> None:
    """A signature is good for one method, path, query, and one value of each signed header."""
    request = example(name)
    if part in ("method", "path", "query"):
        setattr(request, part, getattr(request, part) + "x")
    else:
        request.headers = [
            (known, value + "x" if known == part else value) for known, value in request.headers
        ]
    assert code_of(request) == "SignatureDoesNotMatch"


def test_secret() -> None:
    """Another secret makes another signature."""
    assert code_of(example("get"), secret=SECRET_KEY[:-1]) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("scope", "code"),
    [
        ("AKIAOTHER/20130524/us-east-1/s3/aws4_request", "InvalidAccessKeyId"),
        (f"{ACCESS_KEY}/20130524/eu-west-1/s3/aws4_request", "AuthorizationHeaderMalformed"),
        (f"{ACCESS_KEY}/20130523/us-east-1/s3/aws4_request", "AuthorizationHeaderMalformed"),
        (f"{ACCESS_KEY}/20130524/us-east-1/ec2/aws4_request", "AuthorizationHeaderMalformed"),
        (f"{ACCESS_KEY}/us-east-1/s3/aws4_request", "AuthorizationHeaderMalformed"),
    ],
)
def test_scope(scope: str, code: str) -> None:
    """The scope names a known key, the day of the signature, the bucket's region, and S3."""
    assert code_of(example("get", scope)) == code


@pytest.mark.parametrize("late_s", [-901, 901])
def test_skew(late_s: float) -> None:
    """A request is good for 15 minutes, and not before it was signed."""
    assert code_of(example("get"), now=NOW + late_s) == "RequestTimeTooSkewed"
    assert code_of(example("get"), now=NOW + late_s * 899 / 901) == ""


def test_unsigned() -> None:
    """A request without a signature is refused, and so is one that leaves x-amz- headers out."""
    bare = example("get")
    bare.headers = [pair for pair in bare.headers if pair[0] != "authorization"]
    assert code_of(bare) == "AccessDenied"
    smuggling = example("get")
    smuggling.headers.append(("x-amz-acl", "public-read"))
    assert code_of(smuggling) == "AccessDenied"


@pytest.mark.parametrize("missing", ["x-amz-date", "host"])
def test_headers_needed(missing: str) -> None:
    """A signature is over the time and the host."""
    request = example("get")
    request.headers = [pair for pair in request.headers if pair[0] != missing]
    assert code_of(request) in ("AccessDenied", "SignatureDoesNotMatch")


def test_token() -> None:
    """Keys that come with a session token are of no use without it."""
    assert code_of(example("get"), token="session") == "InvalidToken"
