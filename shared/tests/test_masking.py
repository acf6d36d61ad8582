"""What opens a door never stands in a report, and all else does."""

import json

import pytest

from netra_fixtures.snapshot.masking import shown, shown_key

HEX = "0123456789abcdef" * 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("password", "hunter2"), ("user_password_hash", "x"), ("apiKey", "x"), ("API_KEY", "x"), ("token", "17"),
        ("refreshToken", "x"), ("tokens", "a b"), ("run:gw0:token:17", "x"), ("digest", "\\x00"), ("auth", "x"),
        ("pin", "0000"), ("Set-Cookie", "a=b"), ("private_key", "x"), ("key material", "x"), ("what", HEX),
        ("what", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc"), ("what", "-----BEGIN PRIVATE KEY-----\nabc"),
        ("what", "Authorization: Bearer abcdefgh1"), ("what", "postgresql://ann:pass@db/shop"),
        ("what", "redis://:pass@cache:6379/0"), ("what", "password=hunter2"), ("what", "it said token: hunter2"),
        ("what", f"signed in with {HEX}"), ("what", "Zm9vYmFy/" * 5 + "Zg=="), ("what", "a-B_9" * 8),
        ("what", "$2b$12$abc"), ("what", "{not json, 'secret': 'hunter2'"), ("what", '"password"=>"hunter2"'),
    ],
)  # fmt: skip
def test_a_secret_is_masked_by_its_name_or_by_its_looks(name: str, value: str) -> None:
    """A report is mailed and archived; what opens a door must not be in it."""
    seen = shown(name, value)

    assert seen == f"‹masked {len(value)} character{'s' if len(value) > 1 else ''}›"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("what", "a book"), ("kind", "tokens of thanks"), ("input_tokens", "1200"), ("id", "17"), ("author", "ann"),
        ("id", "550e8400-e29b-41d4-a716-446655440000"), ("at", "2026-03-01 12:00:00.123456+00"), ("keys", "3"),
        ("what", "order-550e8400-e29b-41d4-a716-446655440000"), ("passed", "t"), ("mail", "ann@example.com"),
        ("what", "test_an_order_that_was_taken_is_kept_for_good"), ("url", "https://example.com/a?b=c"),
    ],
)  # fmt: skip
def test_what_is_no_secret_is_shown(name: str, value: str) -> None:
    """A state of which everything is masked explains nothing."""
    assert shown(name, value) == value


def test_secrets_inside_a_document_are_masked_and_the_rest_is_shown() -> None:
    """Settings and events are kept as JSON, in which a password is one value among many."""
    document = {"user": "ann", "login": {"password": "hunter2"}, "tokens": 7, "ids": [HEX]}

    seen = json.loads(shown("document", json.dumps(document)))

    assert seen == document | {
        "login": {"password": "‹masked 7 characters›"},
        "ids": ["‹masked 48 characters›"],
    }
    assert shown_key(f"run:gw0:session:{HEX}") == "run:gw0:session:‹masked 48 characters›"
