"""Addresses without their secrets: what may be said of a URL.

A URL may hold credentials: ``user:password@`` before its host, and tokens and signatures in its query. They are needed
to open it, and nowhere else. Every message of an error or a warning of the package passes `hide`; whatever puts an
address into an attribute, a record or a table passes it to `public`. Values of a query are hidden whatever their names,
because no list of names is complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ["cleaned", "hide", "join", "public"]

_HIDDEN = "***"
_STOPS = ".,;:)]}'\""
# Up to the last @ before the query, because passwords hold any character; a colon and digits are a port. Of a password
# with a raw slash nobody can tell where it ends, so that too much is hidden rather than too little.
_USER = re.compile(r"\A(?:[^/?#@]*@(?:[^?#]*@)?|[^/?#:@\[]*:(?!\d*(?:[/?#]|\Z))(?:[^?#]*@|.*@))", re.DOTALL)
_LINK = re.compile(r"::(?=[A-Za-z][\w+.\-]*://)")
# A path that was made of an address has one slash; one letter is a disk.
_SCHEME = re.compile(r"([A-Za-z][\w+.\-]{1,30}):/{1,2}")
_START = (
    r"[A-Za-z][\w+.\-]{1,30}:/{1,2}"
    r"(?:[^\s/?#@]*@(?:[^\s?#]*@)?|[^\s/?#:@\[]*:(?!\d*(?:[\s/?#'\"]|\Z))(?:[^\s?#]*@|\S*@))?"
)
# A quoted address ends with its quote; others may hold quotes.
_IN_TEXT = re.compile(rf"(?<='){_START}[^\s'<>]*|(?<=\"){_START}[^\s\"<>]*|{_START}[^\s<>`]*")
# As libraries name what they ask a server for: GET /path?query.
_REQUEST = re.compile(r"(?<![\w:/*])(/[^\s?'\"<>`]*\?)([^\s'\"<>`]*=[^\s'\"<>`]*)")
_PARAMETER = re.compile(r";([^=/;?#]*)=[^/;?#]*")


def public(url: str) -> str:
    """Return an address without the secrets that it holds; a path is returned as it is.

    Parameters
    ----------
    url
        URL, or several as fsspec chains them with ``::``.

    Returns
    -------
    str
        The address with ``***`` for the user, the password and the values of the query.

    Examples
    --------
    >>> public("https://me:secret@host.example/t.nc?token=abc")
    'https://***@host.example/t.nc?token=***'
    """
    return "::".join(map(_public, _LINK.split(url)))


def _public(link: str) -> str:
    found = _SCHEME.match(link)
    if found is None:
        return link
    start, rest = found[0], link[found.end() :]
    scheme = found[1].lower()
    if scheme in ("file", "local") and (rest.startswith("/") or not start.endswith("//")):
        return link
    rest = _USER.sub(f"{_HIDDEN}@", rest)
    rest, mark, fragment = rest.partition("#")
    path, asks, query = rest.partition("?")
    path = _PARAMETER.sub(rf";\1={_HIDDEN}", path)
    web = scheme in ("http", "https", "ftp")
    # A question mark in the key of an object may also be a pattern.
    query = _query(query) if web or "=" in query else query
    fragment = _HIDDEN if "=" in fragment or (web and fragment) else fragment
    return f"{start}{path}{asks}{query}{mark}{fragment}"


def _query(query: str) -> str:
    parts = []
    for part in re.split(r"[&;]", query):
        name, equals, _ = part.partition("=")
        parts.append(f"{name}={_HIDDEN}" if equals else part and _HIDDEN)
    return "&".join(parts)


def hide(text: str, *urls: str) -> str:
    """Return a text without the secrets of the addresses in it.

    Parameters
    ----------
    text
        Any text, such as the message of an error.
    *urls
        Addresses whose secrets the text may hold in any form, such as a password alone.

    Returns
    -------
    str
        The text, with ``***`` for the secrets.

    Examples
    --------
    >>> hide("403 for url: /t.nc?sig=abc (https://me:secret@host.example/t.nc).")
    '403 for url: /t.nc?sig=*** (https://***@host.example/t.nc).'
    """
    for url in urls:
        text = text.replace(url, public(url))
        for secret in _secrets(url):
            text = text.replace(secret, _HIDDEN)
    if ":/" in text:
        text = _IN_TEXT.sub(lambda m: _but_for_stops(m[0]), text)
    return _REQUEST.sub(lambda m: m[1] + _query(m[2].rstrip(_STOPS)) + _stops(m[2]), text) if "?" in text else text


def cleaned(error: Exception, *urls: str) -> Exception:
    """Return an error as the cause of another: itself, or one with its text without secrets.

    A traceback shows the causes of a cause too: one of an error that has a cause with secrets has none.

    Parameters
    ----------
    error
        Any error.
    *urls
        As for `hide`.

    Examples
    --------
    >>> cleaned(ValueError("s3://key:secret@bucket"))
    OSError('ValueError: s3://***@bucket')
    """
    if not any(_tells(each, urls) for each in _chain(error)):
        return error
    return OSError(f"{type(error).__name__}: {hide(str(error), *urls)}")


def _tells(error: BaseException, urls: tuple[str, ...]) -> bool:
    """Whether a traceback would show a secret where it shows an error."""
    shown = [str(error), *getattr(error, "__notes__", ())]
    return any(hide(text, *urls) != text for text in shown)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that a traceback shows before it."""
    seen: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop()
        if each is None or any(each is other for other in seen):
            continue
        seen.append(each)
        yield each
        pending += [each.__cause__, None if each.__suppress_context__ else each.__context__]
        pending += getattr(each, "exceptions", ())


def _stops(text: str) -> str:
    """Punctuation at the end, which belongs to the sentence."""
    return text[len(text.rstrip(_STOPS)) :]


def _but_for_stops(url: str) -> str:
    stops = _stops(url)
    return public(url.removesuffix(stops)) + stops


def _secrets(url: str) -> list[str]:
    """Secrets of a URL as it spells them and decoded, the longest first; short ones could be part of any word."""
    try:
        parts = urlsplit(url)
    except ValueError:  # as of brackets that are no address
        return []
    found = {parts.password or ""} | {value for _, value in parse_qsl(parts.query)}
    found |= {item.partition("=")[2] for item in parts.query.split("&")}
    found |= {unquote(item) for item in found}
    return sorted((item for item in found if len(item) >= 6), key=len, reverse=True)


def join(base: str, name: str) -> str:
    """Return the address of a file in a folder, whose query it shares.

    Parameters
    ----------
    base
        URL or path of the folder.
    name
        Name of the file.

    Examples
    --------
    >>> join("https://host.example/models/?token=abc", "big.safetensors")
    'https://host.example/models/big.safetensors?token=abc'
    """
    web = base.lower().startswith(("http://", "https://"))
    path, asks, query = base.partition("?") if web else (base, "", "")
    return f"{path.rstrip('/')}/{name}{asks}{query}"
