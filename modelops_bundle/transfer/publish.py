"""Moving a tag without losing anybody's update (DESIGN §6; facts: reliability §3.10).

No registry compares and swaps. The default closes the window to one round trip and makes the loser know; `strict`
announces first, so that among writers who all do, none is lost.
"""

from __future__ import annotations

import hashlib
import random
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelops_bundle.disk.files import read_file, remove_file, write_file
from modelops_bundle.errors import BundleError, NotFound, TagMoved, Unavailable, Unsupported
from modelops_bundle.events import Run, checkpoint
from modelops_bundle.model import canonical, media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.ports import ABSENT, ANYTHING, Atomic, Dated, Expected, Lister, Store, Untagger
from modelops_bundle.model.reference import check_tag as check_tag_name

INTENT_TYPE = "application/vnd.modelops.bundle.intent.v1+json"
INTENT_SECONDS = 600.0
"""How long an announcement stands when its writer died, by the registry's clock."""
ROUNDS = 40
ANNOUNCEMENTS = 5
_STATE = media.PREFIX + "intent"
_STARTED = media.PREFIX + "started"
_EMPTY = Descriptor.of(media.OCI_EMPTY, b"{}", inline=True)


@dataclass(frozen=True, slots=True)
class Wish:
    """Let `tag`, which stands for `found` (None: absent), stand for the manifest `data`."""

    tag: str
    found: Digest | None
    what: Descriptor
    data: bytes
    force: bool = False


class Note:
    """A durable note of the announcement under way at `place`, so that a killed push does not block its own rerun."""

    def __init__(self, path: Path, place: str) -> None:
        self._path = path
        self._place = place

    def write(self, tag: str) -> None:
        """Note `tag` before it is announced."""
        write_file(self._path, canonical.dumps({"place": self._place, "tag": tag}))

    def clear(self) -> None:
        """The announcement is withdrawn."""
        remove_file(self._path)

    def settle(self, store: Store) -> None:
        """Withdraw what a killed push of this clone announced here. Call with the clone's lock held: it is dead then."""
        data = read_file(self._path)
        if data is None:
            return
        try:
            value = canonical.loads(data, "the note of an announcement", limit=4096)
            tag = check_tag_name(str(value.get("tag")))
        except BundleError:
            # Damaged: what was announced expires by itself.
            self.clear()
            return
        if value.get("place") != self._place:
            return
        found = store.resolve(tag)
        if found is not None:
            _withdraw(store, tag, found)
        self.clear()


def publish(store: Store, wish: Wish, run: Run, *, race: str = "default", note: Note | None = None) -> None:
    """Move the tag. The blobs and the manifest by digest are in the store already.

    :param race: `default` or `strict`.
    :param note: where `strict` keeps track of its announcement.
    :raises TagMoved: somebody else moved it: before us (nothing was written), or over us (our version is kept under
        the tag `<tag>-lost-<12 hex>`).
    :raises Unsupported: `strict` where the store cannot carry it. :raises Unavailable: others keep announcing.
    """
    if isinstance(store, Atomic):
        if check_tag(store, wish):
            return
        store.tag(wish.tag, wish.what, wish.data, _expected(wish))
    elif race == "strict" and not wish.force:
        _announced(store, wish, run, note)
    else:
        _checked(store, wish)


def _expected(wish: Wish) -> Expected:
    if wish.force:
        return ANYTHING
    if wish.found is None:
        return ABSENT
    return Descriptor(media.OCI_MANIFEST, wish.found, 0)


def check_tag(store: Store, wish: Wish) -> bool:
    """Whether the tag already stands for what is wished.

    :raises TagMoved: it stands for neither that nor what the plan found.
    """
    current = store.resolve(wish.tag)
    digest = current.digest if current else None
    if digest == wish.what.digest:
        return True
    if digest != wish.found and not wish.force:
        raise TagMoved(
            f"tag {wish.tag} moved meanwhile: it was {_name(wish.found)}, now it is {_name(digest)}",
            tag=wish.tag,
            expected=str(wish.found) if wish.found else None,
            found=str(digest) if digest else None,
        )
    return False


def _name(digest: Digest | None) -> str:
    return "absent" if digest is None else f"sha256:{digest.short}…"


def _checked(store: Store, wish: Wish) -> None:
    if check_tag(store, wish):
        return
    store.tag(wish.tag, wish.what, wish.data, _expected(wish))
    _confirm(store, wish)


def lost_tag(tag: str, digest: Digest) -> str:
    """The service tag that keeps a version which lost a race."""
    return f"{tag[: 128 - 18]}-lost-{digest.short}"


