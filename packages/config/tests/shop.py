"""The settings that the tests' team declared, and the same a release later."""

from datetime import timedelta
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from netra_config import FrozenMapping, settings


@settings
class Database:
    """Where rows go."""

    pool_size: int = Field(default=5, ge=1, le=100)
    password: SecretStr = SecretStr("")

    @field_validator("password")
    @classmethod
    def _is_no_word(cls, password: SecretStr) -> SecretStr:
        if password.get_secret_value() == "sesame":
            raise ValueError(f"{password.get_secret_value()} is too easy")
        return password

    @model_validator(mode="after")
    def _is_not_alone(self) -> Self:
        if self.pool_size == 13:
            raise ValueError(f"13 and {self.password.get_secret_value()} bring bad luck")
        return self


@settings
class Shop:
    """What the shop can be told."""

    title: str = "Shop"
    retries: int = Field(default=3, ge=0, le=10)
    timeout: timedelta = timedelta(seconds=30)
    database: Database = Database()
    limits: FrozenMapping[str, int] = Field(default_factory=dict)
    words: FrozenMapping[str, str] = Field(default_factory=dict)
    tokens: tuple[SecretStr, ...] = ()


@settings
class LaterShop:
    """The next release: `currency` came, `title` went, and fewer retries are allowed."""

    currency: str = "EUR"
    retries: int = Field(default=3, ge=0, le=5)
    timeout: timedelta = timedelta(seconds=30)
    database: Database = Database()
    limits: FrozenMapping[str, int] = Field(default_factory=dict)
    words: FrozenMapping[str, str] = Field(default_factory=dict)
    tokens: tuple[SecretStr, ...] = ()


@settings
class StricterShop:
    """A release that asks for something nobody has set."""

    region: str
    title: str = "Shop"
    retries: int = 3
    timeout: timedelta = timedelta(seconds=30)
    database: Database = Database()
    limits: FrozenMapping[str, int] = Field(default_factory=dict)
    words: FrozenMapping[str, str] = Field(default_factory=dict)
    tokens: tuple[SecretStr, ...] = ()
