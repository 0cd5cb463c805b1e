"""remote: inputs that lie elsewhere, given by their address and fetched by Snakemake's storage plugins.

Reads, genome, annotation and whitelist may be addresses (``https://``, ``s3://``, ``gs://``). A job's copy is fetched
when the job starts and removed when the run ends. :func:`check_address` asks nothing of the network, since each
job of a cluster reads the sheets anew; :func:`ask` does.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import socket
import tempfile
import unicodedata
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from carseq.errors import CarseqError
from carseq.log import get_logger

log = get_logger(__name__)

#: Scheme of an address -> Snakemake's storage plugin for it.
PROVIDERS = {"http": "http", "https": "http", "s3": "s3", "gs": "gcs"}
#: Keys of the configuration and columns of the sheets that take an address.
_CONFIG_KEYS = ("reference.fasta", "reference.gtf", "chemistry.whitelist")
_COLUMNS = ("r1", "r2", "whitelist")
#: Set to any text in the environment, it allows addresses of this machine and of services of its own link. It is no
#: key of the configuration: a configuration that someone sent must not allow itself to look around here.
ALLOW = "CARSEQ_ALLOW_LOCAL_ADDRESSES"
#: Numbers (Amazon's, Alibaba's, Oracle's) of the cloud's service that hands out the machine's credentials, and names
#: that mean it or this machine (RFC 6761).
_SERVICES = {"fd00:ec2::254", "100.100.100.200", "192.0.0.192"}
#: Networks whose last 32 bits are an IPv4 address: translated (RFC 6052, 8215, 2765), and compatible (RFC 4291).
_WITH_IPV4 = tuple(
    map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96"))
)
#: Full stops of other scripts.
_STOPS = dict.fromkeys(map(ord, "\u3002\uff0e\uff61"), ".")
_LOCAL_NAMES = re.compile(
    r"(^|\.)localhost$|(^|\.)localdomain$|^metadata(\.google\.internal)?$", re.IGNORECASE
)


def is_url(path: str | None) -> bool:
    """Return whether an input is given by an address, not by a path."""
    return bool(path) and re.match(r"[A-Za-z][\w+.-]*://", str(path)) is not None


def placed(path: str, base: Path) -> str:
    """Return a path, given relative to ``base``, as an absolute one (``~/`` is the home), and an address as it is."""
    if is_url(path):
        return path
    return str((base / (Path(path).expanduser() if path.startswith("~/") else path)).absolute())


def _shown(url: str) -> str:
    """Return an address as it may be printed: without credentials, and without the part after a `?`."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def provider(url: str) -> str:
    """Return the name of the storage plugin for an address."""
    return PROVIDERS[url.partition("://")[0].lower()]


def check_address(key: str, url: str) -> None:
    """Check all of an address that can be known without asking for it.

    Parameters
    ----------
    key
        What names it: a key of the configuration, or ``r1 of SAMPLE/UNIT``.
    url
        The address.

    Raises
    ------
    CarseqError
        If the key takes no address, nothing here fetches this kind, its plugin is not installed, it leads to this
        machine, or it holds credentials or a query.
    """
    if key not in _CONFIG_KEYS and key.split()[0] not in _COLUMNS:
        raise CarseqError(
            f"{key} cannot be an address",
            f"got {_shown(url)}; only {', '.join(_CONFIG_KEYS)} and the columns {', '.join(_COLUMNS)} can",
            "fetch the file and give its path",
        )
    scheme = url.partition("://")[0].lower()
    if scheme not in PROVIDERS:
        raise CarseqError(
            f"{key}: nothing here fetches {scheme}://",
            _shown(url),
            f"use {', '.join(f'{known}://' for known in PROVIDERS)}, or fetch the file and give its path",
        )
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise CarseqError(
            f"{key}: {_shown(url)} is not an address",
            str(error),
            "give the whole address of the file",
        ) from None
    if not parts.netloc or not parts.path.strip("/"):
        raise CarseqError(
            f"{key}: {_shown(url)} names no file", "", "give the whole address of the file"
        )
    if "@" in parts.netloc:
        raise CarseqError(
            f"{key}: the address holds credentials",
            "it would be written into the run's record and its report",
            "leave them out; docs/cluster.md says how they are given",
        )
    check_host(key, url)
    # The plugins name the local copy by the part before the `?`: two such addresses would share one.
    if odd := re.search(r"[?#{}\s\\]", url):
        raise CarseqError(
            f"{key}: the address holds {odd.group()!r}",
            f"{_shown(url)}: copies are named by the part before a `?`; the part after it, often a "
            "signature, would be written into the run's record",
            "give an address without it, or fetch the file and give its path",
        )
    name = f"snakemake-storage-plugin-{provider(url)}"
    if importlib.util.find_spec(name.replace("-", "_")) is None:
        raise CarseqError(
            f"{key}: {scheme}:// needs a plugin of Snakemake",
            f"{name} is not installed in the environment that runs Snakemake",
            f"in the checkout: pip install -c constraints.txt {name} (`carseq[cloud]` installs all)",
        )


