"""registry check: whether a registry can be reached, whom it takes us for, and what it can do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from modelops_bundle.errors import UsageError
from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.reference import Reference
from modelops_bundle.net import rights
from modelops_bundle.net.auth import parse_challenges, push_scope
from modelops_bundle.net.client import Client
from modelops_bundle.net.exchange import Reply
from modelops_bundle.net.redact import safe
from modelops_bundle.operations.findings import Examination, Finding, info, ok, warn
from modelops_bundle.operations.session import Session
from modelops_bundle.stores.probes import Probes
from modelops_bundle.stores.registries import Profile, profile_of
from modelops_bundle.stores.repository import Repository

SKEW = 60.0
"""Seconds that clocks may run apart before tokens that are fresh look old (facts: the distribution project's leeway)."""
ATTEMPTS = 2
"""Who asks for a diagnosis wants it soon: a host that hangs is told after two silences."""
_WITH_CONTENT = ("pull", "push", "range", "mount", "referrers", "cleanup")


class Check:
    """The examination of the registry that holds `reference`.

    :param read_only: store nothing, not even for a moment.
    """

    def __init__(self, session: Session, reference: Reference, found: Examination, *, read_only: bool = False) -> None:
        session.attempts = ATTEMPTS
        self._session = session
        self._reference = reference
        self._read_only = read_only
        self.found = found
        self.client: Client = session.client(reference.host, session.remote_of(reference))
        self._repository = Repository(self.client, reference.host, reference.repository)
        self._probes = Probes(self._repository, session.learned)
        self._root: Reply | None = None
        self._blob: Descriptor | None = None

    def run(self) -> None:
        """Look at everything that can be looked at."""
        if not self.found.look("reach", self._reach):
            self.found.skip(("login", *_WITH_CONTENT, "kind", "clock"), "not reached")
            return
        if self.found.look("login", self._log_in):
            self._look_inside()
        else:
            self.found.skip(_WITH_CONTENT, "not logged in")
        self.found.look("kind", self._kind)
        self.found.look("clock", self._clock)

    def _look_inside(self) -> None:
        self.found.look("pull", self._pull)
        if self._read_only:
            self.found.skip(("push",), "read only")
        else:
            self.found.look("push", self._push)
        if self._blob is None:
            self.found.skip(("range", "mount", "referrers", "cleanup"), "nothing is there to ask for")
            return
        self.found.look("range", self._range)
        if not self._read_only:
            self.found.look("mount", self._mount)
        self.found.look("referrers", self._referrers)
        if not self._read_only:
            self.found.look("cleanup", self._clean_up)

    # --- steps

    def _reach(self) -> Finding:
        self._root = self._probes.root(login=False)
        origin = self._repository.origin
        proxy = " through the proxy" if self.client.options.proxy_for(origin) else ""
        version = safe(self._root.headers.get("docker-distribution-api-version", "").strip(), 40)
        return ok(f"{origin} answers{proxy}", status=self._root.status, scheme=origin.scheme, api=version or None)

    def _kind(self) -> Finding:
        headers = self._root.headers if self._root is not None else {}
        profile = profile_of(self._reference.host, headers=headers)
        if profile.signs or profile.hosts:
            self._session.learned.note(self._reference.host, "kind", profile.name)
        else:
            profile = self._session.learned.profile(self._reference.host)
        return info(", ".join([profile.name, *_limits(profile)]), kind=profile.name, source=profile.source)

    def _log_in(self) -> Finding:
        origin = self._repository.origin
        known = self.client.credentials.get(origin.netloc, self._repository.name)
        who = "anonymous" if known is None else safe(known.username or "an identity token", 80)
        source = None if known is None else getattr(known, "source", None)
        challenge = parse_challenges(self._root.headers.get("www-authenticate", "")) if self._root else []
        facts: dict[str, Any] = {"user": who, "source": source, "scheme": [each.scheme for each in challenge]}
        self._probes.root(login=True)
        scope = push_scope(self._repository.name)
        granted = rights.granted(self.client.authorization(origin, scope) or "")
        told = f"as {who}" + (f", from {source}" if source else "")
        if granted is not None:
            told += f"; may {', '.join(granted.get(self._repository.name, ())) or 'nothing here'}"
            facts["rights"] = list(granted.get(self._repository.name, ()))
        if not challenge:
            return ok(
                f"{told}: it wants no login" if known is None else f"no login is wanted; {told} if it were", **facts
            )
        return ok(told, **facts)

    def _pull(self) -> Finding:
        store = self._session.store(self._reference)
        found = store.resolve(self._reference.name or "", data=True)
        if found is None:
            return ok(f"{self._reference.name} is not there, and may be asked for", digest=None)
        if found.media_type in (media.OCI_INDEX, media.DOCKER_LIST):
            return ok(f"{self._reference.name} is {found.digest.short}, an index", digest=str(found.digest))
        from modelops_bundle.model.manifest import Manifest

        manifest = Manifest.from_bytes(found.data or b"", found.media_type)
        self._blob = max(manifest.layers, key=lambda layer: layer.size, default=None)
        if self._blob is not None and self._blob.size < 16:
            self._blob = None
        return ok(f"{self._reference.name} is {found.digest.short}", digest=str(found.digest))

    def _push(self) -> Finding:
        self._blob = self._probes.push()
        return ok(f"a blob of {self._blob.size} bytes was taken", digest=str(self._blob.digest))

    def _range(self) -> Finding:
        assert self._blob is not None
        received = self._probes.part(self._blob)
        elsewhere = "" if received.host == self._repository.origin.netloc else f", from {received.host}"
        if not received.ranges:
            return warn(
                f"parts of blobs come whole{elsewhere}",
                "downloads use one connection, and begin anew after a cut",
                host=received.host,
            )
        return ok(f"parts of blobs can be asked for{elsewhere}", host=received.host)

    def _mount(self) -> Finding:
        assert self._blob is not None
        if self._probes.mounts(self._blob):
            return ok("blobs can be taken over from other repositories")
        return info("blobs are not taken over from other repositories", "pushes send them again")

    def _referrers(self) -> Finding:
        assert self._blob is not None
        if self._probes.referrers(self._blob):
            return ok("the referrers API is there")
        return info("no referrers API", "signatures and attachments are listed under tags named sha256-…")

    def _clean_up(self) -> Finding:
        assert self._blob is not None
        if self._probes.delete(self._blob):
            return ok("the blob of this check was deleted")
        size, digest = self._blob.size, self._blob.digest
        told = f"the blob of this check stays: {size} bytes, {digest}"
        return info(told, "the registry's garbage collection takes it: nothing names it", digest=str(digest))

    def _clock(self) -> Finding:
        there = self._repository.now()
        if there is None:
            return info("the registry tells no time")
        skew = there - time.time()
        told = f"the registry's clock is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
        if abs(skew) > SKEW:
            return warn(told, "set the clocks right: tokens and signatures have times in them", skew=round(skew))
        return ok(told if abs(skew) >= 2 else "the clocks agree", skew=round(skew))


def _limits(profile: Profile) -> list[str]:
    told = []
    for value, text in (
        (profile.layer, "at most {} bytes a file"),
        (profile.layers, "at most {} files and packs"),
        (profile.seconds, "at most {} s an upload"),
        (profile.body, "at most {} bytes a request"),
    ):
        if value is not None:
            told.append(text.format(value))
    if profile.redirects:
        told.append(f"downloads come from {profile.redirects}")
    return told


def check(
    session: Session,
    text: str | None,
    *,
    read_only: bool = False,
    told: Callable[[Finding], None] | None = None,
) -> tuple[Reference, Examination]:
    """Examine the registry of a reference; of the default remote without `text`.

    :raises UsageError: it is on no registry.
    """
    reference = session.reference(text)
    if reference.scheme != "oci":
        raise UsageError(f"{reference} is on no registry", hint="bundle doctor examines local places")
    found = Examination(told)
    Check(session, replace(reference), found, read_only=read_only).run()
    return reference, found
