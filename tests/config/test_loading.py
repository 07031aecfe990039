"""The configuration is read as a whole: right, or every problem with its place and remedy."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from trio_collector.config.checks import warnings
from trio_collector.config.loading import find_config, load_config, parse_config
from trio_collector.config.markets import Market
from trio_collector.config.settings import Config
from trio_collector.errors import ConfigError
from trio_collector.events import FeedType

MARKET = '[[markets]]\nexchange = "binance"\nsymbols = ["btcusdt"]\n'

# The forms of the Rust collector's file: its sections, its keys, whole seconds, names in any case.
PREDECESSOR = """
# Keys are read from the environment: AWS_ACCESS_KEY, AWS_SECRET_KEY

[collector]
metrics_port = 9101
log_retention_days = 2

[aws]
region = "eu-central-1"
bucket = "market-archive"
home_server_name = "quiet-red-heron"

[storage]
mode = "Local"
data_dir = "data/parquet"
local_path = "data/archive"

[websocket]
message_timeout_secs = 180
initial_retry_delay_secs = 5
max_retry_delay_secs = 60

[[markets]]
exchange = "Binance"
symbols = ["btcusdt", "ethusdt"]
base_url = "wss://data-stream.binance.vision/ws"

[[markets]]
exchange = "coinbase"
symbols = ["BTC-USD", "ETH-USD"]
feeds = ["orderbook", "trades"]

[[markets]]
exchange = "okx"
symbols = ["BTC-USDT"]
feeds = ["trades"]
data_timeout_secs = 200
base_url = "wss://ws.okx.com:8443/ws/v5/public"
"""


def problems_of(text: str) -> list[str]:
    """Return what is wrong with the configuration `text`, a line for each problem."""
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(problem) for problem in caught.value.problems]


def market(**values: str) -> str:
    """Return one `[[markets]]` table; each value is written as TOML."""
    keys = {"exchange": '"binance"', "symbols": '["btcusdt"]'} | values
    return "\n".join(["[[markets]]", *(f"{key} = {value}" for key, value in keys.items()), ""])


# ---- what is right ----


def test_only_markets_are_needed() -> None:
    """A file of one market is enough; all else has a default."""
    config = parse_config(MARKET)
    assert config == Config(markets=(Market(exchange="binance", symbols=("btcusdt",)),))
    assert config.markets[0].feeds == (FeedType.ORDERBOOK, FeedType.TRADES)


def test_predecessor_loads_unchanged() -> None:
    """A file of the Rust collector loads as it is, and means what it meant."""
    config = parse_config(PREDECESSOR)
    assert (config.collector.metrics_port, config.collector.log_retention_days) == (9101, 2)
    assert (config.aws.region, config.aws.bucket) == ("eu-central-1", "market-archive")
    assert config.aws.home_server_name == "quiet-red-heron"
    assert (config.storage.mode, config.storage.data_dir) == ("local", "data/parquet")
    assert config.websocket.message_timeout_secs == 180.0
    binance, coinbase, okx = config.markets
    assert (binance.exchange, binance.feeds) == ("binance", tuple(FeedType))
    assert coinbase.symbols == ("BTC-USD", "ETH-USD")
    assert (okx.feeds, okx.data_timeout_secs) == ((FeedType.TRADES,), 200.0)


def test_choices_in_any_case() -> None:
    """A choice is known in any case of letters, as the Rust collector knew it."""
    config = parse_config('[storage]\nmode = "BOTH"\n' + market(exchange='"OKX"'))
    assert (config.storage.mode, config.markets[0].exchange) == ("both", "okx")


def test_categories_are_markets_of_their_own() -> None:
    """Bybit's spot and linear markets of one symbol can both be collected."""
    spot = market(exchange='"bybit"')
    linear = market(exchange='"bybit"', category='"linear"')
    assert len(parse_config(spot + linear).markets) == 2


def test_feeds_of_a_market_can_be_apart() -> None:
    """Order books and trades of a market may have options of their own."""
    apart = market(feeds='["trades"]') + market(feeds='["orderbook"]', depth="5")
    assert len(parse_config(apart).markets) == 2


@pytest.mark.parametrize(
    "url", ["ws://127.0.0.1:8080/ws", "ws://[::1]:8080", "ws://localhost:1", "wss://example.com"]
)
def test_base_urls(url: str) -> None:
    """A base URL is encrypted, or stays on this machine."""
    assert parse_config(market(base_url=f'"{url}"')).markets[0].base_url == url


