"""E-mail addresses, in the one form by which an account is known; pure."""

import unicodedata
from typing import NewType

from email_validator import EmailNotValidError, validate_email

from netra_auth.errors import InvalidEmail

Email = NewType("Email", str)
_LONGEST = 254  # bytes, by RFC 5321 sections 4.5.3.1.3 and erratum 1690; as many characters are never fewer


def normalised(address: str) -> Email:
    """Return *address* in lower case and NFC, its domain in Unicode: two that give the same are one account.

    Providers know no two mailboxes that differ in case alone, so one person could hold both accounts and
    be taken for two. Whether mail arrives is not asked: only a message can tell.

    Raises:
        InvalidEmail: it is no address, or one that can't be reached by mail.

    Source:
        RFC 5321 and RFC 6531 by email-validator; NFC by RFC 6532, section 3.1.
    """
    if len(address) > _LONGEST:
        raise InvalidEmail
    try:
        found = validate_email(address, check_deliverability=False).normalized
    except EmailNotValidError:
        raise InvalidEmail from None  # its text repeats the address
    return Email(unicodedata.normalize("NFC", found.lower()))


def local_part(email: Email) -> str:
    """Return what stands before the @."""
    return email.rpartition("@")[0]