def _confirm(store: Store, wish: Wish) -> None:
    current = store.resolve(wish.tag)
    if current is not None and current.digest == wish.what.digest:
        return
    kept = lost_tag(wish.tag, wish.what.digest)
    store.tag(kept, wish.what, wish.data, ANYTHING)
    raise TagMoved(
        f"tag {wish.tag} was overwritten by another writer right after this push; our version is kept as {kept}",
        tag=wish.tag,
        kept=kept,
        found=str(current.digest) if current else None,
    )


class _Intent:
    """One announcement: a manifest of its own under a service tag."""

    def __init__(self, store: Store, prefix: str, now: float) -> None:
        self._store = store
        self.tag = f"{prefix}{secrets.token_hex(8)}"
        self._data = _intent_manifest("live", self.tag, now)
        self._what = Descriptor.of(media.OCI_MANIFEST, self._data)

    def announce(self) -> None:
        for attempt in range(ANNOUNCEMENTS):
            self._store.put(_EMPTY, [b"{}"])
            try:
                self._store.tag(self.tag, self._what, self._data, ABSENT)
            except NotFound:
                # Several writers store the same empty blob at once, and distribution 2.8 may miss it for a moment.
                if attempt == ANNOUNCEMENTS - 1:
                    raise
            else:
                return

    def withdraw(self) -> None:
        """Take it back."""
        _withdraw(self._store, self.tag, self._what)


def _withdraw(store: Store, tag: str, what: Descriptor) -> None:
    """Remove the tag, or where tags cannot be removed let it say that it is over."""
    if isinstance(store, Untagger) and store.untag(tag, what):
        return
    over = _intent_manifest("over", "", 0.0)
    store.tag(tag, Descriptor.of(media.OCI_MANIFEST, over), over, ANYTHING)


def _intent_manifest(state: str, name: str, started: float) -> bytes:
    value: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "artifactType": INTENT_TYPE,
        "config": _EMPTY.to_json(),
        "layers": [_EMPTY.to_json()],
        "annotations": {_STATE: state, _STARTED: str(int(started)), media.PREFIX + "name": name},
    }
    return canonical.dumps(value)


def _announced(store: Store, wish: Wish, run: Run, note: Note | None) -> None:
    if not isinstance(store, Lister):
        raise Unsupported("race = strict needs a registry that lists tags", hint="set race to default for this remote")
    base = wish.found.short if wish.found else "absent"
    prefix = f"_i.{hashlib.sha256(wish.tag.encode()).hexdigest()[:12]}.{base}."
    for round_number in range(ROUNDS):
        if check_tag(store, wish):
            return
        if _one_round(store, wish, prefix, note):
            return
        # Both of two who met withdraw; unequal pauses let one of them through next time.
        run.cancelled.wait(random.uniform(0, 0.05 * min(2**round_number, 32)))
        run.check()
    raise Unavailable(f"other writers keep announcing pushes to {wish.tag}", hint="run the command again")


def _one_round(store: Store, wish: Wish, prefix: str, note: Note | None) -> bool:
    began = time.monotonic()
    intent = _Intent(store, prefix, _now(store))
    if note is not None:
        note.write(intent.tag)
    intent.announce()
    checkpoint("announced")
    try:
        names = [name for name in store.tags() if name.startswith(prefix)]  # type: ignore[attr-defined]
        if intent.tag not in names:
            raise Unsupported(
                "race = strict needs a registry whose tag list shows a tag at once; this one does not",
                hint="set race to default for this remote",
            )
        if any(_is_live(store, name) for name in names if name != intent.tag):
            return False
        if time.monotonic() - began > INTENT_SECONDS / 2:
            return False
        if not check_tag(store, wish):
            store.tag(wish.tag, wish.what, wish.data, _expected(wish))
            _confirm(store, wish)
        return True
    finally:
        checkpoint("withdrawing")
        intent.withdraw()
        if note is not None:
            note.clear()


def _now(store: Store) -> float:
    told = store.now() if isinstance(store, Dated) else None
    return time.time() if told is None else told


def _is_live(store: Store, name: str) -> bool:
    found = store.resolve(name, data=True)
    if found is None or found.data is None:
        return False
    try:
        annotations = Manifest.from_bytes(found.data).annotations
        started = float(annotations.get(_STARTED, "0"))
    except (BundleError, ValueError):
        # Nothing we wrote: it says nothing about a push under way.
        return False
    return annotations.get(_STATE) == "live" and _now(store) - started < INTENT_SECONDS