# ---- what is wrong ----

ONE_PROBLEM = {
    # not the form of a configuration
    "[collector": "file: not TOML: ",
    "": "markets: no market is configured; add a [[markets]] table",
    "markets = []": "markets: no market is configured; add a [[markets]] table",
    "markets = 7": "markets: expected [[markets]] tables, got 7",
    "[markets]\nexchange = 'okx'": "markets: one table; write [[markets]], with two brackets",
    "markets = ['okx']": "markets[0]: expected a table, got 'okx'",
    "aws = 'us-east-1'\n" + MARKET: "aws: expected a table, got 'us-east-1'",
    "[[aws]]\n" + MARKET: "aws: expected a table, got a list",
    # unknown names
    "[storge]\n" + MARKET: "storge: unknown key 'storge'; did you mean 'storage'?",
    "[database]\n" + MARKET: (
        "database: unknown key 'database'; known here: collector, aws, storage, websocket, markets"
    ),
    "[storage]\ndatadir = 'x'\n" + MARKET: (
        "storage.datadir: unknown key 'datadir'; did you mean 'data_dir'?"
    ),
    market(symbol='"x"'): "markets[0].symbol: unknown key 'symbol'; did you mean 'symbols'?",
    market(exchange='"bitmex"'): (
        "markets[0].exchange: unknown exchange 'bitmex';"
        " choose one of binance, coinbase, upbit, okx, bybit"
    ),
    market(exchange='"binanse"'): (
        "markets[0].exchange: unknown exchange 'binanse';"
        " choose one of binance, coinbase, upbit, okx, bybit; did you mean 'binance'?"
    ),
    market(feeds='["orderbook", "trade"]'): (
        "markets[0].feeds[1]: unknown feed 'trade';"
        " choose one of orderbook, trades; did you mean 'trades'?"
    ),
    "[storage]\nmode = 'S4'\n" + MARKET: (
        "storage.mode: unknown mode 'S4'; choose one of local, s3, both"
    ),
    # missing, empty, of another type
    '[[markets]]\nexchange = "okx"': "markets[0].symbols: missing; expected a list of at least one text",
    '[[markets]]\nsymbols = ["x"]': (
        "markets[0].exchange: missing; expected one of binance, coinbase, upbit, okx, bybit"
    ),
    market(symbols="[]"): "markets[0].symbols: expected a list of at least one text, got an empty list",
    market(symbols='"btcusdt"'): "markets[0].symbols: expected a list of at least one text, got 'btcusdt'",
    market(symbols='["btcusdt", ""]'): "markets[0].symbols[1]: expected a text that is not empty, got ''",
    market(symbols="[7]"): "markets[0].symbols[0]: expected a text that is not empty, got 7",
    market(feeds="[]"): "markets[0].feeds: expected a list of at least one feed, got an empty list",
    market(feeds="[true]"): "markets[0].feeds[0]: expected one of orderbook, trades, got true",
    market(depth="7"): "markets[0].depth: expected one of 5, 10, 20, got 7",
    market(depth="true"): "markets[0].depth: expected one of 5, 10, 20, got true",
    market(base_url="1"): "markets[0].base_url: expected a text, got 1",
    "[collector]\nmetrics_port = 70000\n" + MARKET: (
        "collector.metrics_port: expected a port number from 0 to 65535, got 70000"
    ),
    "[collector]\nmetrics_port = true\n" + MARKET: (
        "collector.metrics_port: expected a port number from 0 to 65535, got true"
    ),
    "[collector]\nmetrics_host = ''\n" + MARKET: (
        "collector.metrics_host: expected a text that is not empty, got ''"
    ),
    "[collector]\nlog_retention_days = 1.5\n" + MARKET: (
        "collector.log_retention_days: expected a whole number of days from 0, got 1.5"
    ),
    "[aws]\ncreate_bucket = 'yes'\n" + MARKET: (
        "aws.create_bucket: expected true or false, got 'yes'"
    ),
    "[aws]\nhome_server_name = 2026-11-22\n" + MARKET: (
        "aws.home_server_name: expected a text, got 2026-11-22"
    ),
    "[storage]\ndata_dir = {}\n" + MARKET: (
        "storage.data_dir: expected a text that is not empty, got a table"
    ),
    # symbols that are none
    market(symbols='["-"]'): "markets[0].symbols[0]: '-' names no market; write it as the exchange does",
    market(symbols='["btcusdt, ethusdt"]'): (
        "markets[0].symbols[0]: 'btcusdt, ethusdt' is not one symbol;"
        " write each as a text of its own, without blanks"
    ),
    market(symbols=f'["{"x" * 101}"]'): (
        "markets[0].symbols[0]: too long for a folder; at most 100 bytes once encoded"
    ),
    "[aws]\nhome_server_name = '" + "x" * 101 + "'\n" + MARKET: (
        "aws.home_server_name: too long for a folder; at most 100 bytes once encoded"
    ),
    # the same twice
    market(symbols='["btcusdt", "BTC-USDT"]'): (
        "markets[0].symbols[1]: binance btcusdt (orderbook, trades) is configured already,"
        " at markets[0].symbols[0]; remove one of the two"
    ),
    market() + market(exchange='"Binance"', symbols='["BTC/USDT"]', feeds='["trades"]'): (
        "markets[1].symbols[0]: binance btcusdt (trades) is configured already,"
        " at markets[0].symbols[0]; remove one of the two"
    ),
    market(exchange='"bybit"') + market(exchange='"bybit"', category='"spot"'): (
        "markets[1].symbols[0]: bybit btcusdt (orderbook, trades) is configured already,"
        " at markets[0].symbols[0]; remove one of the two"
    ),
    market(exchange='"bybit"', base_url='"wss://x.example/v5/public/linear"')
    + market(exchange='"bybit"', category='"linear"'): (
        "markets[1].symbols[0]: bybit btcusdt (orderbook, trades) is configured already,"
        " at markets[0].symbols[0]; remove one of the two"
    ),
    market(feeds='["trades", "trades"]'): "markets[0].feeds: names a feed twice; once is enough",
    # options and addresses
    market(category='"linear"'): (
        "markets[0].category: binance has no such option, bybit has; remove it here"
    ),
    market(connections="3"): "markets[0].connections: expected one of 1, 2, got 3",
    market(connections="true"): "markets[0].connections: expected one of 1, 2, got true",
    market(orderbook='"full"'): (
        "markets[0].orderbook: unknown orderbook 'full'; choose one of partial, diff"
    ),
    market(snapshot_depth="50"): (
        "markets[0].snapshot_depth: expected one of 100, 500, 1000, 5000, got 50"
    ),
    market(exchange='"okx"', orderbook='"diff"'): (
        "markets[0].orderbook: okx has no such option, binance has; remove it here"
    ),
    market(orderbook='"diff"', depth="20"): (
        'markets[0].depth: is of partial order books, and orderbook = "diff" has all levels;'
        " remove one of both"
    ),
    market(orderbook='"diff"', base_url='"wss://stream.binance.us:9443"'): (
        'markets[0].rest_url: missing; orderbook = "diff" asks for whole books, and'
        " 'wss://stream.binance.us:9443' does not tell where;"
        " give the address of the same exchange, such as https://api.binance.us"
    ),
    market(orderbook='"diff"', rest_url='"api.binance.us"'): (
        "markets[0].rest_url: 'api.binance.us' is not a URL of the form https://host[:port][/path]"
    ),
    market(orderbook='"diff"', rest_url='"http://api.binance.us"'): (
        "markets[0].rest_url: 'http://api.binance.us' is not encrypted;"
        " use https://, for http:// stays on this machine"
    ),
    market(base_url='""'): "markets[0].base_url: '' is not a URL of the form wss://host[:port][/path]",
    market(base_url='"https://x.example"'): (
        "markets[0].base_url: 'https://x.example' is not a URL of the form wss://host[:port][/path]"
    ),
    market(base_url='"wss://x.example:99999"'): (
        "markets[0].base_url: 'wss://x.example:99999' is not a URL: Port out of range 0-65535"
    ),
    market(base_url='"ws://x.example/ws"'): (
        "markets[0].base_url: 'ws://x.example/ws' is not encrypted;"
        " use wss://, for ws:// stays on this machine"
    ),
    market(base_url='"wss://me:pw@x.example?a=1"'): (
        "markets[0].base_url: 'wss://me:pw@x.example?a=1' has a user, a query or a fragment;"
        " give scheme, host, port and path alone"
    ),
    "[aws]\nendpoint_url = 'minio:9000'\n" + MARKET: (
        "aws.endpoint_url: 'minio:9000' is not a URL of the form https://host[:port][/path]"
    ),
    "[aws]\nendpoint_url = 'http://minio:9000'\n" + MARKET: (
        "aws.endpoint_url: 'http://minio:9000' is not encrypted;"
        " use https://, for http:// stays on this machine"
    ),
    # values that contradict each other
    "[websocket]\ninitial_retry_delay_secs = 61\n" + MARKET: (
        "websocket.initial_retry_delay_secs: 61 is more than max_retry_delay_secs (60);"
        " the delay grows from the first to the second"
    ),
    "[websocket]\nmax_message_bytes = 300_000_000\n" + MARKET: (
        "websocket.max_message_bytes: 300000000 is more than storage.max_inflight_bytes"
        " (268435456), which bounds all messages together; lower the first"
    ),
    "[storage]\nflush_interval_secs = 7200\n" + MARKET: (
        "storage.flush_interval_secs: 7200 is more than max_file_age_secs (3600);"
        " a file would be sealed before it comes to that"
    ),
    "[storage]\nsync_interval_secs = 5\nmax_file_age_secs = 4\n" + MARKET: (
        "storage.sync_interval_secs: 5 is more than max_file_age_secs (4);"
        " a file would be sealed before it comes to that"
    ),
    "[storage]\nmode = 'local'\nlocal_path = './data//parquet/sealed'\n" + MARKET: (
        "storage.local_path: './data//parquet/sealed' is in data_dir ('data/parquet');"
        " sealed files move out of the one into the other, so keep them apart"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), ONE_PROBLEM.items(), ids=range(len(ONE_PROBLEM)))