def check_host(key: str, url: str, *, resolve: bool = False) -> None:
    """Check that an address does not lead to this machine or to a service of its own link.

    Such a service (a database, a cloud's store of credentials at 169.254.169.254) trusts whoever asks from here. An
    address in a configuration that came from elsewhere must not ask in the user's name.

    Parameters
    ----------
    key
        What names the address.
    url
        The address; only those of the web have a host that is asked.
    resolve
        Whether the name service is asked too, which needs the network. A name that it does not know passes: what
        fetches the file will say so.

    Raises
    ------
    CarseqError
        If it leads there, and the variable ``CARSEQ_ALLOW_LOCAL_ADDRESSES`` is not set.
    """
    if provider(url) != "http" or os.environ.get(ALLOW):
        return
    # A letter of full width, and a full stop of other scripts, mean the usual one to whoever asks (UTS #46).
    host = unicodedata.normalize("NFKC", urlsplit(url).hostname or "").translate(_STOPS).rstrip(".")
    if "%" in host and ":" not in host:
        raise CarseqError(
            f"{key}: the address names no machine",
            f"{_shown(url)}: a name holds no %",
            "give the name as it is",
        )
    found = [host] if _numeric(host) else []
    if resolve and not found:
        try:
            found = [str(known[4][0]) for known in socket.getaddrinfo(host, None)]
        except (OSError, UnicodeError):
            found = []
    local = [text for text in found if _is_local(text)]
    if local or _LOCAL_NAMES.search(host):
        raise CarseqError(
            f"{key}: the address leads to this machine or its own link",
            f"{_shown(url)}" + (f" is at {local[0]}" if local and local[0] != host else ""),
            f"give a path, or set the variable {ALLOW}=1 if you mean it",
        )


def _numeric(host: str) -> str:
    """Return an address given by numbers in its usual form, also 127.1, 0x7f000001 and 2130706433; else nothing."""
    host = host.partition("%")[0]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return (
            socket.inet_ntoa(socket.inet_aton(host))
            if re.fullmatch(r"[\dxXa-fA-F.]+", host)
            else ""
        )
    except OSError:
        return ""


def _is_local(host: str) -> bool:
    """Return whether an address given by numbers is this machine's, or is valid on its own link alone."""
    known: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(_numeric(host))
    meant = [known]
    if isinstance(known, ipaddress.IPv6Address):
        inside = known.ipv4_mapped or known.sixtofour
        if inside is None and any(known in network for network in _WITH_IPV4):
            inside = ipaddress.IPv4Address(int(known) & 0xFFFFFFFF)
        meant += [inside] if inside else []
    return any(
        each.is_loopback
        or each.is_link_local
        or each.is_unspecified
        or each.is_multicast
        or str(each) in _SERVICES
        for each in meant
    )


def watch_requests() -> None:
    """Refuse each request of the web from this process that leads to this machine, also where a server redirects to.

    The name service is asked for each, so that a name that led elsewhere before is found out too.
    """
    from requests.adapters import HTTPAdapter

    whole = HTTPAdapter.send
    if getattr(whole, "watched", False):
        return

    def send(self: HTTPAdapter, request: Any, *given: Any, **named: Any) -> Any:
        check_host("a server's redirection, or a name", str(request.url), resolve=True)
        return whole(self, request, *given, **named)

    send.watched = True  # type: ignore[attr-defined]
    HTTPAdapter.send = send  # type: ignore[method-assign]


def ask(key: str, url: str) -> int:
    """Ask for an address as Snakemake will, with its plugin and the credentials of the environment; fetch nothing.

    Returns
    -------
    int
        Size in bytes; 0 where the server does not tell.

    Raises
    ------
    CarseqError
        If it cannot be reached, is not there or not given out, or leads to this machine.
    """
    from snakemake_interface_storage_plugins.registry import StoragePluginRegistry

    check_host(key, url, resolve=True)
    if provider(url) == "http":
        watch_requests()
    plugin = StoragePluginRegistry().get_plugin(provider(url))
    # Settings that are not text (the HTTP plugin's `auth`) are not taken from variables by Snakemake either.
    texts = [f for f in fields(plugin.settings_cls) if not f.metadata.get("parse_func")]
    names = [f.name for f in texts if f.metadata.get("env_var")]
    given = {name: os.environ.get(plugin.get_envvar(name)) for name in names}
    settings = plugin.settings_cls(**{name: value for name, value in given.items() if value})
    with tempfile.TemporaryDirectory() as prefix:
        try:
            storage = plugin.storage_provider(Path(prefix), logger=log, settings=settings)
            stored = storage.object(url)
            if stored.exists():
                return int(stored.size())
        except CarseqError as error:
            raise CarseqError(f"{key}: {error.message}", error.cause, error.remedy) from None
        # Each plugin's library has errors of its own.
        except Exception as error:
            raise CarseqError(
                f"{key}: {url} cannot be reached",
                " ".join(str(error).split())[:300] or type(error).__name__,
                "check the address and the network; docs/cluster.md says how credentials are given",
            ) from None
    raise CarseqError(
        f"{key}: {url} is not there",
        "the server knows no such file, or does not give it to you",
        "check the address; docs/cluster.md says how credentials are given",
    )
