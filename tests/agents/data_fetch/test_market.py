from datetime import date

import pytest

from agents.data_fetch.data_fetch import SOURCES
from agents.data_fetch.market import SCHEMES, Market, parse_market
from backtesting.errors import UsageError


def test_every_scheme_of_the_address_has_a_source() -> None:
    assert set(SCHEMES) == set(SOURCES)


@pytest.mark.parametrize(
    ("text", "market"),
    [
        ("sample:sp500", Market("sample", "sp500")),
        ("SAMPLE:sp500?from=2001-02-03", Market("sample", "sp500", start=date(2001, 2, 3))),
        (r"csv:C:\data\x.csv?to=2020-04-17", Market("csv", r"C:\data\x.csv", end=date(2020, 4, 17))),
        ("parquet:a/b.parquet?periods=365", Market("parquet", "a/b.parquet", periods=365.0)),
        ("csv:weekly.csv?periods=252", Market("csv", "weekly.csv", periods=252.0)),
        ("yahoo:spy, qqq", Market("yahoo", "SPY,QQQ")),
        ("synthetic:planted?years=5&seed=7", Market("synthetic", "planted", options=(("seed", 7.0), ("years", 5.0)))),
    ],
)
def test_an_address_is_read_and_its_text_reads_back_the_same(text: str, market: Market) -> None:
    assert parse_market(text) == market
    assert parse_market(market.address) == market


def test_equal_markets_have_one_spelling() -> None:
    one = parse_market("synthetic:planted?years=20.0&seed=9007199254740991&to=2019-01-01&from=2010-01-01")
    two = parse_market("synthetic:planted?from=2010-01-01&to=2019-01-01&seed=9007199254740991&years=20")
    assert one.address == two.address
    assert one.address == "synthetic:planted?seed=9007199254740991&years=20&from=2010-01-01&to=2019-01-01"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("smaple:sp500", 'did you mean "sample"?'),
        ("sp500", "does not start with a known source"),
        ("", "does not start with a known source"),
        ("csv:", "names nothing behind the colon"),
        ("csv:?to=2020-01-01", "names nothing behind the colon"),
        ("sample:sp500?form=2001-01-01", "unknown query key 'form'; did you mean \"from\"?"),
        ("sample:sp500?seed=1", "unknown query key 'seed'"),
        ("sample:sp500?from=2001-13-01", "from=2001-13-01 is not a date"),
        ("sample:sp500?from=20010101", "from=20010101 is not a date"),
        ("sample:sp500?from=2001-01-02&to=2001-01-01", "is after to="),
        ("sample:sp500?from=", "from needs one value"),
        ("sample:sp500?from=2001-01-01&from=2002-01-01", "from needs one value"),
        ("sample:sp500?periods=0", "periods=0"),
        ("sample:sp500?periods=nan", "periods=nan is not a number"),
        ("synthetic:planted?years=many", "years=many is not a number"),
        ("yahoo:SPY,spy", "names a symbol twice"),
        ("yahoo:../../etc", "is not a Yahoo symbol"),
        ("yahoo:A,,B", "is not a Yahoo symbol"),
    ],
)
def test_an_address_that_is_none_is_refused_with_the_place(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match="market") as caught:
        parse_market(text)
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 2