def test_one_problem(text: str, problem: str) -> None:
    """A problem is one line: its place, what is wrong, what would be right."""
    (found,) = problems_of(text)
    assert found == problem or (problem.endswith(": ") and found.startswith(problem))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "0", "1e-9", "true", "'1'"])
@pytest.mark.parametrize("key", ["message_timeout_secs", "max_retry_delay_secs"])
def test_seconds(key: str, value: str) -> None:
    """A time is a number of seconds that a clock can wait for; TOML's nan and inf are not."""
    (found,) = problems_of(f"[websocket]\n{key} = {value}\n{MARKET}")
    assert found == (
        f"websocket.{key}: expected a number of seconds from 0.001 to 31536000,"
        f" got {value if value != '1e-9' else '1e-09'}"
    )


def test_every_problem_at_once() -> None:
    """All problems are reported at once, in the order of the sections."""
    text = (
        "colour = 'red'\n[collector]\nmetrics_port = -1\nlog_format = 'xml'\n[websocket]\nfoo = 1\n"
        + market(feeds='["a", "b"]', depth='"20"')
        + market(exchange="5")
    )
    places = [line.split(": ")[0] for line in problems_of(text)]
    assert places == [
        "colour",
        "collector.metrics_port",
        "collector.log_format",
        "websocket.foo",
        "markets[0].feeds[0]",
        "markets[0].feeds[1]",
        "markets[0].depth",
        "markets[1].exchange",
    ]


