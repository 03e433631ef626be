import pytest

from generator.llm.transport import proxy_for


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://api.example.com/v1", {}, None),
        ("https://api.example.com/v1", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://api.example.com/v1", {"https_proxy": "http://p:1"}, "http://p:1"),
        ("https://api.example.com/v1", {"ALL_PROXY": "http://q:1"}, "http://q:1"),
        ("https://api.example.com/v1", {"HTTP_PROXY": "http://p:1"}, None),
        ("https://api.example.com/v1", {"HTTPS_PROXY": ""}, None),
        ("http://localhost:8000/v1", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://127.0.0.1:8000/v1", {"ALL_PROXY": "http://p:1"}, None),
        ("https://api.example.com/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "x.org, .example.com"}, None),
        ("https://api.example.com/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ("https://badexample.com/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com"}, "http://p:1"),
    ],
)
def test_proxy_is_the_one_that_the_environment_names(url: str, environ: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(url, environ) == proxy