def test_contradictions_beside_other_problems() -> None:
    """A value of the wrong type hides no contradiction elsewhere, and causes none."""
    text = """
    [storage]
    max_inflight_bytes = "much"
    [websocket]
    initial_retry_delay_secs = 90
    max_message_bytes = 900_000_000
    [[markets]]
    exchange = "binanse"
    symbols = ["btcusdt"]
    [[markets]]
    exchange = "okx"
    symbols = ["BTC-USDT"]
    category = "linear"
    """
    assert sorted(line.split(": ")[0] for line in problems_of(text)) == [
        "markets[0].exchange",
        "markets[1].category",
        "storage.max_inflight_bytes",
        "websocket.initial_retry_delay_secs",
    ]


def test_contradictions_at_once() -> None:
    """All contradictions, too, are reported at once."""
    text = (
        "[websocket]\nmax_retry_delay_secs = 0.5\n[storage]\nflush_interval_secs = 4000\n"
        + market(symbols='["a b", "c", "C"]', units="5", base_url='"x"')
    )
    assert len(problems_of(text)) == 6


def test_contradictions_of_diffs_at_once() -> None:
    """A bad address hides no contradiction, and causes none."""
    text = market(orderbook='"diff"', depth="5", base_url='"wss://[x"', rest_url='"x"')
    places = [line.split(": ")[0] for line in problems_of(text)]
    assert places == ["markets[0].base_url", "markets[0].depth", "markets[0].rest_url"]


@pytest.mark.parametrize(
    "addresses",
    [
        {},
        {"base_url": '"wss://stream.binance.com:9443/ws"'},
        {"base_url": '"wss://data-stream.binance.vision"'},
        {"base_url": '"wss://stream.binance.us:9443"', "rest_url": '"https://api.binance.us"'},
        {"base_url": '"ws://127.0.0.1:1/binance"', "rest_url": '"http://127.0.0.1:1/binance"'},
    ],
)
def test_addresses_of_diffs(addresses: dict[str, str]) -> None:
    """An address of streams that determines that of the books is enough."""
    assert parse_config(market(orderbook='"diff"', **addresses)).markets[0].orderbook == "diff"


def test_a_symbol_need_not_be_ascii() -> None:
    """Binance lists symbols outside ASCII."""
    symbol = "币安人生usdt"
    assert parse_config(market(symbols=f'["{symbol}"]')).markets[0].symbols == (symbol,)


def test_nesting_is_no_crash() -> None:
    """A file of very many open brackets is a problem, not a crash."""
    assert problems_of("a = " + "[" * 100_000)


# ---- what deserves a word ----


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            market(exchange='"okx"', base_url='"wss://ws.okx.com:8443/ws/v5/public"'),
            "markets[0].base_url: OKX retired port 8443 on 2026-10-31; leave the port out",
        ),
        (
            market(base_url='"wss://stream.binance.com:9443/ws"'),
            "markets[0].base_url: read as /stream, because order books on /ws do not tell"
            " their symbol",
        ),
        (
            market(snapshot_depth="500"),
            'markets[0].snapshot_depth: has no effect without orderbook = "diff"',
        ),
        (
            market(orderbook='"partial"', rest_url='"https://api.binance.us"'),
            'markets[0].rest_url: has no effect without orderbook = "diff"',
        ),
        (
            "[websocket]\nmessage_timeout_secs = 10\n" + MARKET,
            "websocket.message_timeout_secs: 10: below 25 a sound connection of a quiet market"
            " is cut",
        ),
        (
            "[storage]\nmax_file_age_secs = 7200\n" + MARKET,
            "storage.max_file_age_secs: no file spans two UTC hours; more than 3600 changes nothing",
        ),
    ],
)
def test_warnings(text: str, warning: str) -> None:
    """What is allowed and likely not meant is a warning, not an error."""
    config = parse_config(text)
    assert [str(each) for each in warnings(config)] == [warning]


# ---- which file ----


@pytest.mark.parametrize(
    ("argument", "environ", "path"),
    [
        (Path("a.toml"), {"CONFIG_PATH": "b.toml"}, "a.toml"),
        (None, {"CONFIG_PATH": "b.toml"}, "b.toml"),
        (None, {"CONFIG_PATH": ""}, "config.toml"),
        (None, {}, "config.toml"),
    ],
)
def test_find_config(argument: Path | None, environ: Mapping[str, str], path: str) -> None:
    """The file is the one named, else $CONFIG_PATH, else config.toml here."""
    assert find_config(argument, environ) == Path(path)


def test_load_config(tmp_path: Path) -> None:
    """A file loads, also with the byte order mark that some editors put in front."""
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MARKET.encode())
    assert load_config(path) == parse_config(MARKET)


def test_load_config_unreadable(tmp_path: Path) -> None:
    """A file that cannot be read, or is not text, is a problem with the file's name."""
    missing, broken = tmp_path / "missing.toml", tmp_path / "broken.toml"
    broken.write_bytes(b"a = '\xff'")
    bad_toml = tmp_path / "bad.toml"
    bad_toml.write_text("a = \n")
    with pytest.raises(ConfigError, match=r"missing\.toml: no such file; name one with --config"):
        load_config(missing)
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path}: cannot be read: ")):
        load_config(tmp_path)
    with pytest.raises(ConfigError, match=r"broken\.toml: not UTF-8: byte 5 is 0xff; TOML is UTF"):
        load_config(broken)
    with pytest.raises(ConfigError, match=r"bad\.toml: not TOML: .*line 1, column 5"):
        load_config(bad_toml)
